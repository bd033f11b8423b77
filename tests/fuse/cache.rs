//! What the kernel keeps is never older than what was done.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags};

use crate::test_mount::TestMount;

/// Copies a program. By another process: a child that another test forks meanwhile would hold the copy
/// open for writing, which keeps it from being executed.
fn install(program: &str, to: &Path) {
    assert!(Command::new("cp").arg(program).arg(to).status().expect("coreutils").success());
}

#[test]
fn other_names_of_a_file_know_of_its_links() {
    let mount = TestMount::new();
    let (one, two) = (mount.path("one"), mount.path("two"));
    fs::write(&one, b"x").expect("written");
    let before = fs::metadata(&one).expect("there");
    fs::hard_link(&one, &two).expect("linked");
    assert_eq!(fs::metadata(&one).expect("there").nlink(), 2);
    fs::remove_file(&two).expect("removed");
    let after = fs::metadata(&one).expect("there");
    assert_eq!(after.nlink(), 1);
    assert!((after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()));

    fs::hard_link(&one, &two).expect("linked");
    let open = File::open(&two).expect("there");
    fs::write(mount.path("three"), b"y").expect("written");
    fs::rename(mount.path("three"), &two).expect("replaced");
    assert_eq!(open.metadata().expect("open").nlink(), 1);
    assert_eq!(fs::metadata(&one).expect("there").nlink(), 1);
}

#[test]
fn a_directory_knows_of_its_changes() {
    let mount = TestMount::new();
    let dir = mount.path("dir");
    fs::create_dir(&dir).expect("made");
    let mut last = fs::metadata(&dir).expect("there");
    assert_eq!(last.nlink(), 2);
    let mut changed = |nlink: u64, what: &str| {
        let now = fs::metadata(&dir).expect("there");
        assert_eq!(now.nlink(), nlink, "{what}");
        assert!((now.mtime(), now.mtime_nsec()) > (last.mtime(), last.mtime_nsec()), "{what}");
        last = now;
    };
    fs::create_dir(dir.join("sub")).expect("made");
    changed(3, "a subdirectory");
    fs::write(dir.join("file"), b"").expect("made");
    changed(3, "a file");
    fs::rename(dir.join("file"), dir.join("other")).expect("renamed");
    changed(3, "a rename within");
    fs::rename(dir.join("sub"), mount.path("sub")).expect("renamed");
    changed(2, "a subdirectory that left");
    fs::remove_file(dir.join("other")).expect("removed");
    changed(2, "a file removed");
    assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 0);
}

#[test]
fn a_write_changes_size_and_times_at_once() {
    let mount = TestMount::new();
    let file = File::create(mount.path("file")).expect("created");
    let before = file.metadata().expect("open");
    file.write_all_at(&[1; 5000], 100).expect("written");
    let after = fs::metadata(mount.path("file")).expect("there");
    assert_eq!(after.len(), 5100);
    assert!((after.mtime(), after.mtime_nsec()) > (before.mtime(), before.mtime_nsec()));
}

#[test]
fn a_write_by_another_user_clears_set_id_bits() {
    let mount = TestMount::new();
    let tool = mount.path("tool");
    for script in [
        "echo x >> tool",
        "echo x > tool",
        "truncate -s 10 tool",
        "fallocate -l 10 tool",
        "dd if=/dev/zero of=tool bs=4096 count=1 conv=notrunc oflag=direct status=none",
    ] {
        fs::write(&tool, b"tool").expect("written");
        fs::set_permissions(&tool, PermissionsExt::from_mode(0o6777)).expect("ours");
        assert_eq!(fs::metadata(&tool).expect("there").mode() & 0o7777, 0o6777);
        assert!(mount.run_as_nobody(script), "{script}");
        assert_eq!(fs::metadata(&tool).expect("there").mode() & 0o7777, 0o777, "{script}");
    }
}

#[test]
fn a_write_by_root_keeps_set_id_bits() {
    let mount = TestMount::new();
    let tool = mount.path("tool");
    fs::write(&tool, b"tool").expect("written");
    fs::set_permissions(&tool, PermissionsExt::from_mode(0o6755)).expect("ours");
    OpenOptions::new().write(true).open(&tool).expect("there").write_all_at(b"T", 0).expect("written");
    assert_eq!(fs::metadata(&tool).expect("there").mode() & 0o7777, 0o6755);
}

#[test]
fn set_id_bits_and_devices_work_on_a_mount_by_root() {
    let mount = TestMount::new();
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let null = rustix::fs::makedev(1, 3);
    let device = mount.path("null");
    rustix::fs::mknodat(rustix::fs::CWD, &device, rustix::fs::FileType::CharacterDevice, mode, null)
        .expect("made");
    fs::write(&device, b"gone").expect("the device swallows it");

    let id = mount.path("id");
    install("/usr/bin/id", &id);
    rustix::fs::chown(&id, Some(rustix::fs::Uid::from_raw(1234)), None).expect("root");
    fs::set_permissions(&id, PermissionsExt::from_mode(0o4755)).expect("root");
    assert!(mount.run_as_nobody("test \"$(./id -u)\" = 1234"));
}

#[test]
fn a_direct_write_is_seen_by_buffered_readers() {
    #[repr(align(4096))]
    struct Aligned([u8; 4096]);

    let mount = TestMount::new();
    let path = mount.path("file");
    fs::write(&path, vec![1; 8192]).expect("written");
    let reader = File::open(&path).expect("there");
    let mut buf = [0; 8192];
    reader.read_exact_at(&mut buf, 0).expect("whole");
    let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&path).expect("there");
    direct.write_all_at(&Aligned([2; 4096]).0, 4096).expect("written");
    reader.read_exact_at(&mut buf, 0).expect("whole");
    assert_eq!((buf[0], buf[4096], buf[8191]), (1, 2, 2));
}

#[test]
fn a_file_opened_for_direct_io_can_be_mapped_and_both_see_each_other() {
    #[repr(align(4096))]
    struct Aligned([u8; 4096]);

    let mount = TestMount::new();
    fs::write(mount.path("file"), [1; 4096]).expect("written");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(mount.path("file"));
    let file = file.expect("there");
    let map = Mapping::new(&file, 4096);
    assert_eq!(map.get(9), 1);
    file.write_all_at(&Aligned([2; 4096]).0, 0).expect("written");
    assert_eq!(map.get(9), 2);
    map.set(9, 3);
    map.sync();
    let mut buf = Aligned([0; 4096]);
    file.read_exact_at(&mut buf.0, 0).expect("whole");
    assert_eq!((buf.0[8], buf.0[9]), (2, 3));
}

#[test]
fn times_before_1970_are_kept() {
    let mount = TestMount::new();
    let file = File::create(mount.path("old")).expect("created");
    let time = rustix::fs::Timespec { tv_sec: -3, tv_nsec: 250_000_000 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::futimens(&file, &times).expect("ours");
    // A GETATTR, so that it is what we keep and not what the kernel remembers.
    file.write_all_at(b"", 0).expect("nothing");
    fs::set_permissions(mount.path("old"), PermissionsExt::from_mode(0o600)).expect("ours");
    let meta = fs::metadata(mount.path("old")).expect("there");
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-3, 250_000_000));
}

#[test]
fn a_running_program_is_not_truncated_by_an_open_that_fails() {
    let mount = TestMount::new();
    let sleep = mount.path("sleep");
    install("/bin/sleep", &sleep);
    let size = fs::metadata(&sleep).expect("there").len();
    let mut running = Command::new(&sleep).arg("1000").spawn().expect("executable");
    let truncate = || OpenOptions::new().read(true).custom_flags(libc::O_TRUNC).open(&sleep);
    let refused = truncate().map(drop).map_err(|error| error.raw_os_error());
    let kept = fs::metadata(&sleep).expect("there").len();
    running.kill().expect("ours");
    running.wait().expect("ours");
    assert_eq!(refused, Err(Some(libc::ETXTBSY)));
    assert_eq!(kept, size);
}

/// A shared mapping of the beginning of a file.
struct Mapping {
    start: *mut u8,
    bytes: usize,
}

#[expect(unsafe_code, reason = "mmap(2) is what is tested")]
impl Mapping {
    fn new(file: &File, bytes: usize) -> Self {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at a place of the kernel's choice overlays nothing.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), bytes, protection, flags, file, 0) };
        Mapping { start: start.expect("mappable").cast(), bytes }
    }

    fn get(&self, at: usize) -> u8 {
        assert!(at < self.bytes);
        // SAFETY: within the mapping, which lives as long as `self`. Volatile, since the kernel
        // changes it as well.
        unsafe { self.start.add(at).read_volatile() }
    }

    fn set(&self, at: usize, byte: u8) {
        assert!(at < self.bytes);
        // SAFETY: as for `get`, and the mapping is writable.
        unsafe { self.start.add(at).write_volatile(byte) }
    }

    fn sync(&self) {
        // SAFETY: exactly the mapping.
        unsafe { rustix::mm::msync(self.start.cast(), self.bytes, rustix::mm::MsyncFlags::SYNC) }
            .expect("synced");
    }
}

#[expect(unsafe_code, reason = "mmap(2) is what is tested")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping, to which nothing refers any more.
        unsafe { rustix::mm::munmap(self.start.cast(), self.bytes) }.expect("a mapping");
    }
}
