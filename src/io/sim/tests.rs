//! What the simulated disk promises to the tests that stand on it.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Call, Fault, SimDisk, is_crash};
use crate::io::{Disk, DiskFile};

const SEEDS: std::ops::Range<u64> = 0..64;

fn write(file: &Arc<dyn DiskFile>, data: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(&[IoSlice::new(data)], offset)
}

/// A disk with a durable, empty file.
fn disk_with(name: &str) -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(1);
    let file = disk.create(name).unwrap();
    disk.sync_dir().unwrap();
    (disk, file)
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().expect("it fails").raw_os_error()
}

#[test]
fn a_kill_loses_nothing_that_was_written() {
    let disk = SimDisk::new(1);
    write(&disk.create("a").unwrap(), b"bytes", 3).unwrap();
    disk.kill();
    let disk = disk.reboot();
    assert_eq!(disk.contents("a"), b"\0\0\0bytes");
}

#[test]
fn a_power_cut_keeps_what_was_synced() {
    for seed in SEEDS {
        let (disk, file) = disk_with("a");
        write(&file, &[7; 5000], 100).unwrap();
        file.sync_data().unwrap();
        write(&file, &[8; 5000], 20_000).unwrap();
        disk.power_cut(seed);
        let bytes = disk.reboot().contents("a");
        assert_eq!(bytes[100..5100], [7; 5000]);
        assert!(bytes[5100..].iter().all(|byte| [0, 8].contains(byte)));
    }
}

#[test]
fn unsynced_writes_are_kept_dropped_or_torn_at_sectors() {
    let (mut kept, mut dropped, mut torn) = (0, 0, 0);
    for seed in SEEDS {
        let (disk, file) = disk_with("a");
        write(&file, &[1; 4096], 0).unwrap();
        file.sync_data().unwrap();
        write(&file, &[2; 4096], 0).unwrap();
        disk.power_cut(seed);
        let bytes = disk.reboot().contents("a");
        let new: Vec<bool> = bytes
            .chunks(512)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
                sector[0] == 2
            })
            .collect();
        match new.iter().filter(|sector| **sector).count() {
            8 => kept += 1,
            0 => dropped += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 0 && dropped > 0 && torn > 0, "{kept} {dropped} {torn}");
}

#[test]
fn a_later_unsynced_write_may_survive_without_an_earlier_one() {
    let survived = SEEDS.filter(|&seed| {
        let (disk, file) = disk_with("a");
        file.allocate(8192).unwrap();
        file.sync_data().unwrap();
        write(&file, &[1; 512], 0).unwrap();
        write(&file, &[2; 512], 4096).unwrap();
        disk.power_cut(seed);
        let bytes = disk.reboot().contents("a");
        bytes[0] == 0 && bytes[4096] == 2
    });
    assert!(survived.count() > 0);
}

#[test]
fn names_survive_a_power_cut_as_a_prefix_of_their_changes() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in SEEDS {
        let (disk, _old) = disk_with("a");
        disk.rename("a", "b").unwrap();
        disk.create("c").unwrap();
        disk.remove("b").unwrap();
        disk.power_cut(seed);
        seen.insert(disk.reboot().names().join(" "));
    }
    let expected = ["a", "b", "b c", "c"].map(str::to_owned);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_synced_directory_keeps_its_names_and_a_replaced_file_its_replacement() {
    for seed in SEEDS {
        let (disk, _old) = disk_with("manifest");
        let new = disk.create("manifest.new").unwrap();
        write(&new, b"new", 0).unwrap();
        new.sync_data().unwrap();
        disk.rename("manifest.new", "manifest").unwrap();
        disk.sync_dir().unwrap();
        disk.power_cut(seed);
        let disk = disk.reboot();
        assert_eq!(disk.names(), ["manifest"]);
        assert_eq!(disk.contents("manifest"), b"new");
    }
}

#[test]
fn after_a_failed_sync_a_successful_one_promises_nothing_about_the_pages_before() {
    let mut lost = 0;
    for seed in SEEDS {
        let (disk, file) = disk_with("a");
        file.allocate(8192).unwrap();
        file.sync_data().unwrap();
        write(&file, &[1; 512], 0).unwrap();
        disk.fail(Fault::on(Call::SyncData, libc::EIO));
        assert_eq!(errno(file.sync_data()), Some(libc::EIO));
        write(&file, &[2; 512], 4096).unwrap();
        file.sync_data().unwrap();
        disk.power_cut(seed);
        let bytes = disk.reboot().contents("a");
        assert_eq!(bytes[4096], 2, "what was written after the failure is synced");
        lost += u32::from(bytes[0] == 0);
    }
    assert!(lost > 0);
}

#[test]
fn a_page_written_again_after_a_failed_sync_is_synced_whole() {
    for seed in SEEDS {
        let (disk, file) = disk_with("a");
        write(&file, &[1; 512], 0).unwrap();
        disk.fail(Fault::on(Call::SyncData, libc::EIO));
        file.sync_data().unwrap_err();
        write(&file, &[2; 4096], 0).unwrap();
        file.sync_data().unwrap();
        disk.power_cut(seed);
        assert_eq!(disk.reboot().contents("a"), [2; 4096]);
    }
}

#[test]
fn handles_of_a_former_life_give_errors() {
    let (disk, file) = disk_with("a");
    disk.kill();
    assert!(is_crash(&disk.list().unwrap_err()), "before the reboot");
    let next = disk.reboot();
    assert!(is_crash(&write(&file, b"x", 0).unwrap_err()));
    assert!(is_crash(&disk.open("a").err().unwrap()));
    drop(file);
    assert_eq!(next.open("a").unwrap().size().unwrap(), 0);
}

#[test]
fn a_crash_stops_the_disk_at_the_numbered_call() {
    let (disk, file) = disk_with("a");
    disk.crash_at(2);
    write(&file, b"1", 0).unwrap();
    disk.usage().unwrap();
    assert!(!disk.crashed());
    assert!(is_crash(&file.sync_data().unwrap_err()));
    assert!(disk.crashed());
    assert!(is_crash(&disk.usage().unwrap_err()));
    write(&file, b"2", 0).unwrap_err();
    disk.kill();
    assert_eq!(disk.reboot().contents("a"), b"1");
}

#[test]
fn a_crash_within_a_write_leaves_any_prefix_of_it() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in SEEDS {
        let disk = SimDisk::new(seed);
        let file = disk.create("a").unwrap();
        disk.crash_at(1);
        write(&file, &[1; 4], 0).unwrap_err();
        disk.kill();
        lengths.insert(disk.reboot().contents("a").len());
    }
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn faults_strike_the_nth_call_of_their_kind_and_name() {
    let (disk, file) = disk_with("heap-1");
    disk.fail(Fault::on(Call::Write, libc::ENOSPC).after(1).times(2).name("heap-"));
    let other = disk.create("manifest").unwrap();
    write(&other, b"x", 0).unwrap();
    write(&file, b"x", 0).unwrap();
    assert_eq!(errno(write(&file, b"x", 1)), Some(libc::ENOSPC));
    write(&other, b"x", 1).unwrap();
    assert_eq!(errno(write(&file, b"x", 1)), Some(libc::ENOSPC));
    write(&file, b"x", 1).unwrap();
}

#[test]
fn a_fault_on_any_call_spares_those_that_change_nothing() {
    let (disk, file) = disk_with("a");
    disk.fail(Fault::on_any(libc::EIO));
    assert_eq!(file.size().unwrap(), 0);
    assert_eq!(errno(disk.remove("a")), Some(libc::EIO));
    disk.remove("a").unwrap();
}

#[test]
fn a_failed_write_leaves_a_prefix_and_a_failed_create_nothing() {
    let (disk, file) = disk_with("a");
    disk.fail(Fault::on(Call::Write, libc::EIO));
    disk.fail(Fault::on(Call::Create, libc::EMFILE));
    write(&file, &[9; 100], 0).unwrap_err();
    let bytes = disk.contents("a");
    assert!(bytes.len() <= 100 && bytes.iter().all(|byte| *byte == 9));
    assert_eq!(errno(disk.create("b")), Some(libc::EMFILE));
    assert_eq!(disk.names(), ["a"]);
}

#[test]
fn a_full_disk_says_so_and_has_space_again_once_a_file_is_gone() {
    let (disk, file) = disk_with("a");
    disk.set_capacity(Some(64 << 10));
    file.allocate(48 << 10).unwrap();
    assert_eq!(disk.usage().unwrap().free_bytes, 16 << 10);
    let second = disk.create("b").unwrap();
    assert_eq!(errno(second.allocate(17 << 10)), Some(libc::ENOSPC));
    assert_eq!(errno(write(&second, &[1; 20 << 10], 0)), Some(libc::ENOSPC));
    write(&file, &[1; 48 << 10], 0).unwrap();
    disk.remove("a").unwrap();
    assert!(disk.usage().unwrap().free_bytes <= 16 << 10, "an open file keeps its blocks");
    drop(file);
    second.allocate(17 << 10).unwrap();
    assert_eq!(disk.usage().unwrap().free_bytes, 44 << 10);
}

#[test]
fn descriptors_run_out_and_come_back() {
    let (disk, file) = disk_with("a");
    disk.limit_handles(1);
    assert_eq!(errno(disk.open("a")), Some(libc::EMFILE));
    assert_eq!(errno(disk.create("b")), Some(libc::EMFILE));
    drop(file);
    disk.open("a").unwrap();
}

#[test]
fn an_unlinked_file_stays_readable_through_its_handle() {
    let (disk, file) = disk_with("a");
    write(&file, b"still", 0).unwrap();
    disk.remove("a").unwrap();
    disk.sync_dir().unwrap();
    let mut buf = [0; 5];
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"still");
    assert_eq!(file.read_exact_at(&mut buf, 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn bits_flip_at_rest_and_bad_ranges_give_errors() {
    let (disk, file) = disk_with("a");
    write(&file, &[0; 8192], 0).unwrap();
    disk.flip("a", 5000, 0x80);
    let mut buf = [0; 16];
    file.read_exact_at(&mut buf, 4992).unwrap();
    assert_eq!(buf[8], 0x80);
    disk.break_range("a", 4096..8192);
    assert_eq!(errno(file.read_exact_at(&mut buf, 4090)), Some(libc::EIO));
    file.read_exact_at(&mut buf, 4080).unwrap();
}

#[test]
fn a_copy_lives_its_own_life() {
    let (disk, file) = disk_with("a");
    write(&file, b"one", 0).unwrap();
    let copy = disk.copy(2);
    write(&file, b"two", 0).unwrap();
    copy.truncate("a", 2);
    assert_eq!(copy.contents("a"), b"on");
    assert_eq!(disk.contents("a"), b"two");
}

#[test]
fn calls_and_bytes_are_counted_and_announced_to_the_hook() {
    let (disk, file) = disk_with("a");
    let announced = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&announced);
    disk.set_hook(move |call, name| {
        assert_eq!((call, name), (Call::Write, "a"));
        count.fetch_add(1, Ordering::Relaxed);
    });
    let before = disk.counters();
    file.write_all_at(&[IoSlice::new(&[1; 10]), IoSlice::new(&[2; 20])], 0).unwrap();
    let after = disk.counters();
    assert_eq!(after.of(Call::Write) - before.of(Call::Write), 1);
    assert_eq!(after.bytes_written - before.bytes_written, 30);
    assert_eq!(after.mutations() - before.mutations(), 1);
    assert_eq!(announced.load(Ordering::Relaxed), 1);
}

#[test]
fn threads_share_the_disk() {
    let (disk, file) = disk_with("a");
    std::thread::scope(|scope| {
        for worker in 0..4_u8 {
            let file = &file;
            scope.spawn(move || {
                for round in 0..100_u64 {
                    write(file, &[worker + 1], round * 4 + u64::from(worker)).unwrap();
                    file.sync_data().unwrap();
                }
            });
        }
    });
    assert_eq!(disk.contents("a"), [1, 2, 3, 4].repeat(100));
}
