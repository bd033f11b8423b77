//! Page frames in RAM: their content, what of it is unlogged, and which to give up first.
//!
//! Owns the frames and the budget. Where a frame hangs is its owner's business (a layer's block
//! table), so that a page is found by one lookup whether it is in RAM or in a slot, and is readable at
//! every instant between the two.
//!
//! Invariant: a frame is given up only when everything in it is durable in the log and nobody else
//! holds it.

mod cache;
mod frame;
mod page;

pub use cache::{Cache, Owner};
pub use frame::{Frame, FrameState, Meter};
pub use page::{Page, shrink_pool};
