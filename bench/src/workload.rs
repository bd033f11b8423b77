//! What a workload is.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Outcome;

/// A thing to measure, the same on both sides.
pub struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// Makes the files that it needs in an empty directory, outside of the measured time.
    pub prepare: fn(&Path) -> Outcome<Box<dyn Running>>,
    /// Drop the kernel's page cache before each slice, so that reads reach the filesystem.
    pub cold: bool,
}

/// A prepared workload on one side. It is dropped before its directory is removed.
pub trait Running {
    /// Works for about so long and says how much was done.
    fn slice(&mut self, length: Duration) -> Outcome<Done>;
}

/// Work and the time that it took.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    pub amount: f64,
    pub took: Duration,
}

impl Done {
    /// Units per second.
    pub fn rate(self) -> f64 {
        self.amount / self.took.as_secs_f64()
    }
}

/// Repeats a step, which says how many units it did, until the time is over.
pub fn repeat(length: Duration, mut step: impl FnMut() -> Outcome<f64>) -> Outcome<Done> {
    let start = Instant::now();
    let mut amount = 0.0;
    loop {
        amount += step()?;
        let took = start.elapsed();
        if took >= length {
            return Ok(Done { amount, took });
        }
    }
}
