//! What to call for a request, whatever transport brought it.
//!
//! Owns the decision which thread does the work: the one that brought the request, unless the log has
//! no room for a change; then the pool, together with the reply. A sync is begun on the calling
//! thread and answered by whoever completes it.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Observer;
use super::executing::Executing;
use super::pool::Pool;
use super::request::{Answer, Errno, Handle, Operation, Reply, Request};
use crate::fs::{self, Caller, Fs, Ino, RenameMode, SetXattr, Whence};

/// The most that one COPY_FILE_RANGE copies, in bytes; the caller asks again for the rest. Bounds how
/// long one request takes.
const COPY_BYTES_MAX: u64 = 16 << 20;

/// Serves the requests of one mount.
pub struct Dispatcher {
    files: Arc<Files>,
    pool: Pool,
    observer: Option<Observer>,
}

/// What requests are about.
struct Files {
    fs: Arc<Fs>,
    executing: Executing,
}

impl Dispatcher {
    /// A dispatcher that starts threads when it needs them.
    pub fn new(fs: Arc<Fs>, observer: Option<Observer>) -> Self {
        let files = Arc::new(Files { fs, executing: Executing::default() });
        Dispatcher { files, pool: Pool::default(), observer }
    }

    /// Serves one request. Returns without having waited for the log, for another's sync or for the
    /// disk beyond what a read needs, unless the pool is full; `reply` may be answered later.
    pub fn serve<R: Reply>(&self, request: Request<'_>, reply: R) {
        self.observe(request.operation.name());
        if !self.is_slow(&request.operation) {
            return answer(&self.files, request, reply);
        }
        let bytes = request.operation.payload_bytes();
        let request =
            Request { caller: request.caller, ino: request.ino, operation: request.operation.into_owned() };
        let files = Arc::clone(&self.files);
        let job = Box::new(move || answer(&files, request, reply));
        if let Err(job) = self.pool.submit(bytes, job) {
            job();
        }
    }

    /// Tells the observer of a request, also of one that needs no reply.
    pub fn observe(&self, name: &'static str) {
        if let Some(observer) = &self.observer {
            observer(name);
        }
    }

    /// Returns when every request that was handed to the pool has been answered.
    pub fn finish(&self) {
        self.pool.close();
    }

    fn is_slow(&self, operation: &Operation<'_>) -> bool {
        matches!(operation, Operation::CopyFileRange { .. })
            || operation.changes() && !self.files.fs.has_room()
    }
}

/// Answers a request on this thread; a panic on the way fails this request alone, since the token
/// answers `EIO` when the unwinding drops it.
fn answer<R: Reply>(files: &Files, request: Request<'_>, reply: R) {
    let (name, ino) = (request.operation.name(), request.ino);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| dispatch(files, request, reply))) {
        tracing::error!(request = name, ino = ino.0, panic = panic_message(&*panic), "a request panicked");
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Those whose answer is borrowed, made piecemeal or late are treated by themselves; the others are a
/// call with a result.
fn dispatch<R: Reply>(files: &Files, request: Request<'_>, mut reply: R) {
    let fs = &*files.fs;
    let Request { caller, ino, operation } = request;
    let name = operation.name();
    match operation {
        Operation::Read { offset, bytes } => read(fs, ino, offset, bytes, reply),
        Operation::Write { handle, offset, data, flags, kill_suidgid } => {
            let synchronous = handle.direct && flags & libc::O_DSYNC != 0;
            match write(fs, ino, offset, &data, kill_suidgid) {
                Ok(answer) if synchronous => sync(fs, name, ino, answer, reply),
                result => reply.send(result.map_err(|error| errno(name, ino, &error))),
            }
        }
        Operation::FSync | Operation::FSyncDir => sync(fs, name, ino, Answer::Done, reply),
        Operation::Unlink { name: removed } => match fs.remove_file(&caller, ino, &removed) {
            Ok(true) => sync(fs, name, ino, Answer::Done, reply),
            result => reply.send(result.map(|_| Answer::Done).map_err(|error| errno(name, ino, &error))),
        },
        Operation::ReadDir { cookie, plus } => {
            let result = fs.readdir(ino, cookie, plus, &mut |entry| reply.add(entry));
            reply.send(result.map(|()| Answer::Directory).map_err(|error| errno(name, ino, &error)));
        }
        // ENOSYS tells the kernel never to ask again: directories need no handle, and the last
        // close of a file is RELEASE.
        Operation::OpenDir | Operation::Flush => reply.send(Err(Errno(libc::ENOSYS))),
        Operation::Ioctl => reply.send(Err(Errno(libc::ENOTTY))),
        Operation::Open { flags } if files.executing.forbids(ino, flags) => {
            reply.send(Err(Errno(libc::ETXTBSY)));
        }
        operation => {
            let result = call(files, &caller, ino, operation);
            reply.send(result.map_err(|error| errno(name, ino, &error)));
        }
    }
}

fn call(
    files: &Files,
    caller: &Caller,
    ino: Ino,
    operation: Operation<'_>,
) -> Result<Answer<'static>, fs::Error> {
    let fs = &*files.fs;
    Ok(match operation {
        Operation::Lookup { name } => match fs.lookup(ino, &name) {
            Err(fs::Error::NotFound) => Answer::NoEntry,
            result => Answer::Entry(result?),
        },
        Operation::GetAttr => Answer::Attr(fs.getattr(ino)?),
        Operation::SetAttr(set) => Answer::Attr(fs.setattr(caller, ino, &set)?),
        Operation::ReadLink => Answer::Data(fs.readlink(ino)?.into()),
        Operation::MkNod { name, node } | Operation::MkDir { name, node } => {
            Answer::Entry(fs.mknod(caller, ino, &name, &node)?)
        }
        Operation::SymLink { name, target } => Answer::Entry(fs.symlink(caller, ino, &name, &target)?),
        Operation::Link { source, name } => Answer::Entry(fs.link(caller, source, ino, &name)?),
        Operation::RmDir { name } => done(fs.rmdir(caller, ino, &name))?,
        Operation::Rename { name, to_parent, to_name, flags } => {
            done(fs.rename(caller, (ino, &name), (to_parent, &to_name), rename_mode(flags)?))?
        }
        Operation::Open { flags } => {
            fs.open_file(caller, ino, wants_write(flags), flags & libc::O_TRUNC != 0)?;
            let handle = handle(flags);
            if handle.executes {
                files.executing.begin(ino);
            }
            Answer::Opened(handle)
        }
        Operation::Create { name, node, flags } => {
            Answer::Created(fs.create(caller, ino, &name, &node)?, handle(flags))
        }
        Operation::Release { handle } => {
            if handle.executes {
                files.executing.end(ino);
            }
            done(fs.release(ino))?
        }
        Operation::StatFs => Answer::StatFs(fs.statfs()),
        Operation::GetXattr { name, bytes } => xattr(fs.getxattr(ino, &name)?, bytes)?,
        Operation::ListXattr { bytes } => xattr(fs.listxattr(ino)?, bytes)?,
        Operation::SetXattr { name, value, flags } => {
            done(fs.setxattr(caller, ino, &name, &value, setxattr_mode(flags)?))?
        }
        Operation::RemoveXattr { name } => done(fs.removexattr(caller, ino, &name))?,
        Operation::Fallocate { offset, bytes, mode } => done(fs.fallocate(ino, mode, offset, bytes))?,
        Operation::CopyFileRange { offset, to, to_offset, bytes } => {
            let copied = fs.copy_file_range(ino, offset, to, to_offset, bytes.min(COPY_BYTES_MAX))?;
            Answer::Written(u32::try_from(copied).expect("at most COPY_BYTES_MAX"))
        }
        Operation::LSeek { offset, whence } => {
            let offset = u64::try_from(offset).map_err(|_| fs::Error::NoSuchOffset)?;
            Answer::Offset(fs.lseek(ino, offset, whence_of(whence)?)?)
        }
        Operation::Read { .. }
        | Operation::Write { .. }
        | Operation::Unlink { .. }
        | Operation::FSync
        | Operation::FSyncDir
        | Operation::Flush
        | Operation::OpenDir
        | Operation::ReadDir { .. }
        | Operation::Ioctl => unreachable!("treated by dispatch"),
    })
}

fn done(result: Result<(), fs::Error>) -> Result<Answer<'static>, fs::Error> {
    result.map(|()| Answer::Done)
}

fn read<R: Reply>(fs: &Fs, ino: Ino, offset: u64, bytes: u32, reply: R) {
    thread_local! {
        /// Grows to the largest read that this thread has served.
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let bytes = usize::try_from(bytes).expect("32 bits fit");
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < bytes {
            buffer.resize(bytes, 0);
        }
        match fs.read(ino, offset, &mut buffer[..bytes]) {
            Ok(count) => reply.send(Ok(Answer::Data(Cow::Borrowed(&buffer[..count])))),
            Err(error) => reply.send(Err(errno("READ", ino, &error))),
        }
    });
}

fn write(fs: &Fs, ino: Ino, offset: u64, data: &[u8], kill: bool) -> Result<Answer<'static>, fs::Error> {
    let bytes = u32::try_from(data.len()).map_err(|_| fs::Error::Invalid)?;
    fs.write(ino, offset, data, kill)?;
    Ok(Answer::Written(bytes))
}

/// Answers once everything up to now is durable.
fn sync<R: Reply>(fs: &Fs, name: &'static str, ino: Ino, answer: Answer<'static>, reply: R) {
    fs.fsync(
        ino,
        Box::new(move |result| {
            reply.send(match result {
                Ok(()) => Ok(answer),
                Err(error) => Err(errno(name, ino, &error.into())),
            });
        }),
    );
}

/// The caller's number for an error. This is where an error of a request is handled, hence logged: the
/// ones that are not the caller's to solve.
fn errno(name: &'static str, ino: Ino, error: &fs::Error) -> Errno {
    let errno = error.errno();
    if errno == libc::EIO {
        tracing::error!(request = name, ino = ino.0, %error, "a request failed");
    }
    Errno(errno)
}

fn wants_write(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY
}

fn handle(flags: i32) -> Handle {
    Handle { direct: flags & libc::O_DIRECT != 0, executes: flags & Executing::FLAG != 0 }
}

fn rename_mode(flags: u32) -> Result<RenameMode, fs::Error> {
    match flags {
        0 => Ok(RenameMode::Replace),
        libc::RENAME_NOREPLACE => Ok(RenameMode::NoReplace),
        libc::RENAME_EXCHANGE => Ok(RenameMode::Exchange),
        _ => Err(fs::Error::Invalid),
    }
}

fn setxattr_mode(flags: i32) -> Result<SetXattr, fs::Error> {
    match flags {
        0 => Ok(SetXattr::Any),
        libc::XATTR_CREATE => Ok(SetXattr::Create),
        libc::XATTR_REPLACE => Ok(SetXattr::Replace),
        _ => Err(fs::Error::Invalid),
    }
}

fn whence_of(whence: i32) -> Result<Whence, fs::Error> {
    match whence {
        libc::SEEK_DATA => Ok(Whence::Data),
        libc::SEEK_HOLE => Ok(Whence::Hole),
        _ => Err(fs::Error::Invalid),
    }
}

/// A value, or only its size where no room was offered.
fn xattr(value: Vec<u8>, room: u32) -> Result<Answer<'static>, fs::Error> {
    let bytes = u32::try_from(value.len()).map_err(|_| fs::Error::TooBig)?;
    match room {
        0 => Ok(Answer::XattrBytes(bytes)),
        room if room < bytes => Err(fs::Error::Range),
        _ => Ok(Answer::Data(value.into())),
    }
}
