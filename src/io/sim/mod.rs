//! A simulated disk, clock and randomness for tests, driven by a seed.
//!
//! The disk keeps apart what has been written from what a power cut leaves: bytes become durable with
//! `sync_data`, names with `sync_dir`, and everything else survives at random, whole, torn or not at
//! all. It can be told to fail, to fill up, to run out of descriptors, to damage what it holds, and to
//! stop at a given call. All of that is deterministic for a seed and one calling thread.
//!
//! It does not model the reordering of names (a journalling filesystem keeps their order), nor hard
//! links, nor files that shrink: [`Disk`](super::Disk) has neither.

mod clock;
mod content;
mod disk;
mod fault;
mod file;
mod medium;
mod rng;
#[cfg(test)]
mod tests;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use fault::{Call, Counters, Fault, is_crash};
pub use rng::SimRng;
