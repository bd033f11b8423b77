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

const _: () = assert!(BLOCK_BYTES == 128 << 10);
const _: () = assert!(REQUEST_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(FILE_BYTES_MAX.is_multiple_of(BLOCK_BYTES as u64));
