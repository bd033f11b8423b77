//! The transport that goes through `/dev/fuse`, by the crate fuser: turns its callbacks into
//! [`Request`]s. Also holds what is agreed with the kernel when a mount begins.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    TimeOrNow, WriteFlags,
};

use super::dispatch::Dispatcher;
use super::request::{Errno, Handle, Operation, Reply, Request, kind_of_mode, permissions_of_mode};
use super::token::{Token, timestamp};
use crate::base::limits::REQUEST_BYTES_MAX;
use crate::fs::{Caller, Ino, Kind, NewNode, SetAttr, SetTime};

/// Requests that the kernel may have on the way without a caller waiting, such as readahead.
const BACKGROUND_MAX: u16 = 64;

/// What is asked of the kernel, each where it has it. Never all that it offers: fuser could not parse
/// the requests that some of it brings.
const CAPABILITIES: [InitFlags; 12] = [
    // Several lookups and listings of one directory at a time; listings with attributes where useful.
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_CACHE_SYMLINKS,
    // Cached pages are dropped only when we say so, and there is never a reason to.
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_ASYNC_DIO,
    // As on a local filesystem, a file opened with O_DIRECT can be mapped shared all the same.
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    // ACLs are checked by the kernel; the umask is ours to apply, who know of default ACLs.
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_DONT_MASK,
    // We clear set-id bits: otherwise every write first asks for `security.capability`.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    // Reading from a connection that was cut fails otherwise than from one that was unmounted.
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

    fn serve(&self, from: &fuser::Request, ino: INodeNo, operation: Operation<'_>, reply: impl Into<Token>) {
        let caller = Caller { uid: from.uid(), gid: from.gid(), pid: from.pid() };
        self.dispatcher.serve(Request { caller, ino: Ino(ino.0), operation }, reply.into());
    }
}

impl Filesystem for Kernel {
    fn init(&mut self, _: &fuser::Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in CAPABILITIES {
            if config.add_capabilities(capability).is_err() {
                tracing::info!(?capability, "this kernel lacks a capability");
            }
        }
        let bytes = u32::try_from(REQUEST_BYTES_MAX).expect("1 MiB");
        config.set_max_write(bytes).expect("fuser's limit is 16 MiB");
        config.set_max_background(BACKGROUND_MAX).expect("not 0");
        Ok(())
    }

    // Inode numbers need no table, so there is nothing to forget.
    fn forget(&self, _: &fuser::Request, _: INodeNo, _: u64) {
        self.dispatcher.observe("FORGET");
    }

    fn lookup(&self, from: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.serve(from, parent, Operation::Lookup { name: name.as_bytes().into() }, reply);
    }

    fn getattr(&self, from: &fuser::Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.serve(from, ino, Operation::GetAttr, reply);
    }

    fn setattr(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let named = mode.is_some() || uid.is_some() || gid.is_some() || size.is_some();
        let timed = atime.is_some() || mtime.is_some() || ctime.is_some();
        let set = SetAttr {
            mode: mode.map(permissions_of_mode),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            ctime: ctime.map(|time| SetTime::At(timestamp(time))),
            // fuser hides the flag. The kernel sets it on a size change by anyone but root, and with
            // no other change at all before a write.
            kill_suidgid: !(named || timed) || size.is_some() && from.uid() != 0,
        };
        self.serve(from, ino, Operation::SetAttr(set), reply);
    }

    fn readlink(&self, from: &fuser::Request, ino: INodeNo, reply: ReplyData) {
        self.serve(from, ino, Operation::ReadLink, reply);
    }

    fn mknod(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let Some(kind) = kind_of_mode(mode) else {
            return Token::from(reply).send(Err(Errno(libc::EINVAL)));
        };
        let operation =
            Operation::MkNod { name: name.as_bytes().into(), node: new_node(kind, mode, umask, rdev) };
        self.serve(from, parent, operation, reply);
    }

    fn mkdir(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let node = new_node(Kind::Directory, mode, umask, 0);
        self.serve(from, parent, Operation::MkDir { name: name.as_bytes().into(), node }, reply);
    }

    fn unlink(&self, from: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(from, parent, Operation::Unlink { name: name.as_bytes().into() }, reply);
    }

    fn rmdir(&self, from: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(from, parent, Operation::RmDir { name: name.as_bytes().into() }, reply);
    }

    fn symlink(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes().into();
        self.serve(from, parent, Operation::SymLink { name: name.as_bytes().into(), target }, reply);
    }

    fn rename(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let operation = Operation::Rename {
            name: name.as_bytes().into(),
            to_parent: Ino(to_parent.0),
            to_name: to_name.as_bytes().into(),
            flags: flags.bits(),
        };
        self.serve(from, parent, operation, reply);
    }

    fn link(&self, from: &fuser::Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let operation = Operation::Link { source: Ino(ino.0), name: name.as_bytes().into() };
        self.serve(from, parent, operation, reply);
    }

    fn open(&self, from: &fuser::Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.serve(from, ino, Operation::Open { flags: flags.0 }, reply);
    }

    fn create(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let node = new_node(Kind::File, mode, umask, 0);
        self.serve(from, parent, Operation::Create { name: name.as_bytes().into(), node, flags }, reply);
    }

    fn release(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.serve(from, ino, Operation::Release { handle: Handle::from_bits(handle.0) }, reply);
    }

    fn read(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.serve(from, ino, Operation::Read { offset, bytes }, reply);
    }

    fn write(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let operation = Operation::Write {
            handle: Handle::from_bits(handle.0),
            offset,
            data: data.into(),
            flags: flags.0,
            kill_suidgid: write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID),
        };
        self.serve(from, ino, operation, reply);
    }

    fn flush(&self, from: &fuser::Request, ino: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.serve(from, ino, Operation::Flush, reply);
    }

    fn fsync(&self, from: &fuser::Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.serve(from, ino, Operation::FSync, reply);
    }

    fn fsyncdir(&self, from: &fuser::Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.serve(from, ino, Operation::FSyncDir, reply);
    }

    fn opendir(&self, from: &fuser::Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.serve(from, ino, Operation::OpenDir, reply);
    }

    fn readdir(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        _: FileHandle,
        cookie: u64,
        reply: ReplyDirectory,
    ) {
        self.serve(from, ino, Operation::ReadDir { cookie, plus: false }, reply);
    }

    fn readdirplus(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        _: FileHandle,
        cookie: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.serve(from, ino, Operation::ReadDir { cookie, plus: true }, reply);
    }

    fn statfs(&self, from: &fuser::Request, ino: INodeNo, reply: ReplyStatfs) {
        self.serve(from, ino, Operation::StatFs, reply);
    }

    fn setxattr(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let operation = Operation::SetXattr { name: name.as_bytes().into(), value: value.into(), flags };
        self.serve(from, ino, operation, reply);
    }

    fn getxattr(&self, from: &fuser::Request, ino: INodeNo, name: &OsStr, bytes: u32, reply: ReplyXattr) {
        self.serve(from, ino, Operation::GetXattr { name: name.as_bytes().into(), bytes }, reply);
    }

    fn listxattr(&self, from: &fuser::Request, ino: INodeNo, bytes: u32, reply: ReplyXattr) {
        self.serve(from, ino, Operation::ListXattr { bytes }, reply);
    }

    fn removexattr(&self, from: &fuser::Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(from, ino, Operation::RemoveXattr { name: name.as_bytes().into() }, reply);
    }

    fn fallocate(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.serve(from, ino, Operation::Fallocate { offset, bytes, mode }, reply);
    }

    fn lseek(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.serve(from, ino, Operation::LSeek { offset, whence }, reply);
    }

    fn copy_file_range(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        to: INodeNo,
        _: FileHandle,
        to_offset: u64,
        bytes: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let operation = Operation::CopyFileRange { offset, to: Ino(to.0), to_offset, bytes };
        self.serve(from, ino, operation, reply);
    }

    fn ioctl(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        self.serve(from, ino, Operation::Ioctl, reply);
    }
}

fn new_node(kind: Kind, mode: u32, umask: u32, rdev: u32) -> NewNode {
    NewNode { kind, mode: permissions_of_mode(mode), umask: permissions_of_mode(umask), rdev }
}

fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp(time)),
    }
}
