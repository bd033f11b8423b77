//! Every size and bound of the program, in one place, with their relations asserted.

/// Bytes in a page.
pub const PAGE_BYTES: usize = 4096;
/// Pages in a block.
pub const PAGES_PER_BLOCK: u32 = 32;
/// Bytes in a block.
pub const BLOCK_BYTES: usize = PAGE_BYTES * PAGES_PER_BLOCK as usize;
/// Bytes in the name of a volume or snapshot, and in that of a file.
pub const NAME_BYTES_MAX: usize = 255;
/// Largest file, in bytes (16 TiB).
pub const FILE_BYTES_MAX: u64 = 16 << 40;
/// Largest write or read that one request carries, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Bytes in the target of a symbolic link (`PATH_MAX` without its zero byte).
pub const SYMLINK_BYTES_MAX: usize = 4095;
/// Names of one file, and directories in one directory; as much as the kernel's callers can count.
pub const LINKS_MAX: u32 = 0x7fff_ffff;
/// Bytes in the name of an extended attribute.
pub const XATTR_NAME_BYTES_MAX: usize = 255;
/// Bytes in the value of an extended attribute.
pub const XATTR_VALUE_BYTES_MAX: usize = 64 << 10;
/// Bytes of all extended attributes of one inode, names and values.
pub const XATTR_BLOB_BYTES_MAX: usize = 1 << 20;
/// Inode records kept in RAM besides those of open files (about 300 bytes each).
pub const INODES_CACHED_MAX: usize = 16 << 10;
/// Inode numbers that statfs(2) offers.
pub const INODES_MAX: u64 = 1 << 40;

const _: () = assert!(BLOCK_BYTES == 128 << 10);
const _: () = assert!(REQUEST_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(SYMLINK_BYTES_MAX < PAGE_BYTES);
const _: () = assert!(XATTR_BLOB_BYTES_MAX <= REQUEST_BYTES_MAX);
const _: () = assert!(FILE_BYTES_MAX.is_multiple_of(BLOCK_BYTES as u64));
