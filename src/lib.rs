//! firnfs: a tiered filesystem. RAM → heap files on the local disk → object store.
//!
//! The layers, from the top: `cli` and `control` (what an operator sees), `fuse` (the kernel's
//! requests), `fs` (POSIX meaning), `volume` (layers of pages, cut, freeze, fork), `hot` (page frames
//! in RAM), `cold` (log, heap files, manifest), and beside them `io`, `format` and `base`, which
//! everyone may use. Calls go down this list, never up; `tests/architecture.rs` enforces it.

// Tests of single modules share the supports of `tests/`, which name the crate from outside.
#[cfg(test)]
extern crate self as firnfs;

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

#[cfg(test)]
#[expect(dead_code, reason = "integration tests use the rest of it")]
#[path = "../tests/support/mem_pages.rs"]
mod mem_pages;
