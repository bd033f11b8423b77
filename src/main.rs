//! The composition root: wires the layers, nothing else.

mod daemon;

use std::process::ExitCode;

/// Gives memory back when frames are evicted, which the system's allocator does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    firnfs::cli::run(std::env::args_os(), daemon::run)
}
