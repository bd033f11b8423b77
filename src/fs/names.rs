//! Names of files: what may be one, and the keyed hash by which directories find them.

use super::{Error, Result};
use crate::base::limits::NAME_BYTES_MAX;

/// 55 bits of a keyed hash. The key is secret to the volume, so that nobody can choose names that
/// collide.
#[derive(Clone)]
pub(super) struct NameHash {
    key: [u8; 32],
}

const HASH_BITS: u32 = 55;

impl NameHash {
    pub(super) fn new(key: [u8; 32]) -> Self {
        NameHash { key }
    }

    /// At least 1, so that no key of an entry is one of readdir's own; below the largest 55-bit number,
    /// so that none is the end of all offsets.
    pub(super) fn of(&self, name: &[u8]) -> u64 {
        let digest = blake3::keyed_hash(&self.key, name);
        let (first, _) = digest.as_bytes().split_first_chunk::<8>().expect("a digest has 32 bytes");
        (u64::from_le_bytes(*first) >> (64 - HASH_BITS)).clamp(1, (1 << HASH_BITS) - 2)
    }
}

/// Refuses what cannot be the name of a new entry.
pub(super) fn check(name: &[u8]) -> Result<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::NameTooLong);
    }
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(Error::Invalid);
    }
    Ok(())
}
