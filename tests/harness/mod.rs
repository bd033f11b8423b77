//! What the model and the crash tests share: the model, the engine beside it, and random courses.

pub(crate) mod compare;
pub(crate) mod course;
pub(crate) mod seeds;
pub(crate) mod state;
pub(crate) mod world;
