//! The table of what is mounted where.
//!
//! An entry is there from before the kernel knows of a mount until its last change is durable. While
//! there is one, the volume counts as mounted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use firnfs::control::protocol::{MountInfo, UnmountTarget};
use firnfs::control::{Error, Source};
use firnfs::fs::Fs;
use firnfs::fuse::Mount;
use parking_lot::{Condvar, Mutex};

/// A mount's place in the table; never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MountId(u64);

/// A mount that is being served.
pub(super) struct ActiveMount {
    pub(super) id: MountId,
    pub(super) info: MountInfo,
    /// There once the kernel has mounted it.
    pub(super) mount: OnceLock<Mount>,
    /// Taken when the mount ends, so that the volume is let go of.
    fs: Mutex<Option<Arc<Fs>>>,
}

impl ActiveMount {
    /// The filesystem, while the mount has not ended.
    pub(super) fn fs(&self) -> Option<Arc<Fs>> {
        self.fs.lock().clone()
    }
}

/// All mounts of the daemon.
#[derive(Default)]
pub(super) struct Mounts {
    table: Mutex<Table>,
    /// Signalled when an entry goes.
    ended: Condvar,
}

#[derive(Default)]
struct Table {
    entries: Vec<Arc<ActiveMount>>,
    next_id: u64,
    /// No new ones: the daemon ends.
    closed: bool,
}

impl Mounts {
    /// Makes an entry for a mount that is about to be made.
    ///
    /// # Errors
    /// When the daemon ends, or the directory is just being mounted by another.
    pub(super) fn reserve(&self, info: MountInfo, fs: Arc<Fs>) -> Result<Arc<ActiveMount>, Error> {
        let mut table = self.table.lock();
        if table.closed {
            return Err(Error::Refused("the daemon is shutting down; try again in a moment".to_owned()));
        }
        let taken =
            |entry: &&Arc<ActiveMount>| entry.info.directory == info.directory && entry.mount.get().is_none();
        if let Some(other) = table.entries.iter().find(taken) {
            return Err(Error::Refused(format!(
                "{} is just being mounted on {}; choose another directory",
                other.info.source,
                info.directory.display()
            )));
        }
        let id = MountId(table.next_id);
        table.next_id += 1;
        let entry = Arc::new(ActiveMount { id, info, mount: OnceLock::new(), fs: Mutex::new(Some(fs)) });
        table.entries.push(Arc::clone(&entry));
        Ok(entry)
    }

    /// The entry's mount is no more: lets go of the volume, then of the entry.
    pub(super) fn remove(&self, entry: &ActiveMount) {
        *entry.fs.lock() = None;
        self.table.lock().entries.retain(|other| other.id != entry.id);
        self.ended.notify_all();
    }

    /// All, in the order in which they were made.
    pub(super) fn all(&self) -> Vec<Arc<ActiveMount>> {
        self.table.lock().entries.clone()
    }

    /// Refuses new ones from now on, and returns those that there are.
    pub(super) fn close(&self) -> Vec<Arc<ActiveMount>> {
        let mut table = self.table.lock();
        table.closed = true;
        table.entries.clone()
    }

    /// Those that an operator means; none when it is not mounted.
    pub(super) fn find(&self, target: &UnmountTarget) -> Vec<Arc<ActiveMount>> {
        let all = self.all();
        let by = |matches: &dyn Fn(&MountInfo) -> bool| -> Vec<_> {
            all.iter().filter(|entry| matches(&entry.info)).cloned().collect()
        };
        let named = by(&|info| Some(&info.source) == target.source.as_ref());
        if named.is_empty() { by(&|info| Some(&info.directory) == target.directory.as_ref()) } else { named }
    }

    /// What of a volume is mounted.
    pub(super) fn of(&self, source: &Source) -> Vec<Arc<ActiveMount>> {
        self.all().into_iter().filter(|entry| entry.info.source == *source).collect()
    }

    /// Waits until an entry is gone; returns whether it is.
    pub(super) fn await_end(&self, gone: impl Fn(&MountInfo) -> bool, wait: Duration) -> bool {
        let mut table = self.table.lock();
        let there = |table: &mut Table| table.entries.iter().any(|entry| gone(&entry.info));
        !self.ended.wait_while_for(&mut table, there, wait).timed_out()
    }

    /// Whether nothing is mounted at a directory; waits for it at most `wait`.
    pub(super) fn await_free(&self, directory: &Path, wait: Duration) -> bool {
        let directory = PathBuf::from(directory);
        self.await_end(|info| info.directory == directory, wait)
    }
}
