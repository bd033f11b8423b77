//! What a process and a directory use, as the kernel says.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// Resident memory of a process now, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    status_field(pid, "VmRSS:")
}

/// The most memory that the process has had resident since it started, in bytes.
pub(crate) fn resident_max(pid: u32) -> u64 {
    status_field(pid, "VmHWM:")
}

fn status_field(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field of every process");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kib * KIB
}

/// Bytes of disk that the files below a directory occupy.
pub(crate) fn occupied(dir: &Path) -> u64 {
    // A file that vanishes meanwhile occupies nothing.
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => occupied(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
