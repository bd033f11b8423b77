//! Pages on the local disk: heap files written in batches, refcounts, manifest, recovery, reclaim.
//!
//! Owns the files of the data directory and what is in them. Knows layers only as numbers: which page
//! of which layer is where is the index of `volume::layer`, built of [`Slots`]; this layer says where a
//! page was put and reads it back.
//!
//! Invariants:
//! - a heap file is appended to, sealed, and reclaimed whole; it is never truncated or punched;
//! - a file is reclaimed only with no live page or range in it, and only after a manifest that does
//!   not name it is durable;
//! - a file that failed a write or a sync takes no further batch.

mod error;
mod file;
mod heap;
mod manifest;
mod recover;
mod scan;
mod slots;
mod space_guard;
mod spaces;
mod stream;

pub use error::Error;
pub use file::{HeapFile, Pinned};
pub use heap::{Heap, HeapConfig, HeapStats};
pub use manifest::ManifestStore;
pub use recover::{Recovered, RecoveredEntry, RecoveredRange};
pub use slots::{SlotAddr, Slots};
pub use stream::{Group, GroupPage, Receipt};
