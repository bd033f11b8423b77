//! What a volume meets at its limits: a full disk, a full quota, a data directory of another version.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;

use crate::harness::{World, text};

/// Appends chunks of `byte`, each synced, until it is refused; the length that was acknowledged, and
/// the refusal.
fn fill(path: &Path, byte: u8) -> (usize, i32) {
    const CHUNK: usize = 256 << 10;
    let mut file = File::create(path).expect("room for a name");
    let mut length = 0;
    loop {
        let written = file.write_all(&[byte; CHUNK]).and_then(|()| file.sync_data());
        match written {
            Ok(()) => length += CHUNK,
            Err(error) => return (length, error.raw_os_error().expect("the kernel's")),
        }
        assert!(length < 1 << 30, "there is an end");
    }
}

fn assert_filled(path: &Path, length: usize, byte: u8) {
    let bytes = fs::read(path).expect("readable");
    assert!(bytes.len() >= length, "{} of {length} bytes", bytes.len());
    assert!(bytes[..length].iter().all(|found| *found == byte), "what was acknowledged is there");
}

#[test]
fn a_full_quota_refuses_what_is_too_much_and_keeps_the_rest() {
    let world = World::new();
    let mount = world.dir("mnt");
    world.done(&["create", "db", "--quota", "4M"]);
    world.done(&["mount", "db", text(&mount)]);
    let (length, errno) = fill(&mount.join("file"), 7);
    assert_eq!(errno, libc::EDQUOT);
    assert!(length >= 3 << 20, "{length}");
    let file = File::options().write(true).open(mount.join("file")).expect("there");
    file.write_all_at(&[9; 4096], 0).expect("what is there may be rewritten");
    file.write_all_at(&[7; 4096], 0).expect("what is there may be rewritten");
    file.sync_all().expect("the log works");
    world.end_daemon(Signal::KILL);
    world.done(&["mount", "db", text(&mount)]);
    assert_filled(&mount.join("file"), length, 7);
    fs::remove_file(mount.join("file")).expect("it can be emptied");
    fs::write(mount.join("again"), vec![1; 3 << 20]).expect("there is room again");
}

/// A filesystem in memory, detached when dropped.
struct Small(PathBuf);

impl Small {
    fn new(directory: PathBuf, mib: u64) -> Self {
        let size = std::ffi::CString::new(format!("size={mib}m")).expect("no zero in it");
        mount("tmpfs", &directory, "tmpfs", MountFlags::empty(), size.as_c_str()).expect("root may mount");
        Small(directory)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_refuses_writes_keeps_what_was_acknowledged_and_can_be_emptied() {
    let world = World::with_data("disk/data");
    let _disk = Small::new(world.dir("disk"), 512);
    let mount = world.mounted("db");
    let (length, errno) = fill(&mount.join("big"), 7);
    assert_eq!(errno, libc::ENOSPC);
    assert!(length >= 32 << 20, "{length}");
    assert_filled(&mount.join("big"), length, 7);
    world.end_daemon(Signal::KILL);
    world.done(&["mount", "db", text(&mount)]);
    assert_filled(&mount.join("big"), length, 7);
    fs::remove_file(mount.join("big")).expect("a full disk can be emptied");
    world.done(&["sync", "db"]);
    let (again, _) = fill(&mount.join("again"), 8);
    assert!(again >= length / 2, "{again} bytes where {length} were before");
    assert_filled(&mount.join("again"), again, 8);
    assert!(world.done(&["check"]).contains("no damage"));
}

#[test]
fn a_data_directory_of_a_newer_version_is_refused_and_left_alone() {
    let world = World::new();
    world.done(&["create", "db"]);
    world.end_daemon(Signal::TERM);
    let manifest = world.data.join("MANIFEST");
    let mut bytes = fs::read(&manifest).expect("there");
    // The version follows the eight bytes of the magic.
    bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
    fs::write(&manifest, &bytes).expect("ours");
    let before = names(&world.data);
    let error = world.refused(&["ls"]);
    assert!(error.contains("MANIFEST") && error.contains("newer firn (version 9"), "{error}");
    assert!(error.contains("use that version"), "it says what to do: {error}");
    assert_eq!(fs::read(&manifest).expect("there"), bytes);
    assert_eq!(names(&world.data), before);
}

/// Heap files and the manifest.
fn names(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data).expect("there");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("there").file_name().into_string().expect("ours")).collect();
    names.retain(|name| name.starts_with("heap-") || name.starts_with("MANIFEST"));
    names.sort();
    names
}
