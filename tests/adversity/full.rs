//! A disk that is full can be emptied.

use super::*;

fn fill_up(pages: &dyn Pages, engine: &Engine, from: u64) -> u64 {
    let mut space = from;
    loop {
        if let Err(error) = fill(pages, space, 0, 8, 7) {
            assert!(matches!(error, Error::NoSpace { .. }), "{error}");
            return space;
        }
        space += 1;
        assert!(space < 100_000, "the budget holds");
        if space.is_multiple_of(4) {
            engine.log_step(Duration::ZERO);
            engine.maintain_step(Duration::ZERO);
        }
    }
}

#[test]
fn what_was_removed_from_a_full_disk_can_be_written_again_at_once() {
    let disk = SimDisk::new(1);
    let config = Config { disk_bytes: Some(10 * FILE_BYTES), ..config() };
    let engine = open_with(&disk, config).expect("it opens");
    let pages = create(&engine, "v");
    let first = fill_up(&*pages, &engine, 1);
    sync(&*pages).expect("what was taken can be logged");
    for round in 0..10 {
        for space in 1..first {
            remove(&*pages, space).expect("a full disk can be emptied");
        }
        for space in 1..first / 2 {
            fill(&*pages, space, 0, 8, round)
                .unwrap_or_else(|error| panic!("round {round}, {space}: {error}"));
        }
        sync(&*pages).expect("what was taken can be logged");
        fill_up(&*pages, &engine, first / 2);
        sync(&*pages).expect("what was taken can be logged");
    }
}

#[test]
fn a_full_disk_is_emptied_by_removing_a_little_of_every_file() {
    let disk = SimDisk::new(1);
    let config = Config { disk_bytes: Some(10 * FILE_BYTES), ..config() };
    let engine = open_with(&disk, config).expect("it opens");
    let pages = create(&engine, "v");
    let end = fill_up(&*pages, &engine, 1);
    sync(&*pages).expect("what was taken can be logged");
    // Every second one goes, each removal synced: many small groups.
    for space in (1..end).step_by(2) {
        remove(&*pages, space).expect("a full disk can be emptied");
        sync(&*pages).unwrap_or_else(|error| panic!("removal {space} of {end}: {error}"));
    }
    maintain(&engine);
    for space in (1..end / 2).step_by(2) {
        fill(&*pages, space, 0, 8, 9).unwrap_or_else(|error| panic!("{space} of {end}: {error}"));
    }
    sync(&*pages).expect("what was taken can be logged");
    for space in (2..end).step_by(2) {
        assert_eq!(byte(&*pages, space, 7).expect("it is readable"), 7);
    }
}
