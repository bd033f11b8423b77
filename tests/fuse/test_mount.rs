//! A mount for one test, taken away when the test ends, however it ends.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use firnfs::fuse::{self, End, Mount, MountFlags, MountSpec};
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

use crate::pages::{TestPages, open_fs};

/// How long a test waits for what must come, before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A volume in memory, mounted.
pub(crate) struct TestMount {
    pub(crate) mount: Mount,
    pub(crate) pages: Arc<TestPages>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) ended: Receiver<End>,
    _dir: TempDir,
}

/// The requests that came, by name, in their order.
#[derive(Default)]
pub(crate) struct Requests {
    names: Mutex<Vec<&'static str>>,
    came: Condvar,
}

impl Requests {
    fn add(&self, name: &'static str) {
        self.names.lock().push(name);
        self.came.notify_all();
    }

    pub(crate) fn clear(&self) {
        self.names.lock().clear();
    }

    /// What came so far. When the kernel forgets an inode is its own affair.
    pub(crate) fn seen(&self) -> Vec<&'static str> {
        self.names.lock().iter().copied().filter(|name| *name != "FORGET").collect()
    }

    /// Waits for a request.
    pub(crate) fn wait_for(&self, name: &'static str) {
        let mut names = self.names.lock();
        while !names.contains(&name) {
            assert!(!self.came.wait_for(&mut names, PATIENCE).timed_out(), "{name} did not come: {names:?}");
        }
    }
}

pub(crate) fn spec(target: &Path, requests: &Arc<Requests>) -> MountSpec {
    let requests = Arc::clone(requests);
    MountSpec {
        source: "test".to_owned(),
        target: target.to_owned(),
        read_only: false,
        flags: MountFlags::default(),
        observer: Some(Arc::new(move |name| requests.add(name))),
    }
}

/// A directory that every user may pass.
pub(crate) fn open_dir() -> TempDir {
    let dir = TempDir::new().expect("a directory");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    dir
}

impl TestMount {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut MountSpec)) -> Self {
        let dir = open_dir();
        let pages = Arc::new(TestPages::default());
        let requests = Arc::new(Requests::default());
        let mut spec = spec(dir.path(), &requests);
        change(&mut spec);
        let (end, ended) = channel();
        let mount = fuse::mount(open_fs(&pages), spec, move |how| {
            // The test may be over.
            let _ = end.send(how);
        });
        TestMount { mount: mount.expect("root and /dev/fuse"), pages, requests, ended, _dir: dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.mount.target().join(name)
    }

    /// Runs a shell command as a user without rights; true when it succeeded.
    pub(crate) fn run_as_nobody(&self, script: &str) -> bool {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).current_dir(self.mount.target()).uid(65534).gid(65534);
        shell.status().expect("a shell").success()
    }
}

impl Drop for TestMount {
    fn drop(&mut self) {
        self.pages.resume();
        self.pages.release_syncs();
        if let Err(error) = self.mount.unmount(true) {
            eprintln!("left behind: {error}");
        }
    }
}
