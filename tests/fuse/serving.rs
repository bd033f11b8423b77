//! A mount that is in trouble: handlers that panic, a log that stalls, connections that are cut.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;

use firnfs::fuse::End;

use crate::test_mount::{PATIENCE, TestMount};

fn errno(result: std::io::Result<()>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_panic_fails_its_request_and_the_mount_lives_on() {
    let mount = TestMount::new();
    // More often than there are threads: a thread that died would be missed.
    for _ in 0..20 {
        mount.pages.panic_on_apply(1);
        assert_eq!(errno(fs::create_dir(mount.path("dir"))), Some(libc::EIO));
    }
    mount.pages.no_room();
    for _ in 0..20 {
        mount.pages.panic_on_apply(1);
        assert_eq!(errno(fs::create_dir(mount.path("dir"))), Some(libc::EIO));
    }
    fs::create_dir(mount.path("dir")).expect("made");
}

#[test]
fn reads_go_on_while_more_writers_wait_than_there_are_threads() {
    let mount = TestMount::new();
    fs::write(mount.path("file"), [1; 100]).expect("written");
    mount.pages.stall();
    thread::scope(|scope| {
        for n in 0..40 {
            let path = mount.path(&format!("dir{n}"));
            scope.spawn(move || fs::create_dir(path).expect("made in the end"));
        }
        mount.requests.wait_for("MKDIR");
        let file = File::open(mount.path("file")).expect("there");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
        let mut buf = [0; 100];
        file.read_exact_at(&mut buf, 0).expect("whole");
        assert_eq!(buf, [1; 100]);
        mount.pages.resume();
    });
    assert_eq!(fs::read_dir(mount.mount.target()).expect("a directory").count(), 41);
}

#[test]
fn requests_that_wait_end_in_an_error_when_the_connection_is_cut() {
    let mount = TestMount::new();
    let file = File::create(mount.path("file")).expect("created");
    mount.pages.hold_syncs();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| file.sync_all());
        mount.requests.wait_for("FSYNC");
        mount.mount.abort().expect("root may");
        assert!(waiting.join().expect("no panic").is_err());
    });
    assert_eq!(mount.ended.recv_timeout(PATIENCE), Ok(End::Aborted));
    assert_eq!(mount.mount.wait(), End::Aborted);
    // A reply that nobody waits for any more harms nobody.
    mount.pages.release_syncs();
    assert_eq!(errno(fs::create_dir(mount.path("dir"))), Some(libc::ENOTCONN));
}

#[test]
fn a_failed_sync_reaches_the_caller() {
    let mount = TestMount::new();
    let file = File::create(mount.path("file")).expect("created");
    mount.pages.fail_syncs();
    assert_eq!(errno(file.sync_all()), Some(libc::EIO));
    assert_eq!(errno(File::open(mount.mount.target()).expect("the root").sync_all()), Some(libc::EIO));
}
