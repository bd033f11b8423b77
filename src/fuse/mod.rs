//! The adapter between the kernel's requests and [`crate::fs`]: what to call for a request, which
//! number an error becomes, and what the kernel may cache for how long.
//!
//! Owns the mount, the threads that serve it and its worker pool. Knows nothing of POSIX meaning:
//! that is `fs`. The requests and their answers are types of our own ([`request`]), so that another
//! transport than `/dev/fuse` through fuser can take its place.
//!
//! Invariants: every request ends in exactly one reply, also when its handler panics or the mount
//! ends; a thread that reads requests never waits for the log.

mod dispatch;
mod error;
mod executing;
mod kernel;
mod mount;
pub mod mountinfo;
mod pool;
pub mod request;
mod system;
mod token;

pub use dispatch::Dispatcher;
pub use error::Error;
pub use mount::{
    End, MEMORY_BYTES_PER_MOUNT, Mount, MountFlags, MountSpec, Observer, detach_dead, mount, remount,
};
