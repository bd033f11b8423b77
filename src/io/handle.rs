//! Files of a mount by inode number rather than by path, and starting their writeback.

#![expect(unsafe_code, reason = "open_by_handle_at and sync_file_range have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// The kernel's type of a FUSE file handle: 64 bits of inode number, 32 of generation.
const FILEID_INO64_GEN: i32 = 0x81;
const HANDLE_BYTES: u32 = 12;

/// `struct file_handle` with the bytes of a FUSE handle. The kernel packs the inode number as two
/// words, the upper one first.
#[repr(C)]
struct FuseHandle {
    bytes: u32,
    kind: i32,
    inode_high: u32,
    inode_low: u32,
    generation: u32,
}

const _: () = assert!(size_of::<FuseHandle>() == 20);

/// Opens a file of a FUSE mount that the kernel has in its inode cache, as it has every open one.
/// `mount` is any open directory of it. Needs `CAP_DAC_READ_SEARCH`.
///
/// # Errors
/// `ESTALE` when the inode is not cached (any more), `EPERM` without the capability.
pub fn open_fuse_inode(mount: impl AsFd, inode: u64) -> io::Result<OwnedFd> {
    let mut handle = FuseHandle {
        bytes: HANDLE_BYTES,
        kind: FILEID_INO64_GEN,
        inode_high: u32::try_from(inode >> 32).expect("the upper half"),
        inode_low: u32::try_from(inode & u64::from(u32::MAX)).expect("the lower half"),
        generation: 0,
    };
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: `handle` has the layout of a `file_handle` with `bytes` bytes behind its head, and lives
    // during the call; the descriptor is open.
    let fd = unsafe {
        libc::open_by_handle_at(
            mount.as_fd().as_raw_fd(),
            (&raw mut handle).cast::<libc::file_handle>(),
            flags,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Hands every dirty page of a file in the kernel's page cache to its filesystem, and waits until the
/// filesystem has taken it. No fsync.
///
/// # Errors
/// Those of the writeback.
pub fn write_out(file: impl AsFd) -> io::Result<()> {
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: no memory is passed; the descriptor is open.
    let result = unsafe { libc::sync_file_range(file.as_fd().as_raw_fd(), 0, 0, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
