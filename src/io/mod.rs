//! The seams to the world: files, time and randomness. Nothing else in the program touches them, so
//! that a test can put a faulty world in their place.

mod clock;
mod disk;
mod handle;
mod real;
mod rng;
pub mod sim;

pub use clock::{Clock, Timestamp};
pub use disk::{Disk, DiskFile, DiskUsage};
pub use handle::{open_fuse_inode, write_out};
pub use real::{RealDisk, SystemClock, SystemRng};
pub use rng::Rng;
