//! Test suites that others wrote for filesystems, and an exerciser of our own for what they leave out, on a
//! mounted volume. The suites are installed below target/tools by `make tools`.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test drives real processes on a real mount"
)]

#[expect(dead_code, reason = "each test program uses its own part")]
#[path = "../support/mod.rs"]
mod support;

mod exerciser;
mod fsx;
mod pjdfstest;

/// A program of `make tools`.
fn tool(name: &str) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name);
    assert!(path.exists(), "{} is missing: run `make tools`", path.display());
    path
}

/// A file that belongs to these tests.
fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites").join(name)
}
