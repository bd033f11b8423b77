//! The adapter between the kernel and the filesystem: its decisions without a kernel, and with one.
//! The tests on a mount need root and `/dev/fuse`.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests use the filesystem that they test, and threads that wait in it"
)]

mod dispatch;
mod kernel_cache;
mod mounting;
mod pages;
mod requests;
mod session;
mod test_mount;
