//! Full disks and exhausted descriptors: errors, no losses, and recovery without help.

use firnfs::base::{PageNo, Space};
use firnfs::io::sim::{Call, Fault, SimDisk};
use firnfs::volume::{Error, Operation, Pages};

use crate::rig::{Rig, head, name, small_files};

fn is_no_space(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. })
}

/// Writes distinct pages, each operation synced, until something says that the disk is full.
fn fill(rig: &Rig) -> u64 {
    for page in 0..100_000 {
        let outcome = rig.put_many(page * 8, 8, 5).and_then(|()| rig.sync());
        if let Err(error) = outcome {
            assert!(is_no_space(&error), "{error}");
            return page * 8;
        }
        rig.maintain(1);
    }
    panic!("the disk never fills");
}

fn full_disk() -> (Rig, u64) {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(8 << 20));
    let rig = Rig::on(disk, small_files());
    rig.maintain(10);
    let pages = fill(&rig);
    (rig, pages)
}

#[test]
fn a_full_disk_loses_nothing_acknowledged() {
    let (rig, pages) = full_disk();
    let rig = rig.power_cut(3);
    assert!((0..pages).all(|page| rig.get(page).unwrap() == 5));
    rig.check();
}

#[test]
fn a_full_disk_can_be_emptied_by_removals() {
    let (rig, pages) = full_disk();
    rig.remove(0, pages).expect("removal has the reserve");
    rig.sync().expect("it is logged");
    rig.maintain(100);
    rig.put_many(0, 64, 6).expect("there is room again");
    rig.sync().expect("there is room again");
    rig.check();
}

#[test]
fn a_full_disk_can_be_emptied_piece_by_piece() {
    let (rig, pages) = full_disk();
    for page in 0..pages {
        rig.remove(page, page + 1).expect("removal has the reserve");
        rig.sync().expect("it is logged");
        rig.maintain(2);
    }
    rig.put_many(0, 64, 6).expect("there is room again");
    rig.sync().expect("there is room again");
    rig.check();
}

#[test]
fn a_full_disk_can_be_emptied_by_removing_a_volume() {
    let (rig, _) = full_disk();
    let Rig { disk, clock, config, engine, volume } = rig;
    drop(volume);
    engine.remove(&head("v")).expect("a removal needs next to nothing");
    for _ in 0..100 {
        engine.maintain_step(std::time::Duration::ZERO);
    }
    engine.create(&name("w"), &firnfs::volume::CreateOptions::default()).unwrap();
    let volume = engine.mount(&head("w"), false).unwrap();
    let rig = Rig { disk, clock, config, engine, volume };
    rig.put_many(0, 64, 6).expect("there is room again");
    rig.sync().expect("there is room again");
}

#[test]
fn writing_goes_on_by_itself_when_the_disk_grows() {
    let (rig, pages) = full_disk();
    rig.disk.set_capacity(Some(64 << 20));
    rig.put_many(pages, 64, 6).expect("there is room");
    rig.sync().expect("there is room");
    rig.check();
}

#[test]
fn a_full_disk_reports_no_free_bytes_and_an_empty_one_some() {
    let (rig, pages) = full_disk();
    let full = rig.volume.capacity().free_bytes;
    rig.remove(0, pages).unwrap();
    rig.sync().unwrap();
    rig.maintain(100);
    let empty = rig.volume.capacity().free_bytes;
    assert!(full < 2 << 20 && empty > full, "{full} {empty}");
}

/// Without descriptors, without room, or with calls that fail now and then: it passes.
fn passes(fault: impl Fn(&SimDisk), mend: impl Fn(&SimDisk)) {
    let rig = Rig::new(small_files());
    rig.put_many(0, 30, 1).unwrap();
    rig.sync().unwrap();
    fault(&rig.disk);
    let mut acknowledged = 0;
    for round in 0..40 {
        let outcome = rig.put_many(100 + round * 30, 30, 2).and_then(|()| rig.sync());
        rig.maintain(2);
        match outcome {
            Ok(()) if acknowledged == round => acknowledged += 1,
            Ok(()) => panic!("round {round} is acknowledged behind one that failed"),
            Err(_) => break,
        }
    }
    assert!(acknowledged < 40, "it is felt");
    mend(&rig.disk);
    rig.put(1, 3).expect("it takes changes again");
    rig.sync().expect("they become durable");
    let rig = rig.power_cut(1);
    assert_eq!(rig.get(1).unwrap(), 3);
    assert!((0..acknowledged * 30).all(|page| rig.get(100 + page).unwrap() == 2));
    rig.check();
}

#[test]
fn a_lack_of_descriptors_passes_when_they_return() {
    passes(|disk| disk.limit_handles(disk.open_handles()), |disk| disk.limit_handles(usize::MAX));
}

#[test]
fn a_lack_of_space_passes_when_it_returns() {
    passes(
        |disk| {
            let used = firnfs::io::Disk::usage(disk).expect("it is well");
            disk.set_capacity(Some(used.total_bytes - used.free_bytes));
        },
        |disk| disk.set_capacity(None),
    );
}

#[test]
fn a_disk_that_cannot_allocate_passes_when_it_can() {
    passes(|disk| disk.fail(Fault::on(Call::Allocate, libc::ENOSPC).forever()), SimDisk::clear_faults);
}

/// A rollback journal is made, written, synced and removed with every transaction.
#[test]
fn files_that_come_and_go_leave_nothing_behind() {
    let rig = Rig::new(small_files());
    let mut used = Vec::new();
    for round in 1..=4000 {
        let space = Space(1000 + round);
        let mut made = Operation::new();
        made.write(space, 0, vec![1; 4096]);
        rig.volume.apply(&made).unwrap();
        rig.sync().unwrap();
        let mut removed = Operation::new();
        removed.remove(space, PageNo(0), PageNo(u64::MAX));
        removed.frees = true;
        rig.volume.apply(&removed).unwrap();
        rig.sync().unwrap();
        rig.maintain(3);
        if round % 1000 == 0 {
            let status = rig.engine.status();
            used.push((status.heap_bytes, status.memory_used_bytes));
        }
    }
    let (disk, memory) = (used[3].0, used[3].1);
    assert!(disk < 4 << 20 && memory < used[0].1 + (64 << 10), "disk and memory, in bytes: {used:?}");
}
