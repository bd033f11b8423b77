//! Before a fork: bringing stores through shared writable mappings from the kernel to the daemon.
//!
//! Whatever `write()` took is in the daemon already. Stores through a mapping may still be in the
//! kernel, and `syncfs` does not wait for them, so each file that is open is opened once more by
//! handle and written out. It is the *command* that must do so: a thread of the daemon would wait for
//! the daemon. FUSE takes handles of cached inodes without a word to the daemon, and open ones are
//! cached; the capability to use them is root's alone. For others, and for files that are no longer
//! open, the promise is the general one: mapped stores are in the fork after `msync`, `munmap` or close.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::protocol::OpenFilesOf;
use crate::io::{open_fuse_inode, write_out};

/// Writes out the mapped stores of files that are open. Returns how many files could not
/// be, for whatever reason; one that was closed meanwhile has been written out by that.
pub fn write_out_mapped_stores(mounts: &[OpenFilesOf]) -> usize {
    mounts.iter().map(write_out_mount).sum()
}

fn write_out_mount(mount: &OpenFilesOf) -> usize {
    if mount.inodes.is_empty() {
        return 0;
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::open(&mount.directory, flags, Mode::empty()) else {
        return mount.inodes.len();
    };
    let failed = |inode: &&u64| match open_fuse_inode(&directory, **inode) {
        Ok(file) => write_out(&file).is_err(),
        Err(error) => error.raw_os_error() != Some(Errno::STALE.raw_os_error()),
    };
    mount.inodes.iter().filter(failed).count()
}
