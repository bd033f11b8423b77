//! What a freeze left behind for a snapshot, fork or read-only mount that is gone.

use firnfs::io::sim::{Call, Fault};
use firnfs::volume::{Operation, Pages};

use crate::rig::{Rig, head, name, small_files, snapshot};

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
