//! Volumes: layers of pages, resolved from new to old; cut, freeze, fork, snapshot, rollback.

mod engine;
mod error;
mod pages;

pub use engine::{
    CheckReport, Config, CreateOptions, Durability, Engine, ForkReport, Mounted, SnapshotInfo, Source,
    Status, VolumeInfo, VolumeStatus,
};
pub use error::Error;
pub use pages::{Capacity, Edit, Hint, Operation, Pages, Synced};
