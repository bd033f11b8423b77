//! Random operations on several files against a model in memory: what fsx leaves out (zero range, preallocation
//! beyond the end, holes as the kernel reports them, several files), and what only firnfs has (forks, and a
//! daemon that is killed in between). `FIRN_EXERCISE_OPS` says how many.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate};

use crate::support::chance::Chance;
use crate::support::daemon::{Daemon, Mount};
use crate::support::knob;

const FILES: usize = 4;
/// Larger than several blocks of pages.
const SIZE_MAX: u64 = 600_000;
const CHUNK_MAX: u64 = 70_000;

#[test]
fn random_operations_read_as_in_a_model_through_forks_and_crashes() {
    let mut chance = Chance::announced("exerciser");
    let mut daemon = Daemon::with_memory("exerciser", 32);
    let mount = daemon.volume("head");
    let mut files = Files::create(&mount);
    let mut forks: Vec<(String, Model)> = Vec::new();
    let operations = knob("FIRN_EXERCISE_OPS", 4_000);
    for step in 1..=operations {
        files.operate(&mut chance);
        if step % 500 == 0 {
            let name = format!("fork-{step}");
            daemon.firn(["fork", "head", &name]);
            forks.push((name, files.model.clone()));
        }
        if step % 1_500 == 0 {
            files.sync();
            daemon.crash(&[&mount]);
            files.reopen(&mount);
            files.model.compare(mount.dir(), &format!("after the crash at step {step}"));
        }
    }
    files.model.compare(mount.dir(), "at the end");
    for (name, model) in forks {
        let fork = daemon.mount(&name);
        model.compare(fork.dir(), &name);
        daemon.umount(&fork);
    }
}

/// What the files must contain.
#[derive(Debug, Clone)]
struct Model(Vec<Vec<u8>>);

impl Model {
    fn compare(&self, dir: &Path, when: &str) {
        for (index, expected) in self.0.iter().enumerate() {
            let path = dir.join(name(index));
            let found = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            compare(&found, expected, 0, &format!("{} {when}", path.display()));
        }
    }
}

fn name(index: usize) -> String {
    format!("file-{index}")
}

/// The files on the mount, and the model that follows them.
#[derive(Debug)]
struct Files {
    handles: Vec<File>,
    model: Model,
}

impl Files {
    fn create(mount: &Mount) -> Self {
        let mut files = Self { handles: Vec::new(), model: Model(vec![Vec::new(); FILES]) };
        files.reopen(mount);
        files
    }

    fn reopen(&mut self, mount: &Mount) {
        let open = |index| {
            let path = mount.path(&name(index));
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(&path).unwrap_or_else(|e| panic!("open {}: {e}", path.display()))
        };
        self.handles = (0..FILES).map(open).collect();
    }

    fn sync(&self) {
        for handle in &self.handles {
            handle.sync_all().expect("fsync");
        }
    }

    /// One random operation on one random file, in both places.
    fn operate(&mut self, chance: &mut Chance) {
        let index = index_of(chance.below(FILES as u64));
        let at = chance.below(SIZE_MAX - CHUNK_MAX);
        let len = chance.between(1, CHUNK_MAX);
        match chance.below(11) {
            0..=2 => self.write(index, at, &noise(chance, len)),
            3 => self.fallocate(index, at, len, FallocateFlags::ZERO_RANGE),
            4 => self.fallocate(index, at, len, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE),
            5 => self.fallocate(index, at, len, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE),
            6 => self.fallocate(index, at, len, FallocateFlags::KEEP_SIZE),
            7 => self.truncate(index, at),
            8 => {
                let source = index_of(chance.below(FILES as u64));
                self.copy(source, index, chance.below(SIZE_MAX - CHUNK_MAX), at, len);
            }
            9 => self.check_holes(index),
            _ => self.check_read(index, at, len),
        }
    }

    fn write(&mut self, index: usize, at: u64, bytes: &[u8]) {
        self.handles[index].write_all_at(bytes, at).expect("write");
        overlay(&mut self.model.0[index], at, bytes);
    }

    fn truncate(&mut self, index: usize, size: u64) {
        self.handles[index].set_len(size).expect("truncate");
        self.model.0[index].resize(index_of(size), 0);
    }

    fn fallocate(&mut self, index: usize, at: u64, len: u64, flags: FallocateFlags) {
        fallocate(&self.handles[index], flags, at, len)
            .unwrap_or_else(|e| panic!("fallocate {flags:?}: {e}"));
        let content = &mut self.model.0[index];
        let (start, end) = (index_of(at), index_of(at + len));
        if !flags.contains(FallocateFlags::KEEP_SIZE) && content.len() < end {
            content.resize(end, 0);
        }
        if flags.intersects(FallocateFlags::ZERO_RANGE | FallocateFlags::PUNCH_HOLE) && start < content.len()
        {
            let end = end.min(content.len());
            content[start..end].fill(0);
        }
    }

    fn copy(&mut self, source: usize, target: usize, from: u64, to: u64, len: u64) {
        let size = self.model.0[source].len() as u64;
        // Within one file the kernel refuses overlapping ranges.
        if from >= size || (source == target && from.abs_diff(to) < len) {
            return;
        }
        let len = len.min(size - from);
        let mut done = 0;
        while done < len {
            let (mut read_at, mut write_at) = (from + done, to + done);
            let rest = index_of(len - done);
            let (source, target) = (&self.handles[source], &self.handles[target]);
            let copied =
                rustix::fs::copy_file_range(source, Some(&mut read_at), target, Some(&mut write_at), rest)
                    .expect("copy_file_range");
            assert!(copied > 0, "copy_file_range stopped {} bytes short", len - done);
            done += copied as u64;
        }
        let bytes = self.model.0[source][index_of(from)..index_of(from + len)].to_vec();
        overlay(&mut self.model.0[target], to, &bytes);
    }

    fn check_read(&self, index: usize, at: u64, len: u64) {
        let content = &self.model.0[index];
        let size = self.handles[index].metadata().expect("stat").len();
        assert_eq!(size, content.len() as u64, "size of {}", name(index));
        let (start, end) = (index_of(at).min(content.len()), index_of(at + len).min(content.len()));
        let mut found = vec![0; end - start];
        self.handles[index].read_exact_at(&mut found, start as u64).expect("read");
        compare(&found, &content[start..end], start, &name(index));
    }

    /// Whatever is not zero lies in what SEEK_DATA and SEEK_HOLE call data.
    fn check_holes(&self, index: usize) {
        let (handle, content) = (&self.handles[index], &self.model.0[index]);
        let mut at = 0;
        while at < content.len() {
            let data = match rustix::fs::seek(handle, SeekFrom::Data(at as u64)) {
                Ok(data) => index_of(data),
                Err(rustix::io::Errno::NXIO) => content.len(),
                Err(e) => panic!("SEEK_DATA: {}", io::Error::from(e)),
            };
            let hidden = content[at..data].iter().position(|byte| *byte != 0);
            assert_eq!(hidden, None, "{}: data within the hole {at}..{data}", name(index));
            if data == content.len() {
                return;
            }
            let hole = rustix::fs::seek(handle, SeekFrom::Hole(data as u64)).expect("SEEK_HOLE");
            assert!(index_of(hole) > data, "{}: data of no length at {data}", name(index));
            at = index_of(hole);
        }
    }
}

fn noise(chance: &mut Chance, len: u64) -> Vec<u8> {
    (0..len.div_ceil(8)).flat_map(|_| chance.next().to_le_bytes()).take(index_of(len)).collect()
}

fn overlay(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let (start, end) = (index_of(at), index_of(at) + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

fn index_of(offset: u64) -> usize {
    usize::try_from(offset).expect("files in this test fit into memory")
}

fn compare(found: &[u8], expected: &[u8], offset: usize, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    if let Some(at) = found.iter().zip(expected).position(|(found, expected)| found != expected) {
        panic!("{what}: byte {} is {}, must be {}", offset + at, found[at], expected[at]);
    }
}
