//! Memory, disk and forks on a mounted volume: what the daemon may use, whatever is done to it.
//! `FIRN_LIMITS_MIB` says how large the volumes are.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test drives real processes on a real mount"
)]

#[expect(dead_code, reason = "each test program uses its own part")]
#[path = "../support/mod.rs"]
mod support;

mod forks;
mod pages;
mod rewrites;
mod usage;

/// How large the volumes of these tests are, in MiB.
fn volume_mib() -> u64 {
    support::knob("FIRN_LIMITS_MIB", 256)
}
