//! What the tests that need a mounted volume share: a scratch place, a daemon with its mounts, child
//! processes, and a seeded choice of when to strike.
//!
//! Owns: everything it starts. A guard that is dropped, also by a panic, kills its daemon and its
//! children, detaches its mounts and removes its files. A test program that is itself killed takes its
//! daemon with it (the daemon asks for the signal at its parent's death), and the next test to start
//! sweeps what it left on disk and in the mount table.
//!
//! Does not own: what is tested. Nothing here asserts about the product except that it does what it is
//! told (mount, fork, …) without an error.

pub(crate) mod chance;
pub(crate) mod daemon;
pub(crate) mod process;
pub(crate) mod scratch;

/// The value of an environment variable that widens or narrows a test, or its default.
///
/// # Panics
/// When it is set to something that is not a number: a typo must not quietly test less.
pub(crate) fn knob(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")),
        Err(_) => default,
    }
}
