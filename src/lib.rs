//! firnfs: a tiered filesystem. RAM → heap files on the local disk → object store.
//!
//! The layers, from the top: `cli` and `control` (what an operator sees), `fuse` (the kernel's
//! requests), `fs` (POSIX meaning), `volume` (layers of pages, cut, freeze, fork), `hot` (page frames
//! in RAM), `cold` (log, heap files, manifest), and beside them `io`, `format` and `base`, which
//! everyone may use. Calls go down this list, never up; `tests/architecture.rs` enforces it.

pub mod base;
pub mod cli;
pub mod cold;
pub mod control;
pub mod format;
pub mod fs;
pub mod fuse;
pub mod hot;
pub mod io;
pub mod volume;
