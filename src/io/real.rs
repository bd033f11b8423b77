//! The real disk, clock and randomness.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the seam that the lint guards"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Clock, Disk, DiskFile, DiskUsage, Rng, Timestamp};

/// A directory on a local filesystem.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    dir: File,
}

impl RealDisk {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// When `path` is missing or no directory; nothing is created.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(RealDisk { path: path.to_owned(), dir })
    }

    /// The directory as it was opened, whatever its path leads to by now.
    fn join(&self, name: &str) -> PathBuf {
        debug_assert!(!name.contains('/') && !name.is_empty());
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd()))
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.join(name))?;
        Ok(Arc::new(RealFile::new(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile::new(OpenOptions::new().read(true).write(true).open(self.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.join(from), self.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(format!("/proc/self/fd/{}", self.dir.as_raw_fd()))? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn usage(&self) -> io::Result<DiskUsage> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(DiskUsage {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

/// An open file, and a second descriptor of it for direct I/O: `None` where the filesystem has none,
/// not there yet before the first write that wants it.
struct RealFile {
    file: File,
    direct: Mutex<Direct>,
}

enum Direct {
    Untried,
    Open(Arc<File>),
    Unsupported,
}

impl RealFile {
    fn new(file: File) -> Self {
        RealFile { file, direct: Mutex::new(Direct::Untried) }
    }

    fn direct(&self) -> Option<Arc<File>> {
        let mut direct = self.direct.lock();
        if matches!(*direct, Direct::Untried) {
            let again = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(again);
            *direct = opened.map_or(Direct::Unsupported, |file| Direct::Open(Arc::new(file)));
        }
        match &*direct {
            Direct::Open(file) => Some(file.clone()),
            Direct::Untried | Direct::Unsupported => None,
        }
    }
}

/// Alignment that suffices for direct I/O on every device.
const DIRECT_ALIGNMENT: usize = 4096;

fn is_aligned(parts: &[IoSlice<'_>], offset: u64) -> bool {
    let aligned = |part: &IoSlice<'_>| {
        part.as_ptr().addr().is_multiple_of(DIRECT_ALIGNMENT) && part.len().is_multiple_of(DIRECT_ALIGNMENT)
    };
    offset.is_multiple_of(DIRECT_ALIGNMENT as u64) && parts.iter().all(aligned)
}

impl DiskFile for RealFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, parts: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        let first = offset;
        let direct = if is_aligned(parts, offset) { self.direct() } else { None };
        let file = direct.as_deref().unwrap_or(&self.file);
        // Linux takes at most 1024 parts in one call.
        for chunk in parts.chunks(1024) {
            let mut copies: Vec<IoSlice<'_>> = chunk.to_vec();
            let mut rest = &mut copies[..];
            while !rest.is_empty() {
                match rustix::io::pwritev(file, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        offset += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(Errno::INTR) => {}
                    // The filesystem has direct I/O, but not so.
                    Err(Errno::INVAL) if direct.is_some() => {
                        *self.direct.lock() = Direct::Unsupported;
                        return self.write_all_at(parts, first);
                    }
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    fn forget_cached(&self, offset: u64, bytes: u64) {
        // Only advice: where it does not help, the next read says the same again.
        let _ = rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(bytes), rustix::fs::Advice::DontNeed);
    }

    fn writes_ended(&self) {
        *self.direct.lock() = Direct::Untried;
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            // A filesystem without it: at least the size is right.
            Err(Errno::OPNOTSUPP) => self.file.set_len(bytes),
            other => Ok(other?),
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    pub fn new() -> Self {
        SystemClock { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        };
        Timestamp { nanos }
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The kernel's random numbers.
#[derive(Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0_u8; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                // getrandom(2) fails only for bad arguments once the kernel has booted.
                Err(errno) => panic!("the kernel gives no random numbers: {errno}"),
            }
        }
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_an_error_and_is_not_made() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let missing = place.path().join("none");
        let error = RealDisk::open(&missing).expect_err("it is missing");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!missing.exists());
    }

    #[test]
    fn a_directory_that_was_replaced_is_still_the_one_in_use() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let (path, moved) = (place.path().join("data"), place.path().join("moved"));
        fs::create_dir(&path).expect("space");
        let disk = RealDisk::open(&path).expect("it is there");
        disk.create("first").expect("space");
        fs::rename(&path, &moved).expect("ours");
        fs::create_dir(&path).expect("space");
        disk.create("second").expect("space");
        disk.rename("second", "third").expect("it is there");
        disk.sync_dir().expect("it is there");
        let mut names = disk.list().expect("it is there");
        names.sort();
        assert_eq!(names, ["first", "third"]);
        assert!(moved.join("third").exists());
        assert_eq!(fs::read_dir(&path).expect("there").count(), 0, "nothing lands in what replaced it");
    }

    #[test]
    fn a_directory_that_was_removed_is_an_error() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("data");
        fs::create_dir(&path).expect("space");
        let disk = RealDisk::open(&path).expect("it is there");
        fs::remove_dir(&path).expect("ours");
        fs::create_dir(&path).expect("space");
        assert!(disk.create("file").is_err(), "it would be lost");
    }
}
