//! A temporary data directory with the real `firn` on it. Whatever happens to a test, its daemon is
//! ended and its mounts are taken away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Longer than anything here takes: only a hang reaches it.
const HANG: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

pub(crate) struct World {
    temp: tempfile::TempDir,
    pub(crate) data: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_data("data")
    }

    /// With the data directory at a path below the temporary one.
    pub(crate) fn with_data(path: &str) -> Self {
        let temp = tempfile::Builder::new().prefix("firn-cli-").tempdir().expect("a temporary directory");
        let data = temp.path().join(path);
        World { temp, data }
    }

    /// A directory of this world, made when missing.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.temp.path().join(name);
        fs::create_dir_all(&path).expect("space for a directory");
        path
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        command.args(arguments).env("FIRN_DATA_DIR", &self.data).env_remove("NOTIFY_SOCKET");
        command.env("FIRN_MEMORY", "64M").current_dir(self.temp.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn firn(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().expect("firn runs"))
    }

    /// Runs a command that must succeed; returns its standard output.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let said = self.firn(arguments);
        assert!(said.ok, "firn {arguments:?}: {}", said.stderr);
        said.stdout
    }

    /// Runs a command that must fail with one line; returns the line.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let said = self.firn(arguments);
        assert!(!said.ok, "firn {arguments:?} succeeded: {}", said.stdout);
        assert_eq!(said.stderr.lines().count(), 1, "one line: {:?}", said.stderr);
        assert!(said.stderr.starts_with("firn: "), "{}", said.stderr);
        said.stderr
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        serde_json::from_str(&self.done(&arguments)).expect("one JSON document")
    }

    /// Makes a volume and mounts it; returns the mount point.
    pub(crate) fn mounted(&self, volume: &str) -> PathBuf {
        let directory = self.dir(&format!("mnt-{volume}"));
        self.done(&["create", volume]);
        self.done(&["mount", volume, text(&directory)]);
        directory
    }

    /// The pid of the daemon that holds the data directory.
    pub(crate) fn daemon(&self) -> Option<Pid> {
        let mut lock = File::open(self.data.join("lock")).ok()?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
            return None;
        }
        let mut pid = String::new();
        std::io::Read::read_to_string(&mut lock, &mut pid).ok()?;
        Pid::from_raw(pid.trim().parse().ok()?)
    }

    /// Sends the daemon a signal and waits for its end.
    pub(crate) fn end_daemon(&self, signal: Signal) {
        let pid = self.daemon().expect("a daemon runs");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
        kill_process(pid, signal).expect("it is ours");
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&HANG)).expect("no signal");
        assert_eq!(ended, 1, "the daemon ends");
    }

    /// What firn has mounted in this world.
    pub(crate) fn mounts(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
        let below = |line: &str| {
            let directory = PathBuf::from(line.split(' ').nth(4)?);
            (directory.starts_with(self.temp.path()) && line.contains(" - fuse.firn ")).then_some(directory)
        };
        table.lines().filter_map(below).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(pid) = self.daemon() {
            let process = pidfd_open(pid, PidfdFlags::empty());
            let _ = kill_process(pid, Signal::KILL);
            if let Ok(process) = process {
                let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&HANG));
            }
        }
        for directory in self.mounts() {
            let _ = unmount(&directory, UnmountFlags::DETACH);
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            ok: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours is text")
}

/// Waits for a child, or kills it and fails.
pub(crate) fn wait_for(child: Child) -> Said {
    let pid = Pid::from_child(&child);
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("it is not reaped yet");
    if poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&HANG)) != Ok(1) {
        let _ = kill_process(pid, Signal::KILL);
        panic!("the command hangs: {:?}", Said::from(child.wait_with_output().expect("ours")));
    }
    Said::from(child.wait_with_output().expect("it has ended"))
}
