//! Time that passes only when a test says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::io::{Clock, Timestamp};

/// Wall-clock time at which every simulated clock starts: 2020-01-01 UTC, in nanoseconds.
const START_NANOS: i64 = 1_577_836_800_000_000_000;

/// A clock that a test advances.
#[derive(Debug, Default)]
pub struct SimClock {
    elapsed_nanos: AtomicU64,
}

impl SimClock {
    /// A clock at its start.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets time pass, for both clocks.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).expect("a test lasts less than 584 years");
        // Relaxed: time orders nothing else.
        self.elapsed_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.elapsed_nanos.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        Timestamp { nanos: START_NANOS.saturating_add(elapsed) }
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_only_when_told_and_for_both_clocks() {
        let clock = SimClock::new();
        let (wall, running) = (clock.now(), clock.monotonic());
        assert_eq!((clock.now(), clock.monotonic()), (wall, running));
        clock.advance(Duration::from_millis(5));
        assert_eq!(clock.now().nanos - wall.nanos, 5_000_000);
        assert_eq!(clock.monotonic() - running, Duration::from_millis(5));
    }
}
