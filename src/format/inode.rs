//! Inode records: 256 bytes each, inode *i* at byte 256·*i* of space 0.
//!
//! ```text
//!   0  version u8 (1)         8  uid  u32        40  mtime i64 (ns)     72  dir_hint u32
//!   1  zero                  12  gid  u32        48  ctime i64 (ns)     76  flags u32
//!   2  mode u16 (S_IFMT..)   16  size u64        56  parent u64         80  zero, 48 bytes
//!   4  nlink u32             24  pages u64       64  rdev u32          128  inline target of a short
//!                            32  atime i64 (ns)  68  xattr_bytes u32        symlink, 128 bytes
//! ```
//!
//! The first half is the head, which every change rewrites; the second is written once, when the inode
//! is made. A record of zeros was never used, or all of its page is free for ever and removed. One with a
//! version and mode 0 was used and is free for ever: numbers are not used again.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Malformed;
use crate::base::limits::{FILE_BYTES_MAX, LINKS_MAX, PAGE_BYTES, SYMLINK_BYTES_MAX, XATTR_BLOB_BYTES_MAX};

/// Bytes in a record.
pub const INODE_BYTES: usize = 256;
/// Bytes of a record that a change rewrites.
pub const HEAD_BYTES: usize = 128;
/// Bytes of a record that hold the target of a short symlink.
pub const INLINE_BYTES: usize = INODE_BYTES - HEAD_BYTES;
/// Records in a page.
pub const INODES_PER_PAGE: usize = PAGE_BYTES / INODE_BYTES;

const VERSION: u8 = 1;

/// The bits of a mode that say what kind of node it is.
pub const S_IFMT: u16 = 0o170_000;
pub const S_IFIFO: u16 = 0o010_000;
pub const S_IFCHR: u16 = 0o020_000;
pub const S_IFDIR: u16 = 0o040_000;
pub const S_IFBLK: u16 = 0o060_000;
pub const S_IFREG: u16 = 0o100_000;
pub const S_IFLNK: u16 = 0o120_000;
pub const S_IFSOCK: u16 = 0o140_000;

/// The inode has an access ACL that says more than its mode.
pub const HAS_ACCESS_ACL: u32 = 1;
/// The directory has a default ACL.
pub const HAS_DEFAULT_ACL: u32 = 2;
/// The inode has file capabilities (`security.capability`), which a change of its data removes.
pub const HAS_CAPABILITY: u32 = 4;
const FLAGS: u32 = HAS_ACCESS_ACL | HAS_DEFAULT_ACL | HAS_CAPABILITY;

/// What the head of a record in use says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inode {
    /// `S_IFMT`, set-id, sticky and permission bits.
    pub mode: u16,
    /// Names; for a directory 2 and one for each directory in it; 0 for one that is only open.
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// Device number, as the kernel encodes it.
    pub rdev: u32,
    /// In bytes.
    pub size: u64,
    /// Pages present in its space.
    pub pages: u64,
    /// Nanoseconds since the epoch, as the other two.
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    /// The directory that a directory lies in; 0 for anything else.
    pub parent: u64,
    /// Bytes of its extended attributes; 0 when it has none.
    pub xattr_bytes: u32,
    /// Directories: all pages below this one are in use.
    pub dir_hint: u32,
    /// `HAS_*`.
    pub flags: u32,
}

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// Never used.
    Absent,
    /// Used once, and not again.
    Free,
    Live(Inode),
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    version: u8,
    zero: u8,
    mode: U16,
    nlink: U32,
    uid: U32,
    gid: U32,
    size: U64,
    pages: U64,
    atime: I64,
    mtime: I64,
    ctime: I64,
    parent: U64,
    rdev: U32,
    xattr_bytes: U32,
    dir_hint: U32,
    flags: U32,
    reserved: [u8; 48],
}

const _: () = assert!(size_of::<Head>() == HEAD_BYTES);
const _: () = assert!(PAGE_BYTES.is_multiple_of(INODE_BYTES));

impl Inode {
    /// The head of the record.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let head = Head {
            version: VERSION,
            zero: 0,
            mode: self.mode.into(),
            nlink: self.nlink.into(),
            uid: self.uid.into(),
            gid: self.gid.into(),
            size: self.size.into(),
            pages: self.pages.into(),
            atime: self.atime.into(),
            mtime: self.mtime.into(),
            ctime: self.ctime.into(),
            parent: self.parent.into(),
            rdev: self.rdev.into(),
            xattr_bytes: self.xattr_bytes.into(),
            dir_hint: self.dir_hint.into(),
            flags: self.flags.into(),
            reserved: [0; 48],
        };
        zerocopy::transmute!(head)
    }

    /// Pages present in the space of its extended attributes.
    pub fn xattr_pages(&self) -> u64 {
        u64::from(self.xattr_bytes).div_ceil(PAGE_BYTES as u64)
    }

    fn check(&self) -> Result<(), Malformed> {
        let size_max = match self.mode & S_IFMT {
            S_IFREG => FILE_BYTES_MAX,
            S_IFLNK => SYMLINK_BYTES_MAX as u64,
            S_IFDIR | S_IFIFO | S_IFCHR | S_IFBLK | S_IFSOCK => 0,
            _ => return Err(Malformed("inode of an unknown kind")),
        };
        if self.size > size_max {
            return Err(Malformed("inode with an impossible size"));
        }
        if self.nlink > LINKS_MAX {
            return Err(Malformed("inode with too many links"));
        }
        if self.pages > FILE_BYTES_MAX / PAGE_BYTES as u64 {
            return Err(Malformed("inode with too many pages"));
        }
        if self.xattr_bytes as usize > XATTR_BLOB_BYTES_MAX {
            return Err(Malformed("inode with too many extended attributes"));
        }
        if self.flags & !FLAGS != 0 {
            return Err(Malformed("inode with unknown flags"));
        }
        Ok(())
    }
}

impl Record {
    /// The head of a record that is free for ever.
    pub fn free() -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[0] = VERSION;
        head
    }

    /// Reads the head of a record.
    ///
    /// # Errors
    /// When the bytes are no record of a version that is known here.
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Record, Malformed> {
        let head: &Head = zerocopy::transmute_ref!(bytes);
        match head.version {
            0 if bytes.iter().all(|&byte| byte == 0) => return Ok(Record::Absent),
            VERSION => {}
            _ => return Err(Malformed("inode record of an unknown version")),
        }
        if head.zero != 0 || head.reserved != [0; 48] {
            return Err(Malformed("inode record with unknown contents"));
        }
        if head.mode.get() == 0 {
            return Ok(Record::Free);
        }
        let inode = Inode {
            mode: head.mode.get(),
            nlink: head.nlink.get(),
            uid: head.uid.get(),
            gid: head.gid.get(),
            rdev: head.rdev.get(),
            size: head.size.get(),
            pages: head.pages.get(),
            atime: head.atime.get(),
            mtime: head.mtime.get(),
            ctime: head.ctime.get(),
            parent: head.parent.get(),
            xattr_bytes: head.xattr_bytes.get(),
            dir_hint: head.dir_hint.get(),
            flags: head.flags.get(),
        };
        inode.check()?;
        Ok(Record::Live(inode))
    }
}

/// Where the record of an inode begins in space 0, in bytes.
pub fn record_at(ino: u64) -> u64 {
    ino * INODE_BYTES as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Inode {
        Inode {
            mode: S_IFREG | 0o4751,
            nlink: 2,
            uid: 1000,
            gid: 100,
            rdev: 0x0801,
            size: 0x0001_0203_0405,
            pages: 7,
            atime: -1,
            mtime: 0x1122_3344_5566_7788,
            ctime: 3,
            parent: 9,
            xattr_bytes: 44,
            dir_hint: 5,
            flags: HAS_CAPABILITY,
        }
    }

    /// When this fails, bump the version.
    #[test]
    fn golden_bytes() {
        let mut expected = [0_u8; HEAD_BYTES];
        expected[..80].copy_from_slice(&[
            1, 0, 0xe9, 0x89, 2, 0, 0, 0, 0xe8, 3, 0, 0, 100, 0, 0, 0, // version mode nlink uid gid
            5, 4, 3, 2, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, // size pages
            255, 255, 255, 255, 255, 255, 255, 255, // atime
            0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // mtime
            3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, // ctime parent
            1, 8, 0, 0, 44, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, // rdev xattr_bytes dir_hint flags
        ]);
        assert_eq!(sample().encode(), expected);
        assert_eq!(Record::decode(&expected), Ok(Record::Live(sample())));
    }

    #[test]
    fn a_free_record_differs_from_one_never_used() {
        assert_eq!(Record::decode(&[0; HEAD_BYTES]), Ok(Record::Absent));
        assert_eq!(Record::decode(&Record::free()), Ok(Record::Free));
    }

    #[test]
    fn a_newer_version_is_refused() {
        let mut bytes = sample().encode();
        bytes[0] = VERSION + 1;
        assert!(Record::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_what_decodes_encodes_back(
            mut bytes in prop::collection::vec(any::<u8>(), HEAD_BYTES),
            plausible in any::<bool>(),
        ) {
            if plausible {
                bytes[0] = VERSION;
                bytes[1] = 0;
                bytes[80..].fill(0);
            }
            let bytes: [u8; HEAD_BYTES] = bytes.try_into().expect("that many bytes");
            if let Ok(Record::Live(inode)) = Record::decode(&bytes) {
                prop_assert_eq!(inode.encode(), bytes);
            }
        }
    }
}
