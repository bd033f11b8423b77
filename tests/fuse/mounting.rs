//! Mounts made and ended, and the errors of those that cannot be.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use firnfs::fuse::{self, End, Error, Mount, mountinfo};

use crate::pages::{TestPages, open_fs};
use crate::test_mount::{PATIENCE, Requests, TestMount, open_dir, spec};

fn try_mount(target: &Path) -> Result<Mount, Error> {
    let pages = Arc::new(TestPages::default());
    fuse::mount(open_fs(&pages), spec(target, &Arc::new(Requests::default())), |_| ())
}

#[test]
fn a_mount_shows_its_volume_and_type() {
    let mount = TestMount::with(|spec| spec.source = "db@nightly, kept".to_owned());
    let mounts = mountinfo::read().expect("/proc");
    let entry = mountinfo::top_at(&mounts, mount.mount.target()).expect("mounted");
    assert!(entry.is_firn());
    assert_eq!(entry.source, "db@nightly, kept");
}

#[test]
fn readahead_is_a_mebibyte() {
    let mount = TestMount::new();
    let mounts = mountinfo::read().expect("/proc");
    let (major, minor) = mountinfo::top_at(&mounts, mount.mount.target()).expect("mounted").device;
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    assert_eq!(fs::read_to_string(path).expect("sysfs").trim(), "1024");
}

#[test]
fn an_unmount_ends_the_mount() {
    let mount = TestMount::new();
    fs::write(mount.path("file"), b"x").expect("written");
    mount.mount.unmount(false).expect("not in use");
    assert_eq!(mount.mount.wait(), End::Unmounted);
    assert_eq!(mount.ended.recv_timeout(PATIENCE), Ok(End::Unmounted));
    assert!(!mount.path("file").exists());
    mount.mount.unmount(false).expect("it is gone already");
    mount.mount.abort().expect("it is gone already");
}

#[test]
fn an_open_file_keeps_the_mount_and_the_error_says_so() {
    let mount = TestMount::new();
    let file = File::create(mount.path("file")).expect("created");
    let error = mount.mount.unmount(false).expect_err("in use");
    assert!(matches!(error, Error::Busy(_)), "{error}");
    assert!(error.to_string().contains(&mount.mount.target().display().to_string()), "{error}");
    drop(file);
    mount.mount.unmount(false).expect("not in use");
}

#[test]
fn a_lazy_unmount_serves_open_files_to_their_end() {
    let mount = TestMount::new();
    let file = File::create(mount.path("file")).expect("created");
    mount.mount.unmount(true).expect("lazy");
    assert!(!mount.path("file").exists());
    file.sync_all().expect("still served");
    assert_eq!(mount.mount.ended(), None);
    drop(file);
    assert_eq!(mount.ended.recv_timeout(PATIENCE), Ok(End::Unmounted));
}

#[test]
fn a_dead_mount_is_replaced() {
    let mount = TestMount::new();
    fs::write(mount.path("file"), b"x").expect("written");
    mount.mount.abort().expect("root may");
    assert_eq!(mount.mount.wait(), End::Aborted);
    let target = mount.mount.target();
    let again = try_mount(target).expect("over the dead one");
    fs::create_dir(target.join("dir")).expect("alive");
    // The old handle knows that what is there now is not its own.
    mount.mount.unmount(true).expect("gone already");
    assert!(target.join("dir").exists());
    again.unmount(false).expect("not in use");
    assert_eq!(again.wait(), End::Unmounted);
    let mounts = mountinfo::read().expect("/proc");
    assert!(mountinfo::top_at(&mounts, target).is_none(), "nothing lies beneath");
}

#[test]
fn a_mount_point_in_use_is_refused_by_name() {
    let mount = TestMount::new();
    let error = try_mount(mount.mount.target()).expect_err("in use");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(error.to_string().contains("firn volume test"), "{error}");
    let error = try_mount(Path::new("/proc")).expect_err("in use");
    assert!(error.to_string().contains("proc"), "{error}");
}

#[test]
fn a_missing_mount_point_is_refused_with_the_remedy() {
    let dir = open_dir();
    let error = try_mount(&dir.path().join("missing")).expect_err("missing");
    assert!(matches!(error, Error::MountPointMissing(_)), "{error}");
    assert!(error.to_string().contains("mkdir"), "{error}");
}

#[test]
fn a_file_is_no_mount_point() {
    let dir = open_dir();
    let file = dir.path().join("file");
    fs::write(&file, b"").expect("ours");
    for target in [file.clone(), file.join("below")] {
        let error = try_mount(&target).expect_err("no directory");
        assert!(matches!(error, Error::NotDirectory(_)), "{error}");
    }
}

#[test]
fn a_read_only_mount_refuses_changes() {
    let mount = TestMount::with(|spec| spec.read_only = true);
    let error = fs::create_dir(mount.path("dir")).expect_err("read-only");
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
}

#[test]
fn restrictions_reach_the_kernel() {
    let mount = TestMount::with(|spec| {
        spec.flags.nosuid = true;
        spec.flags.nodev = true;
        spec.flags.noexec = true;
    });
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    let target = mount.mount.target().display().to_string();
    let line = table.lines().find(|line| line.contains(&target)).expect("mounted");
    for word in ["nosuid", "nodev", "noexec", "noatime", "default_permissions", "allow_other"] {
        assert!(line.contains(word), "{word} in {line}");
    }
}
