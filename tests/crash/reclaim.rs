//! What is live survives the end of the files around it, and what is dead stays dead.

use firnfs::base::PageNo;
use firnfs::io::sim::{Call, SimDisk};
use firnfs::volume::{Operation, Pages};

use crate::rig::{Rig, SPACE, head, name, small_files, snapshot};

/// Fills log files with pages from `page` on, which later calls overwrite, until so many files were begun.
fn roll(rig: &Rig, page: u64, files: usize) {
    let first = rig.heap_files();
    let mut rounds = 0;
    while rig.heap_files().iter().filter(|file| !first.contains(file)).count() < files {
        rig.put_many(page, 20, 1 + u8::try_from(rounds % 200).unwrap()).unwrap();
        rig.sync().unwrap();
        rig.maintain(1);
        rounds += 1;
        assert!(rounds < 1000, "files fill");
    }
}

/// Writes and overwrites until compaction and reclaim have had all that they want.
fn churn(rig: &Rig) {
    for round in 0..120_u8 {
        rig.put_many(5000, 40, round + 1).unwrap();
        rig.sync().unwrap();
        rig.maintain(6);
    }
}

#[test]
fn colocated_live_pages_survive_the_end_of_their_neighbours() {
    let rig = Rig::new(small_files());
    for page in 0..200 {
        rig.put(page, 7).unwrap();
        rig.put(1000 + page, 8).unwrap();
        rig.sync().unwrap();
    }
    rig.remove(1000, 1200).unwrap();
    rig.sync().unwrap();
    churn(&rig);
    assert_eq!(rig.all(200), [7; 200]);
    let rig = rig.power_cut(1);
    assert_eq!(rig.all(200), [7; 200]);
    assert!((1000..1200).all(|page| rig.get(page).unwrap() == 0));
    rig.check();
}

#[test]
fn dead_files_are_given_back_and_used_again() {
    let rig = Rig::new(small_files());
    churn(&rig);
    let status = rig.engine.status();
    assert!(status.heap_bytes <= status.live_bytes * 3 / 2 + 8 * rig.config.heap_file_bytes, "{status:?}");
    assert!(
        rig.disk.counters().of(Call::Create) < rig.disk.counters().of(Call::Rename),
        "files are recycled"
    );
}

#[test]
fn batches_of_a_files_former_life_never_come_back() {
    for seed in 0..12 {
        let rig = Rig::new(small_files());
        churn(&rig);
        rig.put_many(0, 3, 9).unwrap();
        rig.sync().unwrap();
        rig.put(1, 4).unwrap();
        let rig = rig.power_cut(seed);
        assert!([9, 4].contains(&rig.get(1).unwrap()));
        assert_eq!([rig.get(0).unwrap(), rig.get(2).unwrap()], [9, 9]);
        assert!((5000..5040).all(|page| rig.get(page).unwrap() == 120), "the last round, no earlier one");
        rig.check();
    }
}

#[test]
fn user_data_that_imitates_batches_is_not_taken_for_them() {
    let rig = Rig::new(small_files());
    rig.put_many(0, 10, 1).unwrap();
    rig.sync().unwrap();
    let file = rig.heap_files().into_iter().find(|file| rig.disk.contents(file).starts_with(b"firnbtch"));
    let image = rig.disk.contents(&file.expect("the log has begun"));
    rig.put_many(0, 10, 2).unwrap();
    rig.sync().unwrap();
    let mut operation = Operation::new();
    operation.write(SPACE, 100 * 4096, image[..16 * 4096].to_vec());
    rig.volume.apply(&operation).unwrap();
    rig.sync().unwrap();
    let rig = rig.power_cut(1);
    assert_eq!(rig.all(10), [2; 10]);
}

#[test]
fn a_moved_page_never_beats_a_newer_one() {
    for seed in 0..8 {
        let rig = Rig::new(small_files());
        for page in 0..100 {
            rig.put(page, 1).unwrap();
            rig.put_many(2000, 4, 1).unwrap();
            rig.sync().unwrap();
        }
        churn(&rig);
        rig.put_many(0, 50, 2).unwrap();
        rig.sync().unwrap();
        rig.maintain(20);
        let rig = rig.power_cut(seed);
        assert!((0..50).all(|page| rig.get(page).unwrap() == 2));
        assert!((50..100).all(|page| rig.get(page).unwrap() == 1));
    }
}

#[test]
fn a_range_outlives_the_file_that_records_it() {
    let rig = Rig::new(small_files());
    rig.put_many(0, 40, 3).unwrap();
    rig.sync().unwrap();
    roll(&rig, 3000, 1);
    rig.remove(0, 10).unwrap();
    rig.sync().unwrap();
    churn(&rig);
    let rig = rig.power_cut(1);
    assert!((0..10).all(|page| rig.get(page).unwrap() == 0), "removed pages stay absent");
    assert!((10..40).all(|page| rig.get(page).unwrap() == 3));
    assert_eq!(rig.volume.count(SPACE, PageNo(0), PageNo(40)), 30);
    rig.check();
}

#[test]
fn a_page_removed_rewritten_and_removed_again_between_two_syncs_stays_absent() {
    let rig = Rig::new(small_files());
    // So many live neighbours that compaction leaves the file, and the dead page in it, where they are.
    rig.put_many(0, 59, 3).unwrap();
    rig.put(1000, 3).unwrap();
    rig.sync().unwrap();
    roll(&rig, 3000, 1);
    rig.remove(1000, 1001).unwrap();
    rig.put(1000, 4).unwrap();
    rig.remove(1000, 1001).unwrap();
    rig.sync().unwrap();
    churn(&rig);
    let rig = rig.power_cut(1);
    assert_eq!(rig.get(1000).unwrap(), 0);
    assert_eq!(rig.volume.count(SPACE, PageNo(0), PageNo(2000)), 59);
    rig.check();
}

#[test]
fn a_range_hides_what_lies_beneath_in_a_fork_alone() {
    let rig = Rig::new(small_files());
    rig.put_many(0, 20, 3).unwrap();
    rig.engine.fork(&head("v"), &name("f")).unwrap();
    rig.remove(0, 10).unwrap();
    rig.sync().unwrap();
    churn(&rig);
    let rig = rig.power_cut(1);
    assert_eq!(rig.volume.count(SPACE, PageNo(0), PageNo(20)), 10);
    let fork = rig.engine.mount(&head("f"), false).unwrap();
    assert_eq!(fork.count(SPACE, PageNo(0), PageNo(20)), 20);
}

#[test]
fn a_removed_parent_leaves_its_forks_whole_and_gives_its_own_pages_back() {
    let Rig { disk, clock, config, engine, volume } = Rig::new(small_files());
    let rig = Rig { disk, clock, config, engine, volume };
    rig.put_many(0, 60, 3).unwrap();
    rig.engine.fork(&head("v"), &name("f")).unwrap();
    rig.put_many(1000, 400, 4).unwrap();
    rig.sync().unwrap();
    let Rig { disk, clock, config, engine, volume } = rig;
    drop(volume);
    let before = engine.status().live_bytes;
    engine.remove(&head("v")).unwrap();
    for _ in 0..50 {
        engine.maintain_step(std::time::Duration::ZERO);
    }
    assert!(engine.status().live_bytes <= before - (400 << 12));
    let fork = engine.mount(&head("f"), false).unwrap();
    let rig = Rig { disk, clock, config, engine, volume: fork };
    assert_eq!(rig.all(60), [3; 60]);
    rig.check();
}

#[test]
fn a_snapshot_of_nothing_new_makes_no_layer() {
    let rig = Rig::new(small_files());
    rig.put(0, 1).unwrap();
    rig.engine.snapshot(&name("v"), &name("s0")).unwrap();
    let layers = |rig: &Rig| rig.engine.status().volumes[0].layers;
    let before = layers(&rig);
    for number in 1..50 {
        rig.engine.snapshot(&name("v"), &name(&format!("s{number}"))).unwrap();
        rig.engine.fork(&snapshot("v", "s0"), &name(&format!("f{number}"))).unwrap();
    }
    assert_eq!(layers(&rig), before);
}

#[test]
fn a_cold_read_reads_its_one_page() {
    let mut config = small_files();
    config.memory_bytes = 1 << 20;
    let rig = Rig::on(SimDisk::new(1), config);
    rig.put_many(0, 2000, 1).unwrap();
    rig.sync().unwrap();
    let rig = rig.kill();
    let before = rig.disk.counters();
    assert_eq!(rig.get(777).unwrap(), 1);
    let after = rig.disk.counters();
    assert_eq!(after.bytes_read - before.bytes_read, 4096);
    assert_eq!(after.of(Call::Read) - before.of(Call::Read), 1);
}

#[test]
fn a_whole_page_is_written_without_any_read() {
    let rig = Rig::new(small_files());
    rig.put_many(0, 40, 1).unwrap();
    rig.sync().unwrap();
    let rig = rig.kill();
    let before = rig.disk.counters().of(Call::Read);
    rig.put_many(3, 5, 2).unwrap();
    rig.sync().unwrap();
    assert_eq!(rig.disk.counters().of(Call::Read), before);
}
