//! A volume much larger than the memory budget, rewritten at random several times over.

use crate::pages::Pages;
use crate::support::chance::Chance;
use crate::support::daemon::Daemon;
use crate::support::process::run;
use crate::usage::{MIB, occupied, resident, resident_max};
use crate::volume_mib;

const BUDGET_MIB: u64 = 64;
/// How often each page is rewritten on average.
const TIMES: u64 = 5;
/// Writes between two looks at the disk: 16 MiB.
const LOOK: u64 = 4096;

#[test]
fn memory_and_disk_stay_within_bounds_while_a_volume_is_rewritten() {
    let mut chance = Chance::announced("rewrites");
    let mut daemon = Daemon::with_memory("rewrites", BUDGET_MIB);
    let mount = daemon.volume("large");
    let live = volume_mib() * MIB;
    let mut pages = Pages::fill(&mount, volume_mib());
    let mut disk_max = 0;
    for write in 1..=pages.count() * TIMES {
        pages.rewrite(&mut chance);
        if write % LOOK == 0 {
            pages.sync();
            disk_max = disk_max.max(occupied(daemon.data_dir()));
            assert!(
                disk_max <= live + live / 2 + 256 * MIB,
                "{} MiB of disk for {} MiB of data after {write} writes",
                disk_max / MIB,
                live / MIB
            );
        }
    }
    // Reads must not be answered by the kernel from what was just written.
    drop_caches();
    pages.verify("after the rewrites");
    let memory_max = resident_max(daemon.pid());
    eprintln!(
        "rewrites: {} MiB rewritten {TIMES} times: memory at most {} MiB, disk at most {} MiB",
        live / MIB,
        memory_max / MIB,
        disk_max / MIB
    );
    assert!(
        memory_max <= (BUDGET_MIB + 64) * MIB,
        "{} MiB resident with a budget of {BUDGET_MIB} MiB",
        memory_max / MIB
    );

    pages.sync();
    daemon.crash(&[&mount]);
    pages.reopen(&mount);
    pages.verify("after a crash");
    let memory_max = resident_max(daemon.pid());
    assert!(
        memory_max <= (BUDGET_MIB + 64) * MIB,
        "{} MiB resident after recovery with a budget of {BUDGET_MIB} MiB",
        memory_max / MIB
    );
}

#[test]
fn an_idle_daemon_with_an_empty_volume_needs_little_memory() {
    let daemon = Daemon::new("idle");
    let _mount = daemon.volume("empty");
    let memory = resident(daemon.pid());
    eprintln!("idle: {} KiB resident", memory / 1024);
    assert!(memory <= 25_000_000, "{memory} bytes resident");
}

fn drop_caches() {
    run("sh", ["-c", "sync; echo 3 > /proc/sys/vm/drop_caches"]);
}
