//! The adapter between the kernel and the filesystem: its decisions without a kernel, and with one.
//! The tests on a mount need root and `/dev/fuse`.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests use the filesystem that they test, and threads that wait in it"
)]

#[path = "../support/mem_pages.rs"]
#[expect(dead_code, reason = "shared with tests that use more of it")]
mod mem_pages;

mod cache;
mod dispatch;
mod mounting;
mod pages;
mod requests;
mod serving;
mod test_mount;
