//! What the model and the crash tests share: the model, the engine beside it, and random courses.

pub mod compare;
pub mod course;
pub mod seeds;
pub mod state;
pub mod world;
