//! fsx 0.3.2: random operations on one file, each read compared with what must be there. `FIRN_FSX_OPS` says
//! how many per seed.

use std::process::{Command, Stdio};

use crate::support::chance::Chance;
use crate::support::daemon::{Daemon, Mount};
use crate::support::knob;
use crate::support::process::finish;
use crate::{fixture, tool};

/// Seeds that have found something once, here or elsewhere, and a few more.
const SEEDS: [u64; 4] = [1, 7, 42, 1_000_003];

#[test]
fn fsx_reads_what_it_wrote() {
    let mut chance = Chance::announced("fsx");
    let daemon = Daemon::new("fsx");
    let mount = daemon.volume("fsx");
    let operations = knob("FIRN_FSX_OPS", 5_000);
    for seed in SEEDS.into_iter().chain([chance.below(u64::from(u32::MAX))]) {
        exercise(&daemon, &mount, seed, operations);
    }
}

#[test]
fn fsx_reads_what_it_wrote_when_memory_is_short() {
    let daemon = Daemon::with_memory("fsx-short", 32);
    let mount = daemon.volume("fsx");
    exercise(&daemon, &mount, 99, knob("FIRN_FSX_OPS", 5_000));
}

fn exercise(daemon: &Daemon, mount: &Mount, seed: u64, operations: u64) {
    let file = mount.path(&format!("seed-{seed}"));
    let mut fsx = Command::new(tool("fsx"));
    fsx.arg("-f").arg(fixture("fsx.toml")).args(["-S", &seed.to_string(), "-N", &operations.to_string()]);
    fsx.arg("-P").arg(daemon.scratch().path()).arg(file).stdin(Stdio::null());
    finish(&mut fsx).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    eprintln!("fsx: seed {seed}: {operations} operations");
}
