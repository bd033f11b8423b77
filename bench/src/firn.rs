//! A daemon and a volume of this benchmark's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::{Outcome, Tried, failed, message};

/// A daemon on a data directory below `--place`, removed with all it holds on drop.
pub struct Firn {
    binary: PathBuf,
    daemon: Option<Child>,
    place: TempDir,
}

impl Firn {
    /// Starts a daemon with default options.
    pub fn start(binary: &Path, place: &Path) -> Outcome<Self> {
        let binary = binary.canonicalize().tried_on("find", binary)?;
        let place = tempfile::Builder::new()
            .prefix("firn-bench-")
            .tempdir_in(place)
            .tried_on("make a directory in", place)?;
        // Databases run as users of their own.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(place.path(), open).tried_on("open", place.path())?;
        let mut firn = Self { binary, daemon: None, place };
        std::fs::create_dir(firn.data_dir()).tried("make the data directory")?;
        firn.start_daemon()?;
        Ok(firn)
    }

    fn data_dir(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.place.path().join("daemon.log")
    }

    /// Prints what the daemon complained about: for when a workload failed.
    pub fn complain(&self) {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| !line.contains(" INFO ")).for_each(|line| eprintln!("daemon: {line}"));
    }

    /// A directory on the same disk that is not on a volume.
    pub fn plain_dir(&self) -> Outcome<PathBuf> {
        let dir = self.place.path().join("plain");
        std::fs::create_dir_all(&dir).tried_on("create", &dir)?;
        Ok(dir)
    }

    /// Starts the daemon and waits until it has its data directory; commands wait for the rest.
    pub fn start_daemon(&mut self) -> Outcome<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log());
        let daemon = Command::new(&self.binary)
            .arg("--data-dir")
            .arg(self.data_dir())
            .arg("daemon")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.tried("make the daemon's log")?)
            .spawn()
            .tried_on("start", &self.binary)?;
        let pid = daemon.id().to_string();
        self.daemon = Some(daemon);
        let lock = self.data_dir().join("lock");
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::fs::read_to_string(&lock).map_or(true, |owner| owner.trim() != pid) {
            if Instant::now() > deadline {
                return Err(message("the daemon does not take its data directory"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill_daemon(&mut self) -> Outcome<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().tried("kill the daemon")?;
            daemon.wait().tried("wait for the daemon")?;
        }
        Ok(())
    }

    /// Runs a command of firn.
    pub fn run(&self, args: &[&str]) -> Outcome<String> {
        let output = Command::new(&self.binary)
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(args)
            .output()
            .tried_on("run", &self.binary)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(failed(format!("firn {}", args.join(" ")), String::from_utf8_lossy(&output.stderr)))
    }

    /// Mounts a volume at a directory of its name.
    pub fn mount(&self, volume: &str) -> Outcome<PathBuf> {
        let dir = self.place.path().join(format!("mnt-{volume}"));
        // A dead mount, which the command replaces, is there but cannot be looked at.
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed(format!("create {}", dir.display()), error));
            }
            _ => {}
        }
        let text = dir.to_str().ok_or_else(|| message("--place is not UTF-8"))?;
        self.run(&["mount", volume, text])?;
        Ok(dir)
    }
}

impl Drop for Firn {
    fn drop(&mut self) {
        let _ = self.kill_daemon();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for dir in table.lines().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(dir).starts_with(self.place.path()) {
                let _ = Command::new("umount").args(["--lazy", dir]).status();
            }
        }
    }
}
