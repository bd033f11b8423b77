//! Runs a test for many seeds, and says which one failed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `test` for the seeds below `count`, on two threads; with `FIRN_SEED` set, for that one alone.
/// `FIRN_SEEDS` multiplies the count.
pub(crate) fn for_seeds(count: u64, test: impl Fn(u64) + Sync) {
    let number = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
    };
    if let Some(seed) = number("FIRN_SEED") {
        return test(seed);
    }
    let end = count * number("FIRN_SEEDS").unwrap_or(1);
    let next = AtomicU64::new(0);
    let run = || {
        loop {
            // Relaxed: the number itself is all that the threads share.
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            let named = NamedOnPanic(seed);
            test(seed);
            std::mem::forget(named);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(run);
        run();
    });
}

/// Prints the seed when its test panics.
struct NamedOnPanic(u64);

impl Drop for NamedOnPanic {
    fn drop(&mut self) {
        eprintln!("replay with FIRN_SEED={}", self.0);
    }
}
