//! Every byte layout, local and remote. Pure functions: bytes in, values out, no I/O. Everything is
//! little-endian, carries magic, version and checksum, and is checked before it is believed; what
//! lies in pages is covered by the checksum of its page.

pub mod acl;
pub mod batch;
pub mod dir;
pub mod footer;
pub mod inode;
mod malformed;
pub mod manifest;
pub mod superblock;
pub mod xattr;

pub use malformed::Malformed;
