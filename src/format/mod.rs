//! format

pub mod acl;
pub mod dir;
pub mod inode;
mod malformed;
pub mod superblock;
pub mod xattr;

pub use malformed::Malformed;
