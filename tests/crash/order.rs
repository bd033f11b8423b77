//! The order in which things become durable, and what is on the disk between two calls.

use std::collections::HashMap;
use std::sync::Arc;

use firnfs::format::manifest::{self, Manifest};
use firnfs::io::sim::{Call, Fault, SimDisk};
use parking_lot::Mutex;

use crate::rig::{Rig, small_files};

/// As [`small_files`] has it.
const HEAP_FILE_BYTES: usize = 256 << 10;

/// What the manifest on the disk says.
fn manifest_on(disk: &SimDisk) -> Manifest {
    manifest::decode(&disk.contents("MANIFEST")).expect("a whole manifest is always there")
}

fn names(manifest: &Manifest) -> Vec<String> {
    manifest.files.iter().map(|file| format!("heap-{:010}.firn", file.number.0)).collect()
}

/// Collects what `judge` objects to, before every call from now on. It sees the files that the manifest
/// names, and may not use the disk itself.
fn watch(
    disk: &SimDisk,
    judge: impl Fn(Call, &str, &[String]) -> Option<String> + Send + Sync + 'static,
) -> Arc<Mutex<Vec<String>>> {
    let objections = Arc::new(Mutex::new(Vec::new()));
    let (collected, watched) = (Arc::clone(&objections), disk.clone());
    disk.set_hook(move |call, file| {
        if file.starts_with("heap-") {
            collected.lock().extend(judge(call, file, &names(&manifest_on(&watched))));
        }
    });
    objections
}

fn churn(rig: &Rig) {
    for round in 0..80_u8 {
        rig.put_many(0, 40, round + 1).unwrap();
        rig.sync().unwrap();
        rig.maintain(6);
    }
}

#[test]
fn a_file_is_forgotten_by_the_manifest_before_it_is_renamed_or_unlinked() {
    let rig = Rig::new(small_files());
    let objections = watch(&rig.disk, |call, file, named| {
        let goes = matches!(call, Call::Rename | Call::Remove);
        (goes && named.iter().any(|name| name == file)).then(|| format!("{call:?} of {file}, which is named"))
    });
    churn(&rig);
    assert!(rig.disk.counters().of(Call::Rename) > 10, "files come and go");
    assert_eq!(*objections.lock(), Vec::<String>::new());
}

#[test]
fn a_file_is_named_by_the_manifest_before_anything_is_written_to_it() {
    let rig = Rig::new(small_files());
    // Of each file that the manifest does not name, what it held when that was first seen.
    let unnamed = Mutex::new(HashMap::new());
    let disk = rig.disk.clone();
    let objections = watch(&rig.disk, move |_, _, named| {
        let mut unnamed = unnamed.lock();
        let mut written = None;
        for file in disk.names().into_iter().filter(|file| file.starts_with("heap-")) {
            if named.contains(&file) {
                unnamed.remove(&file);
                continue;
            }
            let bytes = disk.contents(&file);
            // Until it has its size it is being made.
            if bytes.len() < HEAP_FILE_BYTES {
                continue;
            }
            let holds = blake3::hash(&bytes);
            let held = *unnamed.entry(file.clone()).or_insert(holds);
            if held != holds {
                written = Some(format!("{file} was written to"));
            }
        }
        written
    });
    churn(&rig);
    assert_eq!(*objections.lock(), Vec::<String>::new());
}

#[test]
fn a_file_that_the_manifest_could_not_name_takes_nothing_and_its_pages_stay_in_memory() {
    let rig = Rig::new(small_files());
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    rig.disk.fail(Fault::on(Call::Rename, libc::EIO).name("MANIFEST").forever());
    let named = names(&manifest_on(&rig.disk));
    let mut page = 1;
    while rig.put(page, 2).and_then(|()| rig.sync()).is_ok() {
        page += 1;
        assert!(page < 10_000, "without a manifest there is no other file");
    }
    for file in rig.heap_files().iter().filter(|file| !named.contains(file)) {
        let bytes = rig.disk.contents(file);
        assert!(bytes.iter().all(|byte| *byte == 0), "{file} has been written to");
    }
    assert!((1..page).all(|page| rig.get(page).unwrap() == 2), "what was taken is readable");
    let rig = rig.power_cut(1);
    assert!((1..page).all(|page| rig.get(page).unwrap() == 2), "what was acknowledged is there");
    rig.check();
}
