//! One mount: made, waited for, ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use crate::fs::Fs;

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
    pub nosuid: bool,
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
pub struct Mount {}

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
    todo!()
}

impl Mount {
    /// The mount point, absolute and without symbolic links.
    pub fn target(&self) -> &Path {
        todo!()
    }
    /// What is mounted, as given.
    pub fn source(&self) -> &str {
        todo!()
    }
    /// Unmounts. Orderly: refused while a file is open there. Lazily: the mount vanishes at once and
    /// is served until its last file is closed. No error when it has ended already. Returns before
    /// `on_end` is called; see [`Mount::wait`].
    ///
    /// # Errors
    /// [`Error::Busy`]; the kernel's refusal otherwise.
    pub fn unmount(&self, lazy: bool) -> Result<(), Error> {
        todo!()
    }
    /// Cuts the connection: everything that waits there gets an error. The dead mount stays in place,
    /// so that writers see errors and not the bare directory, until [`Mount::unmount`].
    ///
    /// # Errors
    /// When the kernel offers no way to.
    pub fn abort(&self) -> Result<(), Error> {
        todo!()
    }
    /// Waits until the mount has ended, after `on_end`.
    pub fn wait(&self) -> End {
        todo!()
    }
    /// How it ended, if it did.
    pub fn ended(&self) -> Option<End> {
        todo!()
    }
}
