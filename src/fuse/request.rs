//! What the kernel asks and what it gets, in our own words, so that a transport only translates.
//!
//! A [`Reply`] is a token: it belongs to one request, may move to another thread, and is used up by
//! its answer. One that is dropped unused answers `EIO`, so that no caller waits for ever.

use std::borrow::Cow;

use crate::fs::{Attr, Caller, DirEntry, Ino, Kind, NewNode, SetAttr, StatFs};

/// One request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub caller: Caller,
    /// What it is about; for operations on a name, the directory.
    pub ino: Ino,
    pub operation: Operation<'a>,
}

/// What is asked. Bytes are borrowed from the transport's receive buffer until the request has to
/// outlive it.
#[derive(Clone, Debug)]
pub enum Operation<'a> {
    Lookup {
        name: Cow<'a, [u8]>,
    },
    GetAttr,
    SetAttr(SetAttr),
    ReadLink,
    MkNod {
        name: Cow<'a, [u8]>,
        node: NewNode,
    },
    MkDir {
        name: Cow<'a, [u8]>,
        node: NewNode,
    },
    SymLink {
        name: Cow<'a, [u8]>,
        target: Cow<'a, [u8]>,
    },
    /// `source` gets another name in the request's directory.
    Link {
        source: Ino,
        name: Cow<'a, [u8]>,
    },
    Unlink {
        name: Cow<'a, [u8]>,
    },
    RmDir {
        name: Cow<'a, [u8]>,
    },
    /// `flags` as of renameat2(2).
    Rename {
        name: Cow<'a, [u8]>,
        to_parent: Ino,
        to_name: Cow<'a, [u8]>,
        flags: u32,
    },
    /// `flags` as of open(2).
    Open {
        flags: i32,
    },
    Create {
        name: Cow<'a, [u8]>,
        node: NewNode,
        flags: i32,
    },
    Release {
        handle: Handle,
    },
    Read {
        offset: u64,
        bytes: u32,
    },
    /// `flags` are the file's own with those of the call (`RWF_DSYNC`) added.
    Write {
        handle: Handle,
        offset: u64,
        data: Cow<'a, [u8]>,
        flags: i32,
        kill_suidgid: bool,
    },
    FSync,
    FSyncDir,
    Flush,
    OpenDir,
    /// `plus`: with attributes.
    ReadDir {
        cookie: u64,
        plus: bool,
    },
    StatFs,
    /// `bytes`: room for the value; 0 asks for its size.
    GetXattr {
        name: Cow<'a, [u8]>,
        bytes: u32,
    },
    ListXattr {
        bytes: u32,
    },
    /// `flags` as of setxattr(2).
    SetXattr {
        name: Cow<'a, [u8]>,
        value: Cow<'a, [u8]>,
        flags: i32,
    },
    RemoveXattr {
        name: Cow<'a, [u8]>,
    },
    /// `mode` as of fallocate(2).
    Fallocate {
        offset: u64,
        bytes: u64,
        mode: i32,
    },
    CopyFileRange {
        offset: u64,
        to: Ino,
        to_offset: u64,
        bytes: u64,
    },
    /// `whence` as of lseek(2).
    LSeek {
        offset: i64,
        whence: i32,
    },
    Ioctl,
}

/// What we know of an open file, carried by the kernel: there is no table of handles.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Handle {
    /// Opened with `O_DIRECT`: the kernel neither caches nor sends an FSYNC after a synchronous write.
    pub direct: bool,
    /// Opened by execve(2).
    pub executes: bool,
}

impl Handle {
    const DIRECT: u64 = 1;
    const EXECUTES: u64 = 2;

    /// As the kernel carries it.
    pub fn to_bits(self) -> u64 {
        (if self.direct { Self::DIRECT } else { 0 }) | if self.executes { Self::EXECUTES } else { 0 }
    }

    /// The reverse of [`Handle::to_bits`].
    pub fn from_bits(bits: u64) -> Self {
        Handle { direct: bits & Self::DIRECT != 0, executes: bits & Self::EXECUTES != 0 }
    }
}

/// What the kernel gets.
#[derive(Clone, Debug)]
pub enum Answer<'a> {
    Done,
    Entry(Attr),
    /// There is no such name, and the kernel may remember that.
    NoEntry,
    Attr(Attr),
    Data(Cow<'a, [u8]>),
    Opened(Handle),
    Created(Attr, Handle),
    Written(u32),
    StatFs(StatFs),
    /// Size of an extended attribute, in bytes.
    XattrBytes(u32),
    Offset(u64),
    /// The entries that were added to the token.
    Directory,
}

/// The number that the caller of the system call sees; positive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

/// The right and duty to answer one request.
pub trait Reply: Send + 'static {
    /// Adds an entry to the answer of a [`Operation::ReadDir`]; false when it does not fit any more.
    fn add(&mut self, entry: &DirEntry<'_>) -> bool;

    /// Answers.
    fn send(self, answer: Result<Answer<'_>, Errno>);
}

impl Operation<'_> {
    /// The request's name in the kernel's protocol.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Lookup { .. } => "LOOKUP",
            Operation::GetAttr => "GETATTR",
            Operation::SetAttr(_) => "SETATTR",
            Operation::ReadLink => "READLINK",
            Operation::MkNod { .. } => "MKNOD",
            Operation::MkDir { .. } => "MKDIR",
            Operation::SymLink { .. } => "SYMLINK",
            Operation::Link { .. } => "LINK",
            Operation::Unlink { .. } => "UNLINK",
            Operation::RmDir { .. } => "RMDIR",
            Operation::Rename { .. } => "RENAME",
            Operation::Open { .. } => "OPEN",
            Operation::Create { .. } => "CREATE",
            Operation::Release { .. } => "RELEASE",
            Operation::Read { .. } => "READ",
            Operation::Write { .. } => "WRITE",
            Operation::FSync => "FSYNC",
            Operation::FSyncDir => "FSYNCDIR",
            Operation::Flush => "FLUSH",
            Operation::OpenDir => "OPENDIR",
            Operation::ReadDir { plus: false, .. } => "READDIR",
            Operation::ReadDir { plus: true, .. } => "READDIRPLUS",
            Operation::StatFs => "STATFS",
            Operation::GetXattr { .. } => "GETXATTR",
            Operation::ListXattr { .. } => "LISTXATTR",
            Operation::SetXattr { .. } => "SETXATTR",
            Operation::RemoveXattr { .. } => "REMOVEXATTR",
            Operation::Fallocate { .. } => "FALLOCATE",
            Operation::CopyFileRange { .. } => "COPY_FILE_RANGE",
            Operation::LSeek { .. } => "LSEEK",
            Operation::Ioctl => "IOCTL",
        }
    }

    /// Whether it changes the volume, so that it has to wait while the log has no room.
    pub fn changes(&self) -> bool {
        match self {
            Operation::SetAttr(_)
            | Operation::MkNod { .. }
            | Operation::MkDir { .. }
            | Operation::SymLink { .. }
            | Operation::Link { .. }
            | Operation::Unlink { .. }
            | Operation::RmDir { .. }
            | Operation::Rename { .. }
            | Operation::Create { .. }
            // The last one of an unlinked file removes it.
            | Operation::Release { .. }
            | Operation::Write { .. }
            | Operation::SetXattr { .. }
            | Operation::RemoveXattr { .. }
            | Operation::Fallocate { .. }
            | Operation::CopyFileRange { .. } => true,
            Operation::Open { flags } => flags & libc::O_TRUNC != 0,
            Operation::Lookup { .. }
            | Operation::GetAttr
            | Operation::ReadLink
            | Operation::Read { .. }
            | Operation::FSync
            | Operation::FSyncDir
            | Operation::Flush
            | Operation::OpenDir
            | Operation::ReadDir { .. }
            | Operation::StatFs
            | Operation::GetXattr { .. }
            | Operation::ListXattr { .. }
            | Operation::LSeek { .. }
            | Operation::Ioctl => false,
        }
    }

    /// Bytes that it carries beside its fixed part.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Operation::Write { data, .. } => data.len(),
            Operation::SetXattr { name, value, .. } => name.len() + value.len(),
            Operation::SymLink { name, target } => name.len() + target.len(),
            Operation::Rename { name, to_name, .. } => name.len() + to_name.len(),
            Operation::Lookup { name }
            | Operation::MkNod { name, .. }
            | Operation::MkDir { name, .. }
            | Operation::Link { name, .. }
            | Operation::Unlink { name }
            | Operation::RmDir { name }
            | Operation::Create { name, .. }
            | Operation::GetXattr { name, .. }
            | Operation::RemoveXattr { name } => name.len(),
            _ => 0,
        }
    }

    /// A copy that needs the receive buffer no more.
    pub fn into_owned(self) -> Operation<'static> {
        use Operation as Op;
        match self {
            Op::Lookup { name } => Op::Lookup { name: own(name) },
            Op::MkNod { name, node } => Op::MkNod { name: own(name), node },
            Op::MkDir { name, node } => Op::MkDir { name: own(name), node },
            Op::SymLink { name, target } => Op::SymLink { name: own(name), target: own(target) },
            Op::Link { source, name } => Op::Link { source, name: own(name) },
            Op::Unlink { name } => Op::Unlink { name: own(name) },
            Op::RmDir { name } => Op::RmDir { name: own(name) },
            Op::Rename { name, to_parent, to_name, flags } => {
                Op::Rename { name: own(name), to_parent, to_name: own(to_name), flags }
            }
            Op::Create { name, node, flags } => Op::Create { name: own(name), node, flags },
            Op::Write { handle, offset, data, flags, kill_suidgid } => {
                Op::Write { handle, offset, data: own(data), flags, kill_suidgid }
            }
            Op::GetXattr { name, bytes } => Op::GetXattr { name: own(name), bytes },
            Op::SetXattr { name, value, flags } => Op::SetXattr { name: own(name), value: own(value), flags },
            Op::RemoveXattr { name } => Op::RemoveXattr { name: own(name) },
            Op::GetAttr => Op::GetAttr,
            Op::SetAttr(set) => Op::SetAttr(set),
            Op::ReadLink => Op::ReadLink,
            Op::Open { flags } => Op::Open { flags },
            Op::Release { handle } => Op::Release { handle },
            Op::Read { offset, bytes } => Op::Read { offset, bytes },
            Op::FSync => Op::FSync,
            Op::FSyncDir => Op::FSyncDir,
            Op::Flush => Op::Flush,
            Op::OpenDir => Op::OpenDir,
            Op::ReadDir { cookie, plus } => Op::ReadDir { cookie, plus },
            Op::StatFs => Op::StatFs,
            Op::ListXattr { bytes } => Op::ListXattr { bytes },
            Op::Fallocate { offset, bytes, mode } => Op::Fallocate { offset, bytes, mode },
            Op::CopyFileRange { offset, to, to_offset, bytes } => {
                Op::CopyFileRange { offset, to, to_offset, bytes }
            }
            Op::LSeek { offset, whence } => Op::LSeek { offset, whence },
            Op::Ioctl => Op::Ioctl,
        }
    }
}

fn own(bytes: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
    Cow::Owned(bytes.into_owned())
}

/// The kind that a mode's type bits name; none of them means a regular file, as for mknod(2).
pub fn kind_of_mode(mode: u32) -> Option<Kind> {
    match mode & libc::S_IFMT {
        0 | libc::S_IFREG => Some(Kind::File),
        libc::S_IFDIR => Some(Kind::Directory),
        libc::S_IFLNK => Some(Kind::Symlink),
        libc::S_IFIFO => Some(Kind::Fifo),
        libc::S_IFSOCK => Some(Kind::Socket),
        libc::S_IFCHR => Some(Kind::CharDevice),
        libc::S_IFBLK => Some(Kind::BlockDevice),
        _ => None,
    }
}

/// The permission bits of a mode, with set-id and sticky.
pub fn permissions_of_mode(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).expect("twelve bits")
}
