//! One mount: made, served, waited for, ended.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{io, thread};

use fuser::{Config, Session, SessionACL};
use parking_lot::{Condvar, Mutex};

use super::dispatch::Dispatcher;
use super::kernel::Kernel;
use super::{Error, mountinfo, pool, system};
use crate::base::limits::{PAGE_BYTES, REQUEST_BYTES_MAX};
use crate::fs::Fs;

/// Threads that read requests: one of them may be writing the log for all, so never only one.
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 4;

/// What one busy mount takes at most, in bytes: for each thread a request being received and an answer
/// to a read, and the requests that wait. An idle one has touched next to nothing of it.
pub const MEMORY_BYTES_PER_MOUNT: usize =
    THREADS_MAX * 2 * (REQUEST_BYTES_MAX + PAGE_BYTES) + pool::HELD_BYTES_MAX;

/// Told the name of every request as it arrives, such as `LOOKUP`; must not block.
pub type Observer = Arc<dyn Fn(&'static str) + Send + Sync>;

/// What to mount where.
#[derive(Clone)]
pub struct MountSpec {
    /// What `mount` and `df` show: `VOL` or `VOL@SNAP`.
    pub source: String,
    pub target: PathBuf,
    pub read_only: bool,
    pub flags: MountFlags,
    pub observer: Option<Observer>,
}

/// Restrictions of a mount, and who may enter it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MountFlags {
    /// Set-id bits have no effect. Without root always so.
    pub nosuid: bool,
    /// Device files cannot be opened. Without root always so.
    pub nodev: bool,
    pub noexec: bool,
    /// Others than the mounting user may enter. A mount by root always allows it.
    pub allow_other: bool,
}

/// Why a mount ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// It was unmounted, and the last open file is closed.
    Unmounted,
    /// Its connection was cut: callers got errors, and the dead mount is still in place.
    Aborted,
    /// The session failed; the dead mount is still in place.
    Failed(String),
}

/// A mount that is being served. Dropping it changes nothing: the mount lives on until it is
/// unmounted or aborted.
#[derive(Debug)]
pub struct Mount {
    source: String,
    target: PathBuf,
    /// Major and minor number of the mounted filesystem, by which it is told from others there.
    device: (u32, u32),
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    progress: Mutex<Progress>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    aborted: bool,
    end: Option<End>,
}

/// Mounts `fs` and serves it on threads of its own. `on_end` is called once, on one of those threads,
/// when no request will reach `fs` any more.
///
/// # Errors
/// The mount point is missing, no directory or in use; `/dev/fuse` is missing; the kernel refuses.
pub fn mount(
    fs: Arc<Fs>,
    spec: MountSpec,
    on_end: impl FnOnce(End) + Send + 'static,
) -> Result<Mount, Error> {
    let target = free_mount_point(&spec.target)?;
    let connection = system::mount(&spec, &target)?;
    match serve(fs, &spec, &target, connection, on_end) {
        Ok(mount) => Ok(mount),
        Err(error) => {
            if let Err(error) = system::unmount(&target, true) {
                tracing::warn!(%error, "a mount that failed stays in place");
            }
            Err(Error::Mount { volume: spec.source, target, detail: error.to_string() })
        }
    }
}

/// The directory to mount on, resolved. A dead mount of ours that covers it is taken away.
fn free_mount_point(target: &Path) -> Result<PathBuf, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::MountPointMissing(target.to_owned()),
        io::ErrorKind::NotADirectory => Error::NotDirectory(target.to_owned()),
        _ => Error::MountPoint { target: target.to_owned(), source },
    };
    let resolved = target.canonicalize().map_err(failed)?;
    if let Some(volume) = detach_dead(&resolved)? {
        tracing::info!(target = %resolved.display(), volume, "took away a dead mount");
    }
    let mounts = mountinfo::read().map_err(failed)?;
    if let Some(top) = mountinfo::top_at(&mounts, &resolved) {
        return Err(Error::InUse { target: resolved, holder: holder(top) });
    }
    if !resolved.metadata().map_err(failed)?.is_dir() {
        return Err(Error::NotDirectory(resolved));
    }
    Ok(resolved)
}

/// Gives a mount of ours other flags. What the daemon does is not changed by it.
///
/// # Errors
/// No firn mount is there, or the kernel refuses.
pub fn remount(target: &Path, read_only: bool, flags: MountFlags) -> Result<(), Error> {
    let failed = |detail: String| Error::Remount { target: target.to_owned(), detail };
    let mounts = mountinfo::read().map_err(|error| failed(error.to_string()))?;
    match mountinfo::top_at(&mounts, target) {
        Some(top) if top.is_firn() => {
            system::remount(target, read_only, flags).map_err(|error| failed(error.to_string()))
        }
        _ => Err(failed("no firn volume is mounted there; `firn status` shows what is".into())),
    }
}

/// Takes away the dead firn mounts on top at a directory. Returns what the last one had mounted, or
/// `None` when there was none.
///
/// # Errors
/// When the kernel refuses.
pub fn detach_dead(target: &Path) -> Result<Option<String>, Error> {
    let mut detached = None;
    loop {
        let failed =
            |error: io::Error| Error::Unmount { target: target.to_owned(), detail: error.to_string() };
        let mounts = mountinfo::read().map_err(failed)?;
        match mountinfo::top_at(&mounts, target) {
            Some(top) if top.is_firn() && system::is_dead(target) => {
                system::unmount(target, true)?;
                detached = Some(top.source.clone());
            }
            _ => return Ok(detached),
        }
    }
}

fn holder(mount: &mountinfo::MountEntry) -> String {
    if mount.is_firn() {
        format!("firn volume {}", mount.source)
    } else {
        format!("{} ({})", mount.source, mount.fs_type)
    }
}

fn serve(
    fs: Arc<Fs>,
    spec: &MountSpec,
    target: &Path,
    connection: std::os::fd::OwnedFd,
    on_end: impl FnOnce(End) + Send + 'static,
) -> io::Result<Mount> {
    let mounts = mountinfo::read()?;
    let entry = mountinfo::top_at(&mounts, target).filter(|entry| entry.is_firn());
    let device = entry.ok_or_else(|| io::Error::other("it does not show in /proc/self/mountinfo"))?.device;

    let dispatcher = Arc::new(Dispatcher::new(fs, spec.observer.clone()));
    let mut config = Config::default();
    config.n_threads = Some(threads());
    config.clone_fd = system::may_open_device();
    // Who may enter is the kernel's to check.
    let session =
        Session::from_fd(Kernel::new(Arc::clone(&dispatcher)), connection, SessionACL::All, config)?;
    system::widen_readahead(device);

    let state = Arc::new(State::default());
    let mount =
        Mount { source: spec.source.clone(), target: target.to_owned(), device, state: Arc::clone(&state) };
    let covered = target.to_owned();
    thread::Builder::new().name("firn-fuse".to_owned()).spawn(move || {
        let end = run(session, &state, &covered, device);
        dispatcher.finish();
        // Whoever hears of the end may be the last to hold the filesystem.
        drop(dispatcher);
        if catch_unwind(AssertUnwindSafe(|| on_end(end.clone()))).is_err() {
            tracing::error!(target = %covered.display(), "what follows the end of a mount panicked");
        }
        state.progress.lock().end = Some(end);
        state.ended.notify_all();
    })?;
    Ok(mount)
}

/// Serves until the end, which a panic is too.
fn run(session: Session<Kernel>, state: &State, target: &Path, device: (u32, u32)) -> End {
    let result = catch_unwind(AssertUnwindSafe(|| session.run()))
        .unwrap_or_else(|_| Err(io::Error::other("the session panicked")));
    let end = how_it_ended(result, state.progress.lock().aborted);
    if matches!(end, End::Failed(_)) {
        // One thread failed: the others must not go on.
        cut(target, device).unwrap_or_else(|error| tracing::warn!(%error, "a failed mount goes on"));
    }
    end
}

fn threads() -> usize {
    thread::available_parallelism().map_or(THREADS_MIN, NonZero::get).clamp(THREADS_MIN, THREADS_MAX)
}

fn how_it_ended(result: io::Result<()>, aborted: bool) -> End {
    match result {
        _ if aborted => End::Aborted,
        Ok(()) => End::Unmounted,
        Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => End::Aborted,
        Err(error) => End::Failed(error.to_string()),
    }
}

/// Cuts the connection of the mount with this device number, which was mounted at `target`.
fn cut(target: &Path, device: (u32, u32)) -> io::Result<()> {
    let mounts = mountinfo::read()?;
    let on_top = mountinfo::top_at(&mounts, target).is_some_and(|top| is_ours(device, top));
    system::abort(target, device, on_top)
}

fn is_ours(device: (u32, u32), mount: &mountinfo::MountEntry) -> bool {
    mount.device == device && mount.is_firn()
}

impl Mount {
    /// The mount point, absolute and without symbolic links.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// What is mounted, as given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Unmounts. Orderly: refused while a file is open there. Lazily: the mount vanishes at once and
    /// is served until its last file is closed. No error when it is gone already. `on_end` is called
    /// later; see [`Mount::wait`].
    ///
    /// # Errors
    /// [`Error::Busy`]; what covers it, or the kernel's refusal.
    pub fn unmount(&self, lazy: bool) -> Result<(), Error> {
        let failed = |detail: String| Error::Unmount { target: self.target.clone(), detail };
        let ended = self.ended();
        if ended == Some(End::Unmounted) {
            return Ok(());
        }
        let mounts = mountinfo::read().map_err(|error| failed(error.to_string()))?;
        match mountinfo::top_at(&mounts, &self.target) {
            // Once ours has ended, its number may belong to another mount, but not to another dead one.
            Some(top) if is_ours(self.device, top) && (ended.is_none() || system::is_dead(&self.target)) => {
                system::unmount(&self.target, lazy)
            }
            Some(top) if ended.is_none() && mounts.iter().any(|mount| is_ours(self.device, mount)) => {
                Err(failed(format!("{} is mounted over it; unmount that first", holder(top))))
            }
            _ => Ok(()),
        }
    }

    /// Cuts the connection: everything that waits there gets an error. The dead mount stays in place,
    /// so that writers see errors and not the bare directory, until [`Mount::unmount`].
    ///
    /// # Errors
    /// When the kernel offers no way to.
    pub fn abort(&self) -> Result<(), Error> {
        let mut progress = self.state.progress.lock();
        if progress.end.is_some() {
            return Ok(());
        }
        progress.aborted = true;
        drop(progress);
        cut(&self.target, self.device).map_err(|source| {
            self.state.progress.lock().aborted = false;
            Error::Abort { target: self.target.clone(), source }
        })
    }

    /// Waits until the mount has ended, after `on_end`.
    pub fn wait(&self) -> End {
        let mut progress = self.state.progress.lock();
        loop {
            if let Some(end) = &progress.end {
                return end.clone();
            }
            self.state.ended.wait(&mut progress);
        }
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<End> {
        self.state.progress.lock().end.clone()
    }
}
