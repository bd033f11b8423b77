//! The filesystem's vocabulary.

use crate::base::limits::PAGE_BYTES;
use crate::format::inode::{Inode, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
use crate::io::Timestamp;

/// An inode number. Only grows, never reused; the root is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory.
    pub const ROOT: Ino = Ino(1);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

impl Kind {
    /// The bits of `S_IFMT`.
    pub(super) fn bits(self) -> u16 {
        match self {
            Kind::File => S_IFREG,
            Kind::Directory => S_IFDIR,
            Kind::Symlink => S_IFLNK,
            Kind::Fifo => S_IFIFO,
            Kind::Socket => S_IFSOCK,
            Kind::CharDevice => S_IFCHR,
            Kind::BlockDevice => S_IFBLK,
        }
    }

    /// The bits of `S_IFMT`, shifted right by 12.
    pub(super) fn entry_kind(self) -> u8 {
        (self.bits() >> 12).to_le_bytes()[0]
    }

    /// The kind in a mode that a decoder has checked.
    pub(super) fn of(mode: u16) -> Self {
        match mode & S_IFMT {
            S_IFDIR => Kind::Directory,
            S_IFLNK => Kind::Symlink,
            S_IFIFO => Kind::Fifo,
            S_IFSOCK => Kind::Socket,
            S_IFCHR => Kind::CharDevice,
            S_IFBLK => Kind::BlockDevice,
            _ => Kind::File,
        }
    }
}

/// What stat(2) shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    pub ino: Ino,
    pub kind: Kind,
    /// Permission bits with set-id and sticky, `0o7777`.
    pub mode: u16,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// Device number, as the kernel encodes it.
    pub rdev: u32,
    /// In bytes.
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
}

impl Attr {
    pub(super) fn new(ino: Ino, inode: &Inode) -> Self {
        let kind = Kind::of(inode.mode);
        let size = if kind == Kind::Directory { inode.pages * PAGE_BYTES as u64 } else { inode.size };
        Attr {
            ino,
            kind,
            mode: inode.mode & 0o7777,
            nlink: inode.nlink,
            uid: inode.uid,
            gid: inode.gid,
            rdev: inode.rdev,
            size,
            blocks: (inode.pages + inode.xattr_pages()) * (PAGE_BYTES as u64 / 512),
            atime: Timestamp { nanos: inode.atime },
            mtime: Timestamp { nanos: inode.mtime },
            ctime: Timestamp { nanos: inode.ctime },
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
}

/// A node to be made. With POSIX ACLs the umask is ours to apply: only where the parent has no
/// default ACL.
#[derive(Clone, Copy, Debug)]
pub struct NewNode {
    pub kind: Kind,
    /// Permission bits as asked for, before the umask.
    pub mode: u16,
    pub umask: u16,
    pub rdev: u32,
}

#[derive(Clone, Copy, Debug)]
pub enum SetTime {
    Now,
    At(Timestamp),
}

/// What setattr changes; `None` leaves it. All `None`: clear set-id bits (the kernel's kill-priv).
#[derive(Clone, Copy, Default, Debug)]
pub struct SetAttr {
    pub mode: Option<u16>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    pub ctime: Option<SetTime>,
    /// The kernel asks that set-id bits go (FATTR_KILL_SUIDGID).
    pub kill_suidgid: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RenameMode {
    Replace,
    NoReplace,
    Exchange,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetXattr {
    Any,
    Create,
    Replace,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whence {
    Data,
    Hole,
}

#[derive(Debug)]
pub struct DirEntry<'a> {
    pub ino: Ino,
    /// Where to go on after this entry.
    pub cookie: u64,
    pub kind: Kind,
    pub name: &'a [u8],
    /// There when asked for, except for `.` and `..`.
    pub attr: Option<Attr>,
}

#[derive(Clone, Copy, Debug)]
pub struct StatFs {
    pub block_bytes: u32,
    pub blocks: u64,
    pub blocks_free: u64,
    pub inodes: u64,
    pub inodes_free: u64,
    pub name_bytes_max: u32,
}
