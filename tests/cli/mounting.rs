//! Mounts through the real kernel: made, used, forked, killed, made again.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Said, World, text, wait_for};

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

/// Writes a file and syncs it.
fn write_synced(path: &Path, content: &str) {
    let mut file = fs::File::create(path).expect("mounted for writing");
    file.write_all(content.as_bytes()).expect("space");
    file.sync_all().expect("the log works");
}

#[test]
fn what_was_fsynced_survives_a_kill_of_the_daemon() {
    let world = World::new();
    let mount = world.mounted("db");
    write_synced(&mount.join("a"), "one");
    world.end_daemon(Signal::KILL);
    assert!(fs::read(mount.join("a")).is_err(), "a dead mount gives errors, not the bare directory");
    world.done(&["mount", "db", text(&mount)]);
    assert_eq!(read(&mount.join("a")), "one");
    assert!(world.done(&["check", "db"]).contains("no damage"));
}

#[test]
fn a_fork_has_what_was_written_before_it_and_nothing_after() {
    let world = World::new();
    let mount = world.mounted("db");
    fs::write(mount.join("a"), "before").expect("mounted");
    world.done(&["fork", "db", "copy"]);
    fs::write(mount.join("a"), "after!").expect("mounted");
    let copy = world.dir("copy");
    world.done(&["mount", "copy", text(&copy)]);
    assert_eq!(read(&copy.join("a")), "before");
    fs::write(copy.join("a"), "other").expect("a fork is writable");
    assert_eq!(read(&mount.join("a")), "after!");
    world.end_daemon(Signal::KILL);
    world.done(&["mount", "copy", text(&copy)]);
    assert_eq!(read(&copy.join("a")).len().min(5), 5, "the fork itself was durable");
}

#[test]
fn a_snapshot_is_read_only_and_a_rollback_brings_it_back() {
    let world = World::new();
    let mount = world.mounted("db");
    fs::write(mount.join("a"), "old").expect("mounted");
    world.done(&["snapshot", "db", "s"]);
    fs::write(mount.join("a"), "new").expect("mounted");
    let old = world.dir("old");
    world.done(&["mount", "db@s", text(&old)]);
    assert_eq!(read(&old.join("a")), "old");
    assert_eq!(fs::write(old.join("b"), "x").expect_err("read-only").raw_os_error(), Some(libc::EROFS));
    assert!(world.refused(&["rollback", "db@s"]).contains("mounted"));
    world.done(&["umount", "db"]);
    world.done(&["rollback", "db@s"]);
    world.done(&["mount", "db", text(&mount)]);
    assert_eq!(read(&mount.join("a")), "old");
}

#[test]
fn what_is_mounted_is_not_removed_and_not_mounted_for_writing_twice() {
    let world = World::new();
    let mount = world.mounted("db");
    assert!(world.refused(&["rm", "db"]).contains("firn umount db"));
    let other = world.dir("other");
    assert!(world.refused(&["mount", "db", text(&other)]).contains("mounted"));
    world.done(&["mount", "db", text(&other), "--read-only"]);
    world.done(&["umount", text(&other)]);
    world.done(&["umount", text(&mount)]);
    world.done(&["rm", "db"]);
}

#[test]
fn a_mount_point_must_be_a_free_directory() {
    let world = World::new();
    let mount = world.mounted("db");
    world.done(&["create", "second"]);
    let file = world.dir("files").join("file");
    fs::write(&file, "").expect("space");
    assert!(world.refused(&["mount", "second", text(&file)]).contains("not a directory"));
    assert!(
        world.refused(&["mount", "second", text(&file.with_file_name("none"))]).contains("does not exist")
    );
    assert!(world.refused(&["mount", "second", text(&mount)]).contains("firn volume db is mounted there"));
    assert_eq!(
        world.json(&["ls"])[1]["mounts"].as_array().map(Vec::len),
        Some(0),
        "the failures left no mount"
    );
}

#[test]
fn umount_takes_a_volume_a_directory_or_a_dead_mount() {
    let world = World::new();
    let mount = world.mounted("db");
    assert!(world.done(&["umount", "db"]).contains("everything written is durable"));
    assert!(world.refused(&["umount", "db"]).contains("not mounted"));
    assert!(world.refused(&["umount", text(&mount)]).contains("not mounted"));
    world.done(&["mount", "db", text(&mount)]);
    world.end_daemon(Signal::KILL);
    let said = world.json(&["umount", text(&mount)]);
    assert_eq!(said[0]["dead"], true);
    assert_eq!(said[0]["source"]["volume"], "db");
    assert!(world.mounts().is_empty());
}

#[test]
fn a_busy_mount_is_unmounted_only_lazily() {
    let world = World::new();
    let mount = world.mounted("db");
    let mut file = fs::File::create(mount.join("file")).expect("mounted");
    assert!(world.refused(&["umount", "db"]).contains("busy"));
    world.done(&["umount", "--lazy", "db"]);
    assert!(world.mounts().is_empty());
    file.write_all(b"late").expect("an open file is served to its end");
    drop(file);
    world.done(&["mount", "db", text(&mount), "--read-only"]);
    assert_eq!(read(&mount.join("file")), "late");
}

#[test]
fn an_unmount_by_the_kernel_frees_the_volume() {
    let world = World::new();
    let mount = world.mounted("db");
    fs::write(mount.join("a"), "x").expect("mounted");
    let child = world.command(&["mount", "db", text(&world.dir("stay")), "--read-only", "--foreground"]);
    let mut child = child;
    let child = child.spawn().expect("firn runs");
    while world.mounts().len() < 2 {
        std::thread::yield_now();
    }
    rustix::mount::unmount(world.dir("stay"), rustix::mount::UnmountFlags::DETACH).expect("mounted");
    assert!(wait_for(child).ok, "who attends a mount hears of its end");
    rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::empty()).expect("nobody is in it");
    world.done(&["sync", "db"]);
}

#[test]
fn a_mount_in_the_foreground_is_its_own_daemon_and_ends_with_a_signal() {
    let world = World::new();
    world.done(&["create", "db"]);
    world.end_daemon(Signal::TERM);
    let mount = world.dir("m");
    let child = world.command(&["mount", "db", text(&mount), "--foreground"]).spawn().expect("firn runs");
    while world.mounts().is_empty() {
        std::thread::yield_now();
    }
    fs::write(mount.join("a"), "x").expect("mounted");
    assert_eq!(world.daemon(), Some(Pid::from_child(&child)));
    assert!(world.done(&["ls"]).contains(text(&mount)), "it serves others as well");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("ours");
    let said = wait_for(child);
    assert!(said.ok, "{}", said.stderr);
    assert!(world.mounts().is_empty());
}

#[test]
fn a_foreground_mount_that_fails_says_why_and_leaves_no_daemon() {
    let world = World::new();
    world.done(&["create", "db"]);
    world.end_daemon(Signal::TERM);
    let said = world.firn(&["mount", "nope", text(&world.dir("m")), "--foreground"]);
    assert!(!said.ok);
    assert!(said.stderr.lines().last().expect("it says").contains("no volume nope"), "{}", said.stderr);
    assert_eq!(world.daemon(), None);
}

#[test]
fn the_mount_helper_mounts_with_the_options_of_fstab() {
    let world = World::new();
    world.done(&["create", "db"]);
    let mount = world.dir("m");
    let options =
        format!("defaults,nofail,_netdev,x-systemd.automount,ro,nosuid,data-dir={}", text(&world.data));
    let helper = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        command.arg0("/sbin/mount.fuse.firn").args(arguments).env_remove("FIRN_DATA_DIR");
        Said::from(command.output().expect("firn runs"))
    };
    let said = helper(&["db", text(&mount), "-n", "-o", &options, "-t", "fuse.firn"]);
    assert!(said.ok, "{}", said.stderr);
    let table = read(Path::new("/proc/self/mountinfo"));
    let line = table.lines().find(|line| line.contains(text(&mount))).expect("it is mounted");
    assert!(line.contains(" - fuse.firn db ") && line.contains("ro,nosuid"), "{line}");
    let said = helper(&["nope", text(&mount), "-o", &options]);
    assert!(!said.ok && said.stderr.contains("no volume nope"), "{}", said.stderr);
}

#[test]
fn a_fork_contains_stores_through_a_mapping_that_is_still_open() {
    let world = World::new();
    let mount = world.mounted("db");
    let path = mount.join("mapped");
    write_synced(&path, &"-".repeat(8192));
    let mapping = Mapping::of(&path, 8192);
    mapping.store(5000, b"stored");
    world.done(&["fork", "db", "copy"]);
    mapping.store(5000, b"later!");
    let copy = world.dir("copy");
    world.done(&["mount", "copy", text(&copy)]);
    assert_eq!(&fs::read(copy.join("mapped")).expect("there")[5000..5006], b"stored");
}

#[test]
fn a_damaged_page_is_eio_alone_and_check_and_log_name_it() {
    let world = World::new();
    let mount = world.mounted("db");
    let page = "firn-page-to-be-damaged ".repeat(200);
    write_synced(&mount.join("bad"), &page);
    write_synced(&mount.join("good"), "good");
    world.end_daemon(Signal::KILL);
    let damaged = heap_files(&world).iter().filter(|path| damage(path, page.as_bytes())).count();
    assert_eq!(damaged, 1, "the page is in one heap file");
    world.done(&["mount", "db", text(&mount)]);
    assert_eq!(fs::read(mount.join("bad")).expect_err("damaged").raw_os_error(), Some(libc::EIO));
    assert_eq!(read(&mount.join("good")), "good");
    let said = world.firn(&["check"]);
    assert_eq!(said.code, Some(1));
    assert!(said.stdout.contains("1 damaged") && said.stderr.contains("EIO"), "{said:?}");
    let log = read(&world.data.join("daemon.log"));
    assert!(log.contains("checksum") || log.contains("damaged"), "{log}");
}

fn heap_files(world: &World) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(&world.data).expect("there");
    let paths = entries.map(|entry| entry.expect("there").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "firn")).collect()
}

/// Flips a bit of the first page-aligned place that begins as `content` does; says whether there is one.
fn damage(path: &Path, content: &[u8]) -> bool {
    let mut bytes = fs::read(path).expect("there");
    let Some(page) = bytes.chunks_mut(4096).find(|page| page.starts_with(&content[..64])) else {
        return false;
    };
    page[100] ^= 1;
    fs::write(path, bytes).expect("ours");
    true
}

/// A shared writable mapping of a file.
struct Mapping {
    start: *mut u8,
    length: usize,
}

#[expect(unsafe_code, reason = "a mapping is what is tested")]
impl Mapping {
    fn of(path: &Path, length: usize) -> Self {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let file = fs::File::options().read(true).write(true).open(path).expect("there");
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping that overlaps nothing; the file is as long as it.
        let start = unsafe { mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, &file, 0) };
        Mapping { start: start.expect("mappable").cast(), length }
    }

    fn store(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length);
        // SAFETY: within the mapping, which lives as long as `self`; nobody else stores there.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) };
    }
}

#[expect(unsafe_code, reason = "a mapping is what is tested")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `of` made, used no more.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), self.length) };
    }
}
