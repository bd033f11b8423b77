//! Time.

use std::time::Duration;

/// A wall-clock instant, in nanoseconds since 1970-01-01 UTC. Reaches the year 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Timestamp {
    /// Nanoseconds since the epoch; negative before it.
    pub nanos: i64,
}

/// Source of time. Production reads the system's clocks; the simulator advances its own.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary fixed instant; never goes back.
    fn monotonic(&self) -> Duration;
}
