//! A daemon on a data directory of its own, and its mounts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::{Helper, finish, wait_until};
use super::scratch::{Scratch, mounts_below};

/// A running daemon. SIGKILL and start again as often as wanted; all is cleared away on drop.
#[derive(Debug)]
pub(crate) struct Daemon {
    data: PathBuf,
    args: Vec<OsString>,
    process: Option<Helper>,
    // Last: its directories go after the daemon that uses them.
    scratch: Scratch,
}

/// A mounted volume: only its name and place; the daemon's guard unmounts.
#[derive(Debug, Clone)]
pub(crate) struct Mount {
    volume: String,
    dir: PathBuf,
}

impl Mount {
    /// The directory that it is mounted on.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Daemon {
    /// Starts a daemon with default options on a new data directory.
    pub(crate) fn new(test: &str) -> Self {
        Self::with_args(test, Vec::new())
    }

    /// Starts a daemon with a memory budget of so many MiB on a new data directory.
    pub(crate) fn with_memory(test: &str, mib: u64) -> Self {
        Self::with_args(test, vec!["--memory".into(), format!("{mib}M").into()])
    }

    fn with_args(test: &str, args: Vec<OsString>) -> Self {
        let scratch = Scratch::new(test);
        let data = scratch.dir("data");
        let mut daemon = Self { data, args, process: None, scratch };
        daemon.start();
        daemon
    }

    /// A place for files that are not on a volume.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The daemon's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the daemon was killed and not started again").pid()
    }

    /// Starts the daemon after [`Self::kill`], and waits until it answers.
    pub(crate) fn start(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.scratch.path().join("daemon.log"))
            .expect("the scratch directory is writable");
        let mut process = Helper::start(firn(), |command| {
            command.args(["--data-dir".as_ref(), self.data.as_os_str()]).arg("daemon").args(&self.args);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        });
        wait_until("the daemon to answer", || {
            assert!(process.runs(), "the daemon ended at its start:\n{}", self.log());
            // Only once the lock is taken: a command that finds no daemon starts one of its own.
            self.locked_by() == Some(process.pid()) && self.try_firn(["status"]).is_ok()
        });
        self.process = Some(process);
    }

    /// The process id in the lock file of the data directory.
    fn locked_by(&self) -> Option<u32> {
        std::fs::read_to_string(self.data.join("lock")).ok()?.trim().parse().ok()
    }

    /// SIGKILL, as a crash would. Mounts turn dead: every access fails with ENOTCONN.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGKILL, start, and mount again over the dead mounts.
    pub(crate) fn crash(&mut self, mounts: &[&Mount]) {
        self.kill();
        self.start();
        for mount in mounts {
            self.mount_at(&mount.volume, &mount.dir);
        }
    }

    /// What the daemon wrote to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("daemon.log")).unwrap_or_default()
    }

    /// Creates a volume and mounts it.
    pub(crate) fn volume(&self, name: &str) -> Mount {
        self.firn(["create", name]);
        self.mount(name)
    }

    /// Mounts a volume at a directory of its name.
    pub(crate) fn mount(&self, volume: &str) -> Mount {
        let dir = self.scratch.dir(&format!("mnt-{volume}"));
        self.mount_at(volume, &dir);
        Mount { volume: volume.to_owned(), dir }
    }

    fn mount_at(&self, volume: &str, dir: &Path) {
        self.firn(["mount".as_ref(), volume.as_ref(), dir.as_os_str()]);
    }

    /// Unmounts it and waits for the flush.
    pub(crate) fn umount(&self, mount: &Mount) {
        self.firn(["umount".as_ref(), mount.dir.as_os_str()]);
    }

    /// Runs a `firn` command on this data directory that must succeed.
    pub(crate) fn firn<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.try_firn(args).unwrap_or_else(|error| panic!("{error}\nThe daemon's log:\n{}", self.log()))
    }

    /// Runs a `firn` command on this data directory.
    pub(crate) fn try_firn<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String, String> {
        finish(Command::new(firn()).args(["--data-dir".as_ref(), self.data.as_os_str()]).args(args))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("The daemon's log, its end:\n{}", tail(&self.log()));
        }
        self.kill();
        debug_assert!(self.process.is_none());
        for dir in mounts_below(self.scratch.path()) {
            let _ = super::process::try_run("umount", ["--lazy".as_ref(), dir.as_os_str()]);
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The binary under test: `FIRN_BIN`, or the one that was built with this test program.
fn firn() -> PathBuf {
    if let Some(path) = std::env::var_os("FIRN_BIN") {
        return path.into();
    }
    // target/<profile>/deps/<test> → target/<profile>/firn
    let test = std::env::current_exe().expect("Linux names the running program");
    let profile = test.parent().and_then(Path::parent).expect("tests are built two levels down");
    profile.join("firn")
}
