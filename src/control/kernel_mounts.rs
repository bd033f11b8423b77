//! Mounts of ours that no daemon answers for: what the kernel alone knows of them.

use std::path::Path;

use super::error::Error;
use crate::fuse::{self, mountinfo};

/// Takes away a dead firn mount, as a killed daemon leaves it. Returns what had been mounted there, or
/// `None` when there is none.
///
/// # Errors
/// When the kernel refuses.
pub fn detach_dead_mount(directory: &Path) -> Result<Option<String>, Error> {
    fuse::detach_dead(directory).map_err(|error| Error::Refused(error.to_string()))
}

/// What firn has mounted at a directory, whichever daemon serves it.
///
/// # Errors
/// When the kernel does not tell.
pub fn mounted_at(directory: &Path) -> Result<Option<String>, Error> {
    let mounts =
        mountinfo::read().map_err(|error| Error::io("cannot read", "/proc/self/mountinfo", error))?;
    let top = mountinfo::top_at(&mounts, directory).filter(|mount| mount.is_firn());
    Ok(top.map(|mount| mount.source.clone()))
}
