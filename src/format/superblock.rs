//! The super record: what a filesystem knows of itself, in the place of inode 0.
//!
//! ```text
//!   0  magic "firn-fs\0"     16  next_inode u64    32  inodes i64
//!   8  version u32 (1)       24  used_pages i64    40  hash_key, 32 bytes
//!  12  zero u32                                    72  zero, 184 bytes
//! ```
//!
//! The three counters change by commuting edits only, so that operations on different inodes may be
//! applied in any order.

use std::mem::offset_of;

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Malformed;
use super::inode::INODE_BYTES;

/// Bytes in the record.
pub const SUPERBLOCK_BYTES: usize = INODE_BYTES;
/// Where `next_inode` is, in bytes.
pub const NEXT_INODE_AT: u64 = offset_of!(Layout, next_inode) as u64;
/// Where `used_pages` is, in bytes.
pub const USED_PAGES_AT: u64 = offset_of!(Layout, used_pages) as u64;
/// Where `inodes` is, in bytes.
pub const INODES_AT: u64 = offset_of!(Layout, inodes) as u64;

const MAGIC: [u8; 8] = *b"firn-fs\0";
const VERSION: u32 = 1;

/// What a filesystem knows of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Above every inode number ever used.
    pub next_inode: u64,
    /// Pages of all files, directories, symlinks and extended attributes; not of the inode table.
    pub used_pages: i64,
    /// Inodes in use, those only open included, the hidden one not.
    pub inodes: i64,
    /// Makes the hashes of names unpredictable.
    pub hash_key: [u8; 32],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    version: U32,
    zero: U32,
    next_inode: U64,
    used_pages: I64,
    inodes: I64,
    hash_key: [u8; 32],
    reserved: [u8; 184],
}

const _: () = assert!(size_of::<Layout>() == SUPERBLOCK_BYTES);
const _: () = assert!(NEXT_INODE_AT.is_multiple_of(8));
const _: () = assert!(USED_PAGES_AT.is_multiple_of(8) && INODES_AT.is_multiple_of(8));

impl Superblock {
    /// The record.
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let layout = Layout {
            magic: MAGIC,
            version: VERSION.into(),
            zero: 0.into(),
            next_inode: self.next_inode.into(),
            used_pages: self.used_pages.into(),
            inodes: self.inodes.into(),
            hash_key: self.hash_key,
            reserved: [0; 184],
        };
        zerocopy::transmute!(layout)
    }

    /// Reads the record; `None` where there is no filesystem yet.
    ///
    /// # Errors
    /// When the bytes are no super record of a version that is known here.
    pub fn decode(bytes: &[u8; SUPERBLOCK_BYTES]) -> Result<Option<Self>, Malformed> {
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let layout: &Layout = zerocopy::transmute_ref!(bytes);
        if layout.magic != MAGIC {
            return Err(Malformed("no filesystem of firn"));
        }
        if layout.version.get() != VERSION {
            return Err(Malformed("filesystem of a newer version"));
        }
        Ok(Some(Superblock {
            next_inode: layout.next_inode.get(),
            used_pages: layout.used_pages.get(),
            inodes: layout.inodes.get(),
            hash_key: layout.hash_key,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Superblock {
        Superblock { next_inode: 0x0304, used_pages: -2, inodes: 5, hash_key: [7; 32] }
    }

    /// When this fails, bump the version.
    #[test]
    fn golden_bytes() {
        let mut expected = [0_u8; SUPERBLOCK_BYTES];
        expected[..12].copy_from_slice(b"firn-fs\0\x01\0\0\0");
        expected[16..18].copy_from_slice(&[4, 3]);
        expected[24..32].copy_from_slice(&[254, 255, 255, 255, 255, 255, 255, 255]);
        expected[32] = 5;
        expected[40..72].fill(7);
        assert_eq!(sample().encode(), expected);
        assert_eq!(Superblock::decode(&expected), Ok(Some(sample())));
    }

    #[test]
    fn zeros_are_no_filesystem_and_a_newer_version_is_refused() {
        assert_eq!(Superblock::decode(&[0; SUPERBLOCK_BYTES]), Ok(None));
        let mut bytes = sample().encode();
        bytes[8] += 1;
        assert!(Superblock::decode(&bytes).expect_err("newer").0.contains("newer"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), SUPERBLOCK_BYTES)) {
            let bytes: [u8; SUPERBLOCK_BYTES] = bytes.try_into().expect("that many bytes");
            prop_assert!(Superblock::decode(&bytes).is_err());
        }
    }
}
