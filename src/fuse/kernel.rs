//! The transport that goes through `/dev/fuse`, by the crate fuser: turns its callbacks into
//! [`Request`]s and [`Answer`]s into its replies. Also holds what is said to the kernel once, when the
//! mount begins, and for how long it may cache.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, TimeOrNow, WriteFlags,
};

use super::dispatch::Dispatcher;
use super::request::{
    Answer, Errno, Handle, Operation, Reply, Request, kind_of_mode, permissions_of_mode,
};
use crate::base::limits::{PAGE_BYTES, REQUEST_BYTES_MAX};
use crate::fs::{Attr, Caller, DirEntry, Ino, Kind, NewNode, SetAttr, SetTime};
use crate::io::Timestamp;

/// For how long the kernel may believe attributes and names, those that do not exist included. It is
/// the only one who changes them, so it knows by itself when they change.
const CACHE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Inode numbers are never reused, so none has a second life.
const GENERATION: Generation = Generation(0);
/// Requests that the kernel may have on the way without a caller waiting, such as readahead.
const BACKGROUND_MAX: u16 = 64;

/// What is asked of the kernel, each where it has it:
/// - several lookups and listings of one directory at a time, listings with attributes where useful;
/// - symbolic links cached; pages dropped only when we say so, which we never need to;
/// - direct I/O without waiting for each request; `O_TRUNC` within OPEN;
/// - ACLs checked by the kernel, the umask left to us, who know of default ACLs;
/// - set-id bits cleared by us, or each write would first ask for `security.capability`;
/// - a connection that was cut tells us so, other than one that was unmounted.
const CAPABILITIES: [InitFlags; 11] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_ABORT_ERROR,
];

/// The filesystem as fuser calls it.
pub(super) struct Kernel {
    dispatcher: Arc<Dispatcher>,
}

impl Kernel {
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Kernel { dispatcher }
    }

    fn serve(&self, header: &fuser::Request, ino: INodeNo, operation: Operation<'_>, reply: impl Into<Token>) {
        let caller = Caller { uid: header.uid(), gid: header.gid(), pid: header.pid() };
        self.dispatcher.serve(Request { caller, ino: Ino(ino.0), operation }, reply.into());
    }
}
