//! The control server with a service that misbehaves.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use firnfs::base::Name;
use firnfs::control::protocol::{
    DaemonStatus, ListedVolume, MountInfo, OpenFilesOf, Progress, UnmountTarget,
};
use firnfs::control::{
    self, CheckReport, Client, CreateOptions, DataDir, Error, ForkReport, MountOptions, Report, Server,
    Service, SnapshotInfo, Source, VolumeInfo,
};

type Result<T> = std::result::Result<T, Error>;

/// Lists nothing, panics at a sync, reports progress at a check, and refuses the rest.
struct Misbehaving;

fn refused<T>() -> Result<T> {
    Err(Error::Refused("not by this one".to_owned()))
}

impl Service for Misbehaving {
    fn create(&self, _: &Name, _: &CreateOptions) -> Result<VolumeInfo> {
        refused()
    }
    fn mount(&self, _: &Source, _: &Path, _: &MountOptions) -> Result<MountInfo> {
        refused()
    }
    fn unmount(&self, _: &UnmountTarget, _: bool, _: Report<'_>) -> Result<Vec<MountInfo>> {
        refused()
    }
    fn await_unmount(&self, _: &Path, _: Duration) -> bool {
        false
    }
    fn fork(&self, _: &Source, _: &Name) -> Result<ForkReport> {
        refused()
    }
    fn snapshot(&self, _: &Name, _: &Name) -> Result<SnapshotInfo> {
        refused()
    }
    fn rollback(&self, _: &Name, _: &Name) -> Result<()> {
        refused()
    }
    fn remove(&self, _: &Source) -> Result<()> {
        refused()
    }
    fn list(&self) -> Result<Vec<ListedVolume>> {
        Ok(Vec::new())
    }
    fn status(&self, _: Option<&Name>) -> Result<DaemonStatus> {
        refused()
    }
    fn check(&self, _: Option<&Name>, report: Report<'_>) -> Result<CheckReport> {
        for done in 0..1000 {
            report(Progress { step: "checking".to_owned(), done, total: 1000 });
        }
        Ok(CheckReport::default())
    }
    fn sync(&self, _: &Name, _: Report<'_>) -> Result<()> {
        panic!("a defect")
    }
    fn open_files(&self, _: &Name) -> Result<Vec<OpenFilesOf>> {
        refused()
    }
    fn idle(&self) -> bool {
        true
    }
    fn shut_down(&self) -> Result<()> {
        Ok(())
    }
}

/// Serves until `client` is done with it. The service opens when `open` says so.
fn with_server(open: impl FnOnce() + Send + 'static, client: impl FnOnce(&DataDir)) {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = || DataDir::open(temp.path()).expect("it is there");
    let server = Server::bind(dir(), Some(Duration::ZERO)).expect("it is free");
    // So that it does not end before the client has come.
    let held = UnixStream::connect(temp.path().join("control.sock")).expect("it listens");
    let opening = move || {
        open();
        Ok(Arc::new(Misbehaving))
    };
    let (said, ready) = mpsc::channel();
    let serving = thread::spawn(move || server.run(opening, move || said.send(()).expect("the test waits")));
    client(&dir());
    drop(held);
    ready.recv().expect("it was ready");
    serving.join().expect("no panic of the server's own").expect("an orderly end");
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn greeted(dir: &DataDir) -> Client {
    control::connect(dir).expect("it listens")
}

#[test]
fn a_panic_in_a_verb_fails_that_request_alone() {
    with_server(
        || {},
        |dir| {
            let mut client = greeted(dir);
            let error = client.sync(&name("db"), &mut |_| {}).expect_err("it panics").to_string();
            assert!(error.contains("failed at this request"), "{error}");
            assert!(client.list().expect("the connection goes on").is_empty());
        },
    );
}

#[test]
fn a_refusal_reaches_the_client_in_its_own_words() {
    with_server(
        || {},
        |dir| {
            let error = greeted(dir).rollback(&name("db"), &name("s")).expect_err("refused");
            assert_eq!(error.to_string(), "not by this one");
        },
    );
}

#[test]
fn a_client_that_comes_while_the_directory_is_opened_waits_for_it() {
    let (open, may_open) = mpsc::channel();
    with_server(
        move || may_open.recv().expect("the test says so"),
        |dir| {
            thread::scope(|scope| {
                let client = scope.spawn(|| greeted(dir).list().expect("served").len());
                open.send(()).expect("it waits");
                assert_eq!(client.join().expect("no panic"), 0);
            });
        },
    );
}

#[test]
fn progress_is_told_without_flooding() {
    with_server(
        || {},
        |dir| {
            let mut seen = Vec::new();
            greeted(dir).check(None, &mut |progress| seen.push(progress.clone())).expect("it checks");
            assert!(
                seen.iter().all(|progress| progress.total == 1000 || progress.step.is_empty()),
                "{seen:?}"
            );
            assert!(seen.len() < 100, "{} reports", seen.len());
        },
    );
}

#[test]
fn a_locked_directory_is_not_served_twice() {
    with_server(
        || {},
        |dir| {
            let again = DataDir::open(dir.path()).expect("it is there");
            match Server::bind(again, None) {
                Err(Error::Locked { pid, .. }) => assert_eq!(pid, std::process::id()),
                other => panic!("{other:?}"),
            }
            greeted(dir).list().expect("the first one goes on");
        },
    );
}
