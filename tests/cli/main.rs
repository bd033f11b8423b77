//! The program as an operator meets it: what it accepts, what it says, and what it leaves behind.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an operator's view of the program: real files, real processes"
)]

mod arguments;
mod daemon;
mod harness;
mod limits;
mod mounting;
mod server;
mod volumes;
