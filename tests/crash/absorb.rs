//! What a freeze left behind for a snapshot, fork or read-only mount that is gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use firnfs::base::PageNo;
use firnfs::io::sim::{Call, Fault};
use firnfs::volume::{Hint, Operation, Pages};

use crate::rig::{Rig, SPACE, head, name, small_files, snapshot, waiter};

const PAGES: usize = 96;

fn filled() -> Rig {
    let rig = Rig::new(small_files());
    rig.put_many(0, PAGES, 1).unwrap();
    rig.sync().unwrap();
    rig
}

fn layers(rig: &Rig) -> u64 {
    rig.engine.status().volumes.iter().find(|volume| volume.info.name == name("v")).unwrap().layers
}

fn live_pages(rig: &Rig) -> u64 {
    rig.engine.status().live_bytes / 4096
}

/// Leaves a frozen layer behind that nobody but the head needs: three ways.
fn leave_a_frozen_layer(rig: &Rig, way: u64) {
    match way {
        0 => {
            rig.engine.snapshot(&name("v"), &name("s")).unwrap();
            rig.engine.remove(&snapshot("v", "s")).unwrap();
        }
        1 => {
            rig.engine.fork(&head("v"), &name("f")).unwrap();
            rig.engine.remove(&head("f")).unwrap();
        }
        _ => drop(rig.engine.mount(&head("v"), true).unwrap()),
    }
}

#[test]
fn what_a_snapshot_fork_or_read_only_mount_froze_dies_when_it_is_overwritten_after_they_are_gone() {
    for way in 0..3 {
        let rig = filled();
        leave_a_frozen_layer(&rig, way);
        rig.put_many(0, PAGES / 2, 2).unwrap();
        rig.remove(PAGES as u64 / 2, PAGES as u64).unwrap();
        rig.sync().unwrap();
        rig.maintain(20);
        rig.sync().unwrap();
        rig.maintain(20);
        assert_eq!(layers(&rig), 1, "way {way}");
        assert!(live_pages(&rig) < PAGES as u64, "way {way}: {} pages live", live_pages(&rig));
        rig.check();
        let expected: Vec<u8> = (0..PAGES).map(|page| if page < PAGES / 2 { 2 } else { 0 }).collect();
        assert_eq!(rig.all(PAGES as u64), expected);
        let rig = rig.power_cut(way);
        assert_eq!(rig.all(PAGES as u64), expected);
        rig.check();
    }
}

#[test]
fn layers_that_were_put_together_come_back_as_one_after_many_rounds() {
    let mut rig = filled();
    let mut expected = vec![1; PAGES];
    for round in 0..24_u8 {
        leave_a_frozen_layer(&rig, u64::from(round) % 3);
        for page in (usize::from(round) % 7..PAGES).step_by(7) {
            rig.put(page as u64, round + 2).unwrap();
            expected[page] = round + 2;
        }
        let hole = usize::from(round) * 3 % PAGES;
        rig.remove(hole as u64, hole as u64 + 2).unwrap();
        expected[hole..PAGES.min(hole + 2)].fill(0);
        rig.maintain(10);
        rig.sync().unwrap();
        rig.maintain(10);
        if round % 5 == 4 {
            rig = if round % 2 == 0 { rig.kill() } else { rig.power_cut(round.into()) };
            rig.check();
        }
        assert_eq!(rig.all(PAGES as u64), expected, "round {round}");
    }
    rig.maintain(20);
    assert_eq!(layers(&rig), 1);
    rig.check();
}

#[test]
fn a_layer_that_a_snapshot_still_needs_is_left_alone() {
    let rig = filled();
    rig.engine.snapshot(&name("v"), &name("s")).unwrap();
    rig.put_many(0, PAGES, 2).unwrap();
    rig.sync().unwrap();
    rig.maintain(20);
    assert_eq!(layers(&rig), 2);
    let old = rig.engine.mount(&snapshot("v", "s"), true).unwrap();
    let mut byte = [0];
    old.read(crate::rig::SPACE, 0, &mut byte, firnfs::volume::Hint::Once).unwrap();
    assert_eq!(byte, [1]);
    assert!(old.apply(&Operation::new()).is_err());
    rig.check();
}

#[test]
fn a_manifest_that_cannot_be_saved_leaves_layers_as_they_are() {
    let rig = filled();
    leave_a_frozen_layer(&rig, 0);
    rig.put_many(0, 8, 2).unwrap();
    rig.sync().unwrap();
    let before = rig.engine.status().volumes[0].layers;
    rig.disk.fail(Fault::on(Call::Rename, libc::EIO).forever());
    rig.maintain(5);
    assert_eq!(layers(&rig), before);
    assert_eq!(rig.get(0).unwrap(), 2);
    assert_eq!(rig.get(9).unwrap(), 1);
}

/// A volume whose page 40 is removed, not durably yet, above a layer that has it. At the next read of the
/// disk that layer is absorbed, and the removal becomes durable.
fn absorbed_amid_the_next_read() -> (Rig, Arc<AtomicBool>) {
    let rig = filled();
    leave_a_frozen_layer(&rig, 0);
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    rig.remove(40, 41).unwrap();
    let (engine, volume) = (Arc::downgrade(&rig.engine), Arc::downgrade(&rig.volume));
    let done = Arc::new(AtomicBool::new(false));
    let began = Arc::clone(&done);
    rig.disk.set_hook(move |call, file| {
        if call == Call::Read && file.starts_with("heap-") && !began.swap(true, Ordering::AcqRel) {
            let (engine, volume) = (engine.upgrade().unwrap(), volume.upgrade().unwrap());
            for _ in 0..10 {
                engine.maintain_step(std::time::Duration::ZERO);
            }
            let (synced, outcome) = waiter();
            volume.sync(synced);
            outcome.lock().take().expect("it is answered").expect("a healthy disk syncs");
        }
    });
    (rig, done)
}

#[test]
fn a_read_amid_which_layers_are_put_together_sees_no_page_that_was_removed_before() {
    let (rig, done) = absorbed_amid_the_next_read();
    let mut bytes = vec![9; 64 * 4096];
    rig.volume.read(SPACE, 0, &mut bytes, Hint::Once).unwrap();
    assert!(done.load(Ordering::Acquire));
    assert_eq!(layers(&rig), 1);
    let found: Vec<u8> = bytes.chunks(4096).map(|page| page[0]).collect();
    let expected: Vec<u8> = (0..64).map(|page| u8::from(page != 40)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_change_amid_which_layers_are_put_together_builds_on_no_page_that_was_removed_before() {
    let (rig, done) = absorbed_amid_the_next_read();
    let mut operation = Operation::new();
    operation.write(SPACE, 0, vec![1; 8]);
    operation.write(SPACE, 40 * 4096, vec![0; 8]);
    rig.volume.apply(&operation).unwrap();
    assert!(done.load(Ordering::Acquire));
    assert_eq!(layers(&rig), 1);
    assert_eq!([rig.get(0).unwrap(), rig.get(40).unwrap()], [1, 0]);
    rig.sync().unwrap();
    let rig = rig.power_cut(1);
    assert_eq!([rig.get(0).unwrap(), rig.get(40).unwrap()], [1, 0]);
    rig.check();
}

#[test]
fn a_page_that_was_rewritten_after_a_removal_is_there_at_every_instant_of_putting_layers_together() {
    for round in 0..2000 {
        let rig = Rig::new(small_files());
        rig.put(0, 1).unwrap();
        rig.sync().unwrap();
        rig.engine.snapshot(&name("v"), &name("kept")).unwrap();
        rig.remove(0, 1).unwrap();
        rig.put(0, 2).unwrap();
        rig.sync().unwrap();
        leave_a_frozen_layer(&rig, 0);
        let (began, ended) = (Barrier::new(2), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut wrong = 0;
                began.wait();
                while !ended.load(Ordering::Acquire) {
                    wrong += u64::from(rig.volume.count(SPACE, PageNo(0), PageNo(1)) != 1);
                }
                wrong
            });
            began.wait();
            rig.maintain(10);
            ended.store(true, Ordering::Release);
            assert_eq!(reader.join().expect("it ends"), 0, "round {round}");
        });
        assert_eq!(layers(&rig), 2);
    }
}
