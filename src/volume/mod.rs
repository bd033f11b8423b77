//! Volumes: layers of pages, resolved from new to old; cut, freeze, fork, snapshot, rollback.
//!
//! Owns what a volume is, and the engine of one data directory. Knows nothing of files. Spawns no
//! thread: syncs run on their caller's, background work is steps that a caller drives.

mod absorb;
mod admin;
mod apply;
mod check;
mod committer;
mod compact;
mod engine;
mod error;
mod head;
mod layer;
mod mounted;
mod open;
mod pages;
mod stack;
mod types;

pub use engine::Engine;
pub use error::Error;
pub use mounted::Mounted;
pub use pages::{Capacity, Edit, Hint, Operation, Pages, Synced};
pub use types::{
    CheckReport, Config, CreateOptions, Durability, ForkReport, SnapshotInfo, Source, Status, VolumeInfo,
    VolumeStatus,
};
