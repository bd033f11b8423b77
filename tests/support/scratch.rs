//! A directory of one test, below `FIRN_TEST_DIR` or /var/tmp (a real disk, and reachable by the
//! unprivileged users that databases run as), removed when the guard is dropped.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::try_run;

const PREFIX: &str = "firn-test-";

/// A directory named after the process that made it: that is how a later test knows that it is stale.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new empty directory, after sweeping what killed test programs left behind.
    pub(crate) fn new(test: &str) -> Self {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        // Relaxed: only distinctness matters.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = parent().join(format!("{PREFIX}{}-{serial}-{test}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("create {}: {e}", path.display()));
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("the directory is ours");
        Self { path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("create {}: {e}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        clear(&self.path);
    }
}

fn parent() -> PathBuf {
    std::env::var_os("FIRN_TEST_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// Detaches every mount below `dir` and removes it; a directory with a live mount in it is left alone.
fn clear(dir: &Path) {
    for mount in mounts_below(dir) {
        // Lazily: a dead mount cannot be unmounted in any other way while something has files open in it.
        let _ = try_run("umount", ["--lazy".as_ref(), mount.as_os_str()]);
    }
    if mounts_below(dir).is_empty() {
        let _ = fs::remove_dir_all(dir);
    }
}

/// Removes the directories of test programs that no longer run.
fn sweep() {
    let Ok(entries) = fs::read_dir(parent()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            clear(&entry.path());
        }
    }
}

/// Mount points below `dir`, the innermost first.
pub(super) fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("Linux has /proc mounted");
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|mount| mount.starts_with(dir))
        .collect();
    found.sort_by_key(|mount| std::cmp::Reverse(mount.components().count()));
    found
}
