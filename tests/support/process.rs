//! Child processes that never outlive the test, and waits that end.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Runs a program to its end and returns its output; a start that fails or a failing status is an error
/// that carries what the program said.
pub(crate) fn try_run<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = S>,
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args);
    finish(&mut command)
}

/// Runs a command to its end; as [`try_run`].
pub(crate) fn finish(command: &mut Command) -> Result<String, String> {
    let output: Output =
        command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: cannot start: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(said.into_owned());
    }
    Err(format!("{command:?}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Runs a program that must succeed.
pub(crate) fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> String {
    try_run(program, args).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends SIGKILL to a process and waits until it is gone.
pub(crate) fn stop(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // ESRCH: it has ended by itself, which is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
    wait_until(&format!("process {pid} to end"), || ended(pid));
}

/// True once the process no longer runs; a zombie, which only its parent can clear, has ended.
fn ended(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

/// Polls until the condition holds.
///
/// # Panics
/// After two minutes: long enough for any loaded machine, short enough to be noticed.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "waited two minutes for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A child process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Helper {
    child: Child,
}

impl Helper {
    /// Starts it, so that it dies with the thread that started it, however that ends.
    pub(crate) fn start(program: impl AsRef<OsStr>, configure: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        configure(&mut command);
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// True while it runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child that nobody else waits for")
    }

    /// Sends SIGKILL and waits.
    pub(crate) fn kill(&mut self) {
        // An error says that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.kill();
    }
}
