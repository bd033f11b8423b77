//! What a decoder says of bytes that are not what they should be.

/// Bytes that no encoder of this program wrote, or one of a newer version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);
