//! What the machine, its control group and its limits allow this process.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use firnfs::control::Error;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer than these are not enough for the heap files, the mounts and the clients.
const DESCRIPTORS_MIN: u64 = 256;

/// Raises the limit of open files to the most that is allowed, and returns it.
pub(super) fn raise_descriptor_limit() -> Result<u64, Error> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(errno) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("cannot raise the limit of open files: {errno}");
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < DESCRIPTORS_MIN {
        return Err(Error::Start(format!(
            "only {allowed} open files are allowed, and {DESCRIPTORS_MIN} are needed; raise the hard limit \
             (`ulimit -Hn`, or LimitNOFILE= in a systemd unit)"
        )));
    }
    Ok(allowed)
}

/// The machine's memory, in bytes.
pub(super) fn memory_bytes() -> Result<u64, Error> {
    let unknown =
        |why: String| Error::Start(format!("cannot tell the machine's memory: {why}; say --memory SIZE"));
    let text = read_to_string("/proc/meminfo").map_err(|error| unknown(error.to_string()))?;
    meminfo_total(&text).ok_or_else(|| unknown("/proc/meminfo has no MemTotal".to_owned()))
}

/// The resident memory of this process, in bytes; 0 when the kernel does not say.
pub(super) fn resident_bytes() -> u64 {
    let pages = read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages.saturating_mul(u64::try_from(rustix::param::page_size()).unwrap_or(0))
}

/// The least memory limit of this process's control group and those above it, in bytes.
pub(super) fn cgroup_limit_bytes() -> Option<u64> {
    let groups = read_to_string("/proc/self/cgroup").ok()?;
    limit_files(&groups).iter().filter_map(|file| parse_limit(&read_to_string(file).ok()?)).min()
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that may hold a limit, for version 2 (`0::/path`) and version 1 (`N:memory:/path`).
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            (Path::new("/sys/fs/cgroup"), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = group.trim_start_matches('/');
        files.extend(
            root.join(group).ancestors().take_while(|dir| dir.starts_with(root)).map(|dir| dir.join(file)),
        );
    }
    files
}

/// `max`, and version 1's huge numbers, are no limit: the caller takes the minimum with the machine.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_meminfo_is_in_bytes() {
        assert_eq!(meminfo_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16384 * 1024));
        assert_eq!(meminfo_total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn limits_are_looked_for_in_the_group_and_all_above_it() {
        let files = limit_files("0::/user.slice/a\n");
        let expected = ["user.slice/a/memory.max", "user.slice/memory.max", "memory.max"];
        assert_eq!(files, expected.map(|file| Path::new("/sys/fs/cgroup").join(file)));
        let files = limit_files("5:cpu,memory:/x\n3:cpu:/x\n");
        assert_eq!(files[0], Path::new("/sys/fs/cgroup/memory/x/memory.limit_in_bytes"));
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn no_limit_is_none() {
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("1073741824\n"), Some(1 << 30));
    }
}
