//! Reads and writes of one file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{MIB, Noise, filled, open};
use crate::error::{Outcome, Tried};
use crate::workload::{Done, Running, repeat};

const REWRITTEN_MIB: usize = 256;
const READ_MIB: usize = 512;
/// An appended file starts over at this size.
const APPENDED_BYTES_MAX: u64 = 256 << 20;

struct Append {
    file: File,
    end: u64,
    content: Vec<u8>,
}

pub fn append(dir: &Path) -> Outcome<Box<dyn Running>> {
    let file = open(&dir.join("log"))?;
    Ok(Box::new(Append { file, end: 0, content: Noise::new(2).bytes(4096) }))
}

impl Running for Append {
    fn slice(&mut self, length: Duration) -> Outcome<Done> {
        repeat(length, || {
            if self.end >= APPENDED_BYTES_MAX {
                self.file.set_len(0).tried("truncate")?;
                self.end = 0;
            }
            self.file.write_all_at(&self.content, self.end).tried("append")?;
            self.file.sync_data().tried("fdatasync")?;
            self.end += self.content.len() as u64;
            Ok(1.0)
        })
    }
}

struct RandomWrite {
    file: File,
    noise: Noise,
    content: Vec<u8>,
}

pub fn random_write(dir: &Path) -> Outcome<Box<dyn Running>> {
    let file = filled(&dir.join("data"), REWRITTEN_MIB)?;
    let mut noise = Noise::new(3);
    let content = noise.bytes(8192);
    Ok(Box::new(RandomWrite { file, noise, content }))
}

impl Running for RandomWrite {
    fn slice(&mut self, length: Duration) -> Outcome<Done> {
        let places = (REWRITTEN_MIB * MIB / self.content.len()) as u64;
        repeat(length, || {
            let at = self.noise.below(places) * self.content.len() as u64;
            self.file.write_all_at(&self.content, at).tried("write")?;
            self.file.sync_data().tried("fdatasync")?;
            Ok(1.0)
        })
    }
}

struct SequentialWrite {
    path: PathBuf,
    content: Vec<u8>,
}

pub fn sequential_write(dir: &Path) -> Outcome<Box<dyn Running>> {
    Ok(Box::new(SequentialWrite { path: dir.join("data"), content: Noise::new(4).bytes(MIB) }))
}

impl Running for SequentialWrite {
    /// Whole files: the sync at the end belongs to them.
    fn slice(&mut self, length: Duration) -> Outcome<Done> {
        repeat(length, || {
            let file = File::create(&self.path).tried("create")?;
            for mib in 0..REWRITTEN_MIB {
                file.write_all_at(&self.content, (mib * MIB) as u64).tried("write")?;
            }
            file.sync_all().tried("fsync")?;
            Ok(mebibytes(REWRITTEN_MIB * MIB))
        })
    }
}

struct SequentialRead {
    file: File,
    at: u64,
    content: Vec<u8>,
}

pub fn sequential_read(dir: &Path) -> Outcome<Box<dyn Running>> {
    let file = filled(&dir.join("data"), READ_MIB)?;
    Ok(Box::new(SequentialRead { file, at: 0, content: vec![0; MIB] }))
}

impl Running for SequentialRead {
    /// Ends at the latest with the file, so that nothing is read a second time from a cache.
    fn slice(&mut self, length: Duration) -> Outcome<Done> {
        self.at = 0;
        let mut total = 0.0;
        let start = std::time::Instant::now();
        while self.at < (READ_MIB * MIB) as u64 && start.elapsed() < length {
            self.file.read_exact_at(&mut self.content, self.at).tried("read")?;
            self.at += self.content.len() as u64;
            total += mebibytes(self.content.len());
        }
        Ok(Done { amount: total, took: start.elapsed() })
    }
}

struct RandomRead {
    file: File,
    noise: Noise,
}

pub fn random_read(dir: &Path) -> Outcome<Box<dyn Running>> {
    Ok(Box::new(RandomRead { file: filled(&dir.join("data"), READ_MIB)?, noise: Noise::new(5) }))
}

impl Running for RandomRead {
    fn slice(&mut self, length: Duration) -> Outcome<Done> {
        let mut content = [0; 4096];
        let places = (READ_MIB * MIB / content.len()) as u64;
        repeat(length, || {
            let at = self.noise.below(places) * content.len() as u64;
            self.file.read_exact_at(&mut content, at).tried("read")?;
            Ok(1.0)
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / MIB as f64
}
