//! Files and randomness for the workloads.

use std::fs::{File, OpenOptions};
use std::path::Path;

use crate::error::{Outcome, Tried};

pub const MIB: usize = 1 << 20;

/// Opens a file for reading and writing; a new one if there is none.
pub fn open(path: &Path) -> Outcome<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).tried_on("open", path)
}

/// Makes a synced file of so many MiB of noise.
pub fn filled(path: &Path, mib: usize) -> Outcome<File> {
    use std::io::Write;
    let mut file = open(path)?;
    let mut noise = Noise::new(1);
    for _ in 0..mib {
        file.write_all(&noise.bytes(MIB)).tried_on("write", path)?;
    }
    file.sync_all().tried_on("sync", path)?;
    Ok(file)
}

/// Reproducible randomness (SplitMix64): both sides get the same.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// So many bytes, a multiple of eight.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len / 8).flat_map(|_| self.next().to_le_bytes()).collect()
    }
}
