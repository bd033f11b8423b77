//! What an operator asks of an engine, and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::Name;

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

impl Default for Config {
    fn default() -> Self {
        Config {
            memory_bytes: 256 << 20,
            heap_file_bytes: 64 << 20,
            flush_interval: Duration::from_secs(5),
            disk_bytes: None,
        }
    }
}

/// A volume's head or one of its snapshots.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Source {
    pub volume: Name,
    pub snapshot: Option<Name>,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.snapshot {
            Some(snapshot) => write!(f, "{}@{snapshot}", self.volume),
            None => write!(f, "{}", self.volume),
        }
    }
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
    /// What the log was measured to take, in bytes a second.
    pub log_bandwidth_bytes: u64,
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
