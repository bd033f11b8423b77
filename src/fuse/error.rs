//! What can go wrong around a mount, and what to do about it.

use std::io;
use std::path::PathBuf;

/// An error of mounting or unmounting. Each is the operator's to solve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("mount point {} does not exist; create it with `mkdir {}`", .0.display(), .0.display())]
    MountPointMissing(PathBuf),
    #[error("mount point {} is not a directory; choose an existing directory", .0.display())]
    NotDirectory(PathBuf),
    #[error("mount point {}: {source}", target.display())]
    MountPoint { target: PathBuf, source: io::Error },
    /// Something is mounted there already; ours are named by their volume.
    #[error(
        "mount point {} is in use: {holder} is mounted there; unmount that first or choose another directory",
        target.display()
    )]
    InUse { target: PathBuf, holder: String },
    #[error("mounting needs /dev/fuse: {0}; load it with `modprobe fuse`, or give the container that device")]
    NoDevice(io::Error),
    #[error("mounting without root needs fusermount3: {0}; install the package fuse3 or mount as root")]
    NoHelper(io::Error),
    #[error("cannot mount {volume} on {}: {detail}", target.display())]
    Mount { volume: String, target: PathBuf, detail: String },
    #[error(
        "{} is busy: a process has a file or its working directory there; end it (`fuser -vm {}` shows it) or \
         unmount lazily",
        .0.display(), .0.display()
    )]
    Busy(PathBuf),
    #[error("cannot unmount {}: {detail}", target.display())]
    Unmount { target: PathBuf, detail: String },
    #[error("cannot remount {}: {detail}", target.display())]
    Remount { target: PathBuf, detail: String },
    #[error("cannot abort the connection of {}: {source}", target.display())]
    Abort { target: PathBuf, source: io::Error },
}
