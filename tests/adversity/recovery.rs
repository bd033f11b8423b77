//! Starts after crashes that random courses hardly ever meet.

use super::*;

/// A crash in the first moments of a data directory leaves one that opens.
#[test]
fn a_crash_while_the_very_first_heap_file_is_made_leaves_a_directory_that_opens() {
    for call in 1..12 {
        let disk = SimDisk::new(call);
        disk.crash_at(call);
        if let Ok(engine) = open_with(&disk, config()) {
            maintain(&engine);
        }
        disk.kill();
        let disk = disk.reboot();
        let engine = open(&disk);
        sync(&*create(&engine, "v")).expect("a healthy disk syncs");
    }
}

/// LSNs go on above every one that was ever promised, so that no torn group is taken for a durable one.
#[test]
fn a_torn_group_is_never_believed_because_a_former_file_said_that_its_lsn_was_durable() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let engine = open(&disk);
        let pages = create(&engine, "v");
        fill(&*pages, 1, 0, 8, 1).expect("it is taken");
        sync(&*pages).expect("a healthy disk syncs");
        maintain(&engine);
        // Two files end, and the second one before anything in it counts.
        fill(&*pages, 2, 0, 8, 2).expect("it is taken");
        disk.fail(Fault::on(Call::SyncData, libc::EIO).name("heap-").times(2));
        sync(&*pages).expect_err("no file can be synced");
        drop((pages, engine));
        disk.kill();
        let disk = disk.reboot();
        let engine = open(&disk);
        let pages = mount(&engine, "v");
        fill(&*pages, 1, 0, 8, 3).expect("it is taken");
        // Written, and the power goes during the sync.
        disk.crash_at(2);
        sync(&*pages).expect_err("the disk stops");
        drop((pages, engine));
        disk.power_cut(seed);
        let engine = open(&disk.reboot());
        let pages = mount(&engine, "v");
        let first = byte(&*pages, 1, 0).expect("it is readable");
        for page in 1..8 {
            assert_eq!(byte(&*pages, 1, page).expect("it is readable"), first, "seed {seed}, page {page}");
        }
    }
}

/// A manifest that could not be made durable is put right before anything is acknowledged.
#[test]
fn a_rollback_that_failed_does_not_happen_after_later_syncs() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let engine = open(&disk);
        let pages = create(&engine, "v");
        fill(&*pages, 1, 0, 1, 1).expect("it is taken");
        engine.snapshot(&name("v"), &name("s")).expect("a snapshot is taken");
        drop(pages);
        disk.fail(Fault::on(Call::SyncDir, libc::EIO));
        engine.rollback(&name("v"), &name("s")).expect_err("the manifest is not durable");
        let pages = mount(&engine, "v");
        fill(&*pages, 1, 0, 1, 2).expect("it is taken");
        sync(&*pages).expect("a healthy disk syncs");
        drop((pages, engine));
        disk.power_cut(seed);
        let engine = open(&disk.reboot());
        assert_eq!(byte(&*mount(&engine, "v"), 1, 0).expect("it is readable"), 2, "seed {seed}");
    }
}

/// As above: a file that such a manifest may name keeps its name until it is put right.
#[test]
fn a_heap_file_that_a_doubtful_manifest_names_is_not_renamed() {
    for call in 1..40 {
        let disk = SimDisk::new(call);
        let engine = open(&disk);
        let pages = create(&engine, "v");
        fill(&*pages, 1, 0, 1, 1).expect("it is taken");
        sync(&*pages).expect("a healthy disk syncs");
        disk.fail(Fault::on(Call::SyncDir, libc::EIO).after(1));
        disk.crash_at(call);
        maintain(&engine);
        drop((pages, engine));
        disk.kill();
        let engine = open(&disk.reboot());
        assert_eq!(byte(&*mount(&engine, "v"), 1, 0).expect("it is readable"), 1, "call {call}");
    }
}

/// What a daemon that could not say so left behind counts only once it is on the disk for sure.
#[test]
fn a_group_whose_sync_failed_unrecorded_is_whole_or_absent_for_good() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let engine = open(&disk);
        let pages = create(&engine, "v");
        fill(&*pages, 1, 0, 4, 1).expect("it is taken");
        sync(&*pages).expect("a healthy disk syncs");
        fill(&*pages, 1, 0, 4, 2).expect("it is taken");
        disk.fail(Fault::on(Call::SyncData, libc::EIO).forever());
        sync(&*pages).expect_err("nothing can be synced");
        drop((pages, engine));
        disk.kill();
        let disk = disk.reboot();
        let engine = open(&disk);
        let pages = mount(&engine, "v");
        let found = byte(&*pages, 1, 0).expect("it is readable");
        fill(&*pages, 2, 0, 1, 3).expect("it is taken");
        sync(&*pages).expect("a healthy disk syncs");
        drop((pages, engine));
        disk.power_cut(seed);
        let engine = open(&disk.reboot());
        let pages = mount(&engine, "v");
        for page in 0..4 {
            assert_eq!(byte(&*pages, 1, page).expect("it is readable"), found, "seed {seed}, page {page}");
        }
        assert_eq!(byte(&*pages, 2, 0).expect("it is readable"), 3);
    }
}
