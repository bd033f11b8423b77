//! One data directory: its volumes, log and background steps.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::base::Name;
use crate::io::{Clock, Disk, Rng};

/// How an engine behaves. `Default` is what production uses.
#[derive(Clone, Debug)]
pub struct Config {
    /// RAM for the whole process, in bytes.
    pub memory_bytes: u64,
    /// Size of a heap file, in bytes.
    pub heap_file_bytes: u64,
    /// The longest that an unsynced change stays out of the log.
    pub flush_interval: Duration,
    /// Local disk that heap files may take, in bytes; `None`: all that is free.
    pub disk_bytes: Option<u64>,
}

/// A volume's head or one of its snapshots.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Source {
    pub volume: Name,
    pub snapshot: Option<Name>,
}

/// What fsync waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The local log.
    #[default]
    Local,
    /// A checkpoint in the store.
    Remote,
}

/// Properties of a new volume.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CreateOptions {
    pub quota_bytes: Option<u64>,
    pub durability: Durability,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotInfo {
    pub name: Name,
    /// Nanoseconds since the epoch.
    pub created: i64,
}

/// A line of `firn ls`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeInfo {
    pub name: Name,
    pub uuid: String,
    /// Nanoseconds since the epoch.
    pub created: i64,
    pub parent: Option<Source>,
    pub quota_bytes: Option<u64>,
    pub durability: Durability,
    pub snapshots: Vec<SnapshotInfo>,
    pub mounted: bool,
}

/// What a fork took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForkReport {
    pub volume: VolumeInfo,
    /// For how long writers of the parent were held back, in nanoseconds.
    pub writers_held_ns: u64,
}

/// Figures of one volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeStatus {
    pub info: VolumeInfo,
    /// Changes that are only in RAM, in bytes.
    pub unlogged_bytes: u64,
    /// Layers that a lookup may have to pass.
    pub layers: u64,
    /// Pages of the volume's own layers on the local disk, in bytes.
    pub local_bytes: u64,
    /// Why it takes no more changes, if it does not.
    pub failed: Option<String>,
}

/// Figures of the data directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub volumes: Vec<VolumeStatus>,
    pub memory_budget_bytes: u64,
    pub memory_used_bytes: u64,
    pub heap_files: u64,
    pub heap_bytes: u64,
    pub live_bytes: u64,
    pub disk_free_bytes: u64,
    pub log_syncs: u64,
    pub log_bytes: u64,
}

/// What `firn check` found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CheckReport {
    pub heap_files: u64,
    pub pages: u64,
    pub bytes: u64,
    /// One line for each damaged thing.
    pub damage: Vec<String>,
}

/// One data directory, open.
pub struct Engine {}

/// A volume opened for a mount. Unmounted when dropped, after a sync by the caller.
pub struct Mounted {}

impl Engine {
    /// Opens a data directory: recovers the log, rebuilds the index, reclaims what nobody names.
    ///
    /// # Errors
    /// A damaged manifest or a newer version; nothing is changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: Config,
    ) -> Result<Arc<Self>, Error> {
        todo!()
    }
    pub fn create(&self, name: &Name, options: &CreateOptions) -> Result<VolumeInfo, Error> {
        todo!()
    }
    /// Opens a volume or snapshot for one mount. A snapshot is read-only always.
    pub fn mount(self: &Arc<Self>, source: &Source, read_only: bool) -> Result<Arc<Mounted>, Error> {
        todo!()
    }
    pub fn fork(&self, source: &Source, new: &Name) -> Result<ForkReport, Error> {
        todo!()
    }
    pub fn snapshot(&self, volume: &Name, snapshot: &Name) -> Result<SnapshotInfo, Error> {
        todo!()
    }
    pub fn rollback(&self, volume: &Name, snapshot: &Name) -> Result<(), Error> {
        todo!()
    }
    pub fn remove(&self, source: &Source) -> Result<(), Error> {
        todo!()
    }
    pub fn list(&self) -> Vec<VolumeInfo> {
        todo!()
    }
    pub fn info(&self, name: &Name) -> Result<VolumeInfo, Error> {
        todo!()
    }
    pub fn status(&self) -> Status {
        todo!()
    }
    /// Reads and verifies everything local; `progress` gets (bytes done, bytes in all).
    pub fn check(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, Error> {
        todo!()
    }

    /// Logs what waits, if anything does; a thread of its own calls it in a loop.
    /// Returns after at most `wait` when there is nothing to do.
    pub fn log_step(&self, wait: Duration) {
        todo!()
    }
    /// Prepares heap files, reclaims, compacts, drops removed layers: one bounded step of whichever is
    /// most urgent. Another thread calls it in a loop. Returns after at most `wait` when idle.
    pub fn maintain_step(&self, wait: Duration) {
        todo!()
    }
    /// Wakes both steps and makes them return at once from now on; everything applied is synced.
    pub fn close(&self) -> Result<(), Error> {
        todo!()
    }
}

impl Mounted {
    pub fn source(&self) -> &Source {
        todo!()
    }
    pub fn info(&self) -> VolumeInfo {
        todo!()
    }
}
