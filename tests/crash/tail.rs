//! Damage to the log: what is believed is a prefix, and what is not believed is an error.

use firnfs::io::sim::SimDisk;
use firnfs::volume::{Error, Pages};

use crate::rig::{Rig, first_byte, head, open, small_files};

const ROUNDS: u8 = 5;

/// A log of a few groups, each of which writes its number to two pages, and the name of its file.
fn small_log() -> (Rig, String) {
    let rig = Rig::new(small_files());
    for round in 1..=ROUNDS {
        rig.put_many(0, 2, round).unwrap();
        rig.sync().unwrap();
    }
    let mut files = rig.heap_files().into_iter();
    let log = files.find(|file| rig.disk.contents(file).starts_with(b"firnbtch"));
    (rig, log.expect("a file of the log"))
}

/// What a start makes of a disk: the number of the group that both pages come from, or its refusal.
fn outcome(rig: &Rig, disk: &SimDisk) -> Result<u8, Error> {
    let engine = open(disk, &rig.clock, &rig.config)?;
    let volume = engine.mount(&head("v"), false)?;
    let pages = [first_byte(&*volume, 0)?, first_byte(&*volume, 1)?];
    assert_eq!(pages[0], pages[1], "a group takes effect whole");
    Ok(pages[0])
}

/// Slots of the log in use: each group has a header and two pages.
const LOG_BYTES: u64 = ROUNDS as u64 * 3 * 4096;

#[test]
fn a_log_cut_anywhere_is_a_prefix_of_itself() {
    let (rig, log) = small_log();
    let mut seen = Vec::new();
    for length in (0..LOG_BYTES).step_by(61).chain([LOG_BYTES]) {
        let copy = rig.disk.copy(1);
        let mut bytes = rig.disk.contents(&log);
        bytes[usize::try_from(length).unwrap()..].fill(0);
        copy.put(&log, &bytes);
        let last = outcome(&rig, &copy).expect("a torn tail is no damage");
        let whole = u8::try_from(length / (3 * 4096)).unwrap();
        assert!(last == whole || last == whole + 1, "{length} bytes give group {last}");
        seen.push(last);
    }
    assert!(seen.is_sorted(), "the longer the log, the later the instant");
    assert_eq!((seen[0], seen[seen.len() - 1]), (0, ROUNDS));
}

#[test]
fn a_log_file_truncated_anywhere_is_a_prefix_or_an_error() {
    let (rig, log) = small_log();
    for length in (0..=LOG_BYTES).step_by(509) {
        let copy = rig.disk.copy(1);
        copy.truncate(&log, length);
        if let Ok(last) = outcome(&rig, &copy) {
            let whole = u8::try_from(length / (3 * 4096)).unwrap();
            assert!(last == whole || last == whole + 1, "{length} bytes give group {last}");
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_is_a_prefix_or_an_error_and_never_a_wrong_page() {
    let (rig, log) = small_log();
    let (mut prefixes, mut errors) = (0, 0);
    for at in (0..LOG_BYTES).filter(|at| at % 4096 < 160 || at % 97 == 0) {
        let copy = rig.disk.copy(1);
        copy.flip(&log, at, 1 << (at % 8));
        match outcome(&rig, &copy) {
            Ok(ROUNDS) => prefixes += 1,
            Ok(last) => {
                assert!(at >= LOG_BYTES - 3 * 4096, "byte {at}: only the last group may be taken for torn");
                assert_eq!(last, ROUNDS - 1, "byte {at}");
            }
            Err(_) => errors += 1,
        }
    }
    assert!(prefixes > 0 && errors > 0, "{prefixes} {errors}");
}

#[test]
fn a_damaged_page_is_an_error_and_everything_else_stays_readable() {
    let rig = Rig::new(small_files());
    rig.put_many(0, 30, 1).unwrap();
    rig.sync().unwrap();
    rig.engine.close().unwrap();
    let rig = rig.kill();
    rig.put(100, 5).unwrap();
    rig.sync().unwrap();
    let log = rig.heap_files().into_iter().find(|file| rig.disk.contents(file)[4096..].starts_with(&[1; 64]));
    rig.disk.flip(&log.expect("the pages are somewhere"), 8 * 4096 + 77, 1);
    let rig = rig.kill();
    let mut damaged = 0;
    for page in 0..30 {
        match rig.get(page) {
            Ok(byte) => assert_eq!(byte, 1),
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. }), "{error}");
                damaged += 1;
            }
        }
    }
    assert_eq!(damaged, 1);
    assert_eq!(rig.get(100).unwrap(), 5);
    let report = rig.engine.check(&mut |_, _| {}).unwrap();
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    let before = rig.volume.count(crate::rig::SPACE, firnfs::base::PageNo(0), firnfs::base::PageNo(30));
    assert_eq!(before, 30, "a damaged page is not an absent one");
}

#[test]
fn a_bad_sector_is_an_error_of_its_page_alone() {
    let rig = Rig::new(small_files());
    rig.put_many(0, 30, 1).unwrap();
    rig.sync().unwrap();
    rig.engine.close().unwrap();
    let rig = rig.kill();
    let log = rig.heap_files().into_iter().find(|file| rig.disk.contents(file)[4096..].starts_with(&[1; 64]));
    rig.disk.break_range(&log.expect("the pages are somewhere"), 8 * 4096..8 * 4096 + 512);
    let readable = (0..30).filter(|page| rig.get(*page).is_ok()).count();
    assert_eq!(readable, 29);
}

/// In an orderly end nothing is torn, so that what does not match is damage, however late it was written.
#[test]
fn damage_after_an_orderly_end_is_never_taken_for_a_torn_tail() {
    let (rig, log) = small_log();
    rig.engine.close().unwrap();
    for at in (0..LOG_BYTES).filter(|at| at % 4096 < 16 || at % 389 == 0) {
        let copy = rig.disk.copy(1);
        copy.flip(&log, at, 0x20);
        if let Ok(last) = outcome(&rig, &copy) {
            assert_eq!(last, ROUNDS, "byte {at}: an older instant came back");
        }
    }
}
