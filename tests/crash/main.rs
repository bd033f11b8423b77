//! Crashes at every I/O call, and faults of the disk: after each start a volume is what it was at one
//! instant, not before its last acknowledged sync, and forks and snapshots are whole.
//!
//! `FIRN_SEED=n` replays one course, `FIRN_SEEDS=n` runs n times as many.

#[path = "../harness/mod.rs"]
mod harness;

mod absorb;
mod anywhere;
mod commit;
mod faults;
mod manifest;
mod order;
mod reclaim;
mod rig;
mod space;
mod tail;
mod threads;
mod way;
