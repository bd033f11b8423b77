//! Databases on a volume whose daemon is killed under them: what they acknowledged is there afterwards.
//!
//! Several clients insert numbered rows, and this process, which is not on the volume, notes each commit
//! as it is acknowledged. At a random moment (`FIRN_SEED`) the daemon gets SIGKILL; the volume is mounted
//! again, the database recovers, and its rows are compared with the notes. `FIRN_KILLS` says how often.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test drives real processes on a real mount"
)]

#[expect(dead_code, reason = "each test program uses its own part")]
#[path = "../support/mod.rs"]
mod support;

mod ledger;
mod postgres;
mod sqlite;
