//! Every byte layout, local and remote. Pure functions: bytes in, values out, no I/O. Everything is
//! little-endian, carries magic, version and checksum, and is checked before it is believed.

pub mod batch;
pub mod footer;
pub mod manifest;
