//! The manifest: the one thing that says what the heap files mean.

use std::sync::Arc;

use firnfs::base::FileNo;
use firnfs::format::manifest::{FileRecord, StreamKind, decode, encode};
use firnfs::io::sim::{Call, Fault, SimClock, SimDisk};
use firnfs::volume::{CreateOptions, Error};

use crate::rig::{Rig, first_byte, head, name, open, small_files, snapshot};

#[test]
fn a_damaged_manifest_stops_the_start_and_is_left_as_it_is() {
    let rig = Rig::new(small_files());
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    rig.disk.kill();
    let bytes = rig.disk.contents("MANIFEST");
    for at in 0..bytes.len() {
        let copy = rig.disk.reboot().copy(1);
        copy.flip("MANIFEST", at as u64, 0x10);
        let damaged = copy.contents("MANIFEST");
        let error = open(&copy, &rig.clock, &rig.config).map(drop).expect_err("it is damaged");
        assert!(matches!(error, Error::DataDirectory(_)), "{error}");
        assert!(error.to_string().contains("MANIFEST"), "{error}");
        assert_eq!(copy.contents("MANIFEST"), damaged);
    }
    for length in 0..bytes.len() {
        let copy = rig.disk.reboot().copy(1);
        copy.truncate("MANIFEST", length as u64);
        open(&copy, &rig.clock, &rig.config).map(drop).expect_err("it is cut short");
    }
}

#[test]
fn a_missing_manifest_beside_heap_files_stops_the_start() {
    let rig = Rig::new(small_files());
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    rig.disk.kill();
    let disk = rig.disk.reboot();
    firnfs::io::Disk::remove(&disk, "MANIFEST").unwrap();
    let before = disk.names();
    open(&disk, &rig.clock, &rig.config).map(drop).expect_err("the manifest is gone");
    assert_eq!(disk.names(), before);
}

#[test]
fn a_missing_heap_file_stops_the_start_and_is_named() {
    let rig = Rig::new(small_files());
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    rig.disk.kill();
    let disk = rig.disk.reboot();
    let file = rig.heap_files()[0].clone();
    firnfs::io::Disk::remove(&disk, &file).unwrap();
    let error = open(&disk, &rig.clock, &rig.config).map(drop).expect_err("a file is gone");
    assert!(error.to_string().contains(&file), "{error}");
}

#[test]
fn heap_files_that_the_manifest_does_not_name_are_swept() {
    let rig = Rig::new(small_files());
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    let (stray, other) = ("heap-0000009999.firn", "notes.txt");
    rig.disk.put(stray, &[1; 4096]);
    rig.disk.put(other, b"not ours");
    let rig = rig.kill();
    assert!(!rig.disk.names().contains(&stray.to_owned()));
    assert!(rig.disk.names().contains(&other.to_owned()), "only heap files are swept");
    assert_eq!(rig.get(0).unwrap(), 1);
    rig.put_many(0, 60, 2).unwrap();
    rig.sync().unwrap();
    let newest = rig.heap_files().pop().unwrap();
    assert!(newest.as_str() > stray, "numbers go on above all that was seen: {newest}");
}

#[test]
fn a_sweep_that_fails_does_not_stop_the_start() {
    let rig = Rig::new(small_files());
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    rig.disk.kill();
    let disk = rig.disk.reboot();
    disk.put("heap-0000009999.firn", &[1; 4096]);
    disk.fail(Fault::on(Call::Remove, libc::EIO).name("heap-").forever());
    let engine = open(&disk, &rig.clock, &rig.config).expect("it starts");
    let volume = engine.mount(&head("v"), false).unwrap();
    assert_eq!(first_byte(&*volume, 0).unwrap(), 1);
}

#[test]
fn an_empty_directory_is_a_new_data_directory() {
    let disk = SimDisk::new(1);
    let engine = open(&disk, &Arc::new(SimClock::new()), &small_files()).expect("it starts");
    assert!(engine.list().is_empty());
}

/// Calls of saving a manifest, each of which may fail.
const SAVING: [Call; 5] = [Call::Create, Call::Write, Call::SyncData, Call::Rename, Call::SyncDir];

#[test]
fn a_command_whose_manifest_cannot_be_saved_has_not_happened() {
    type Command = fn(&Rig) -> Result<(), Error>;
    const COMMANDS: [Command; 4] = [
        |rig| rig.engine.create(&name("w"), &CreateOptions::default()).map(drop),
        |rig| rig.engine.fork(&head("v"), &name("f")).map(drop),
        |rig| rig.engine.snapshot(&name("v"), &name("t")).map(drop),
        |rig| rig.engine.remove(&snapshot("v", "s")),
    ];
    for call in SAVING {
        for command in COMMANDS {
            let rig = Rig::new(small_files());
            rig.put(0, 1).unwrap();
            rig.sync().unwrap();
            rig.engine.snapshot(&name("v"), &name("s")).unwrap();
            let list = || rig.engine.list().iter().map(|info| format!("{info:?}")).collect::<Vec<_>>();
            let before = list();
            let prefix = if call == Call::SyncDir { "" } else { "MANIFEST" };
            rig.disk.fail(Fault::on(call, libc::EIO).name(prefix));
            command(&rig).expect_err("its manifest cannot be saved");
            assert_eq!(list(), before, "{call:?}");
            command(&rig).expect("the disk is well again");
            assert_ne!(list(), before, "{call:?}");
            rig.check();
        }
    }
}

/// A save that failed after its rename has left the new manifest on the disk.
#[test]
fn a_removal_that_failed_cannot_take_effect_after_a_later_sync() {
    for call in SAVING {
        for seed in 0..8 {
            let rig = Rig::new(small_files());
            rig.put(0, 8).unwrap();
            rig.sync().unwrap();
            let Rig { disk, clock, config, engine, volume } = rig;
            drop(volume);
            let prefix = if call == Call::SyncDir { "" } else { "MANIFEST" };
            disk.fail(Fault::on(call, libc::EIO).name(prefix));
            engine.remove(&head("v")).expect_err("its manifest cannot be saved");
            let volume = engine.mount(&head("v"), false).expect("it is still there");
            let rig = Rig { disk, clock, config, engine, volume };
            rig.put(0, 9).unwrap();
            rig.sync().expect("the disk is well again");
            let rig = if seed == 0 { rig.kill() } else { rig.power_cut(seed) };
            assert_eq!(rig.get(0).unwrap(), 9, "{call:?}: what was acknowledged is there");
        }
    }
}

#[test]
fn a_rollback_that_failed_cannot_take_effect_after_a_later_sync() {
    for call in SAVING {
        for seed in 0..8 {
            let rig = Rig::new(small_files());
            rig.put(0, 1).unwrap();
            rig.engine.snapshot(&name("v"), &name("s")).unwrap();
            rig.put(0, 2).unwrap();
            rig.sync().unwrap();
            let Rig { disk, clock, config, engine, volume } = rig;
            drop(volume);
            let prefix = if call == Call::SyncDir { "" } else { "MANIFEST" };
            disk.fail(Fault::on(call, libc::EIO).name(prefix));
            engine.rollback(&name("v"), &name("s")).expect_err("its manifest cannot be saved");
            let volume = engine.mount(&head("v"), false).expect("it is still there");
            let rig = Rig { disk, clock, config, engine, volume };
            assert_eq!(rig.get(0).unwrap(), 2);
            rig.put(1, 9).unwrap();
            rig.sync().expect("the disk is well again");
            let rig = if seed == 0 { rig.kill() } else { rig.power_cut(seed) };
            assert_eq!(rig.all(2), [2, 9], "{call:?}: what was acknowledged is there");
        }
    }
}

/// Whatever a failed save has left on the disk must match the files that are there, always.
#[test]
fn after_a_failed_save_a_crash_at_any_call_leaves_a_directory_that_starts() {
    for call in SAVING {
        for skip in 0..4 {
            for crash in 1..24 {
                let rig = Rig::new(small_files());
                rig.put_many(0, 40, 1).unwrap();
                rig.sync().unwrap();
                let prefix = if call == Call::SyncDir { "" } else { "MANIFEST" };
                rig.disk.fail(Fault::on(call, libc::EIO).name(prefix).after(skip));
                rig.disk.crash_at(crash);
                for round in 0..4 {
                    // Errors are what this is about; what was acknowledged is looked at below.
                    let _ = rig.put_many(0, 40, 1);
                    let _ = rig.sync();
                    let _ = rig.engine.fork(&head("v"), &name(&format!("f{round}")));
                    rig.maintain(2);
                }
                let rig = if crash % 2 == 0 { rig.kill() } else { rig.power_cut(crash) };
                assert_eq!(rig.all(40), [1; 40], "{call:?}, {skip} passed, crash at {crash}");
            }
        }
    }
}

#[test]
fn ten_thousand_heap_files_are_all_named_after_a_restart() {
    const FILES: u64 = 10_000;
    let rig = Rig::new(small_files());
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    let mut manifest = decode(&rig.disk.contents("MANIFEST")).unwrap();
    for number in (0..FILES).map(|number| 100 + number) {
        let file = firnfs::io::Disk::create(&rig.disk, &format!("heap-{number:010}.firn")).unwrap();
        file.allocate(rig.config.heap_file_bytes).unwrap();
        manifest.files.push(FileRecord {
            number: FileNo(number),
            nonce: number,
            stream: StreamKind::Log,
            end: None,
        });
    }
    rig.disk.put("MANIFEST", &encode(&manifest));
    let rig = rig.kill();
    assert!(rig.engine.status().heap_files > FILES);
    assert!(decode(&rig.disk.contents("MANIFEST")).unwrap().files.len() as u64 > FILES);
    rig.put(1, 2).unwrap();
    rig.sync().unwrap();
    let rig = rig.kill();
    assert_eq!(rig.all(2), [1, 2]);
}
