//! The data directory: where it is by default, making it, the lock on it, and its socket.
//!
//! The socket is reached through `/proc/self/fd/N/`, so that a long path does not hit the 108 bytes
//! that a socket address may have.

use std::env;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use crate::fuse::mountinfo;

const LOCK: &str = "lock";
const SOCKET: &str = "control.sock";
const LOG: &str = "daemon.log";

/// Where the data directory is when nobody says: `/var/lib/firn` for root, else
/// `$XDG_STATE_HOME/firn` or `~/.local/state/firn`.
///
/// # Errors
/// When the environment does not tell.
pub fn default_data_dir() -> Result<PathBuf, Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/firn"));
    }
    let variable = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    Ok(state.ok_or(Error::NoHome)?.join("firn"))
}

/// An existing data directory that is not inside a firn mount.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    fd: OwnedFd,
}

/// The right to be the daemon of a data directory, until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: fs_file::LockFile,
}

impl DataDir {
    /// Opens a directory that must exist.
    ///
    /// # Errors
    /// When it is missing, no directory, or inside a firn mount.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fd =
            match rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            {
                Ok(fd) => fd,
                Err(Errno::NOENT) => return Err(Error::NoDataDir(path.to_owned())),
                Err(errno) => return Err(Error::io("cannot open the data directory", path, errno)),
            };
        let path = fs::canonicalize(path).map_err(|error| Error::io("cannot resolve", path, error))?;
        refuse_inside_mount(&path)?;
        Ok(DataDir { path, fd })
    }

    /// Like [`DataDir::open`], making the directory (mode 0700) when it is missing. Its parent must
    /// exist; `with_parents`, for the default directory, makes those as well.
    ///
    /// # Errors
    /// Those of [`DataDir::open`], and a missing parent.
    pub fn create(path: &Path, with_parents: bool) -> Result<Self, Error> {
        let made = fs::DirBuilder::new().mode(0o700).recursive(with_parents).create(path);
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
                return Err(Error::NoParent { path: path.to_owned(), parent });
            }
            Err(error) => return Err(Error::io("cannot make the data directory", path, error)),
        }
        Self::open(path)
    }

    /// The directory, absolute and without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a daemon that was started in the background logs.
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Becomes the daemon of this directory.
    ///
    /// # Errors
    /// [`Error::Locked`] with the pid of the one that is.
    pub fn lock(&self) -> Result<Lock, Error> {
        let failed = |errno: Errno| Error::io("cannot lock the data directory", &self.path, errno);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, LOCK, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
        let mut file = fs_file::LockFile::from(file);
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Locked { path: self.path.clone(), pid: read_pid(&mut file).unwrap_or(0) });
            }
            Err(errno) => return Err(failed(errno)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written
            .map_err(|error| Error::io("cannot write the pid into the lock file of", &self.path, error))?;
        Ok(Lock { _file: file })
    }

    /// The pid in the lock file: of the daemon, or of the last one.
    pub(super) fn last_pid(&self) -> Option<u32> {
        let file =
            rustix::fs::openat(&self.fd, LOCK, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        read_pid(&mut fs_file::LockFile::from(file))
    }

    /// Connects to the daemon; `None` when none listens.
    ///
    /// # Errors
    /// Whatever else the system says.
    pub(super) fn connect(&self) -> Result<Option<UnixStream>, Error> {
        match UnixStream::connect(self.socket_path()) {
            Ok(stream) => Ok(Some(stream)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::io("cannot reach the daemon of", &self.path, error)),
        }
    }

    /// Begins to listen, in place of a daemon that is gone. The lock shows that it is.
    pub(super) fn listen(&self, _lock: &Lock) -> Result<UnixListener, Error> {
        self.remove_socket();
        let failed = |error: io::Error| Error::io("cannot make the control socket in", &self.path, error);
        let listener = UnixListener::bind(self.socket_path()).map_err(failed)?;
        fs::set_permissions(self.socket_path(), fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(listener)
    }

    /// Ends what [`DataDir::listen`] began.
    pub(super) fn remove_socket(&self) {
        // Without it there is nothing to remove; any other failure shows at the next bind.
        let _ = rustix::fs::unlinkat(&self.fd, SOCKET, AtFlags::empty());
    }

    fn socket_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", self.fd.as_raw_fd()))
    }
}

fn read_pid(file: &mut fs_file::LockFile) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn refuse_inside_mount(path: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(|error| Error::io("cannot examine", path, error))?;
    let device = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    let mounts =
        mountinfo::read().map_err(|error| Error::io("cannot read", "/proc/self/mountinfo", error))?;
    if mounts.iter().any(|mount| mount.is_firn() && mount.device == device) {
        return Err(Error::InsideMount(path.to_owned()));
    }
    Ok(())
}

/// The lock file is the one file that control opens; `Disk` has no locks.
mod fs_file {
    #![expect(clippy::disallowed_types, reason = "a lock file is no data: nothing of it is simulated")]
    pub(super) type LockFile = std::fs::File;
}
