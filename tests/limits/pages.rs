//! Files whose pages say which page and which generation of it they are, so that a stale, misplaced or
//! damaged page is told from the right one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::support::chance::Chance;
use crate::support::daemon::Mount;
use crate::usage::MIB;

const PAGE: usize = 4096;
const FILES: usize = 8;
/// Pages that one sequential write carries.
const RUN: usize = 64;

/// Several files, and the generation that each of their pages must have.
#[derive(Debug)]
pub(crate) struct Pages {
    files: Vec<File>,
    generations: Vec<u16>,
}

impl Pages {
    /// Writes files of so many MiB in total, first generation, and syncs them.
    pub(crate) fn fill(mount: &Mount, mib: u64) -> Self {
        let count = usize::try_from(mib * MIB).expect("a volume of gigabytes") / PAGE;
        let mut pages = Self { files: Vec::new(), generations: vec![0; count] };
        pages.reopen(mount);
        let mut run = Vec::with_capacity(RUN * PAGE);
        for first in (0..count).step_by(RUN) {
            run.clear();
            let end = (first + RUN).min(count);
            (first..end).for_each(|page| run.extend_from_slice(&content(page, 0)));
            let (file, at) = pages.place(first);
            file.write_all_at(&run, at).expect("write");
        }
        pages.sync();
        pages
    }

    /// Opens the files again, after the mount has been replaced.
    pub(crate) fn reopen(&mut self, mount: &Mount) {
        let open = |index| {
            let path = mount.path(&format!("pages-{index}"));
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(&path).unwrap_or_else(|e| panic!("open {}: {e}", path.display()))
        };
        self.files = (0..FILES).map(open).collect();
    }

    /// How many pages there are.
    pub(crate) fn count(&self) -> u64 {
        self.generations.len() as u64
    }

    /// Writes the next generation of a random page.
    pub(crate) fn rewrite(&mut self, chance: &mut Chance) {
        let page = usize::try_from(chance.below(self.count())).expect("below a usize");
        let next = self.generations[page].checked_add(1).expect("pages are not rewritten that often");
        let (file, at) = self.place(page);
        file.write_all_at(&content(page, next), at).expect("write");
        self.generations[page] = next;
    }

    /// fsync of all files.
    pub(crate) fn sync(&self) {
        self.files.iter().for_each(|file| file.sync_all().expect("fsync"));
    }

    /// Reads every page and compares it with its generation.
    pub(crate) fn verify(&self, when: &str) {
        let mut found = [0; PAGE];
        for (page, &generation) in self.generations.iter().enumerate() {
            let (file, at) = self.place(page);
            file.read_exact_at(&mut found, at).unwrap_or_else(|e| panic!("{when}: read page {page}: {e}"));
            assert!(
                found == content(page, generation),
                "{when}: page {page} is not its generation {generation}{}",
                (0..generation)
                    .find(|old| found == content(page, *old))
                    .map_or(String::new(), |old| format!(", but generation {old}"))
            );
        }
    }

    /// The state of the pages as of now, to be compared with files of the same names on another mount.
    pub(crate) fn as_on(&self, mount: &Mount) -> Self {
        let mut copy = Self { files: Vec::new(), generations: self.generations.clone() };
        copy.reopen(mount);
        copy
    }

    /// Runs of pages go to the files in turn.
    fn place(&self, page: usize) -> (&File, u64) {
        let (run, within) = (page / RUN, page % RUN);
        let at = (run / FILES * RUN + within) * PAGE;
        (&self.files[run % FILES], at as u64)
    }
}

fn content(page: usize, generation: u16) -> [u8; PAGE] {
    let mut noise = Chance::seeded((page as u64) << 16 | u64::from(generation));
    let mut bytes = [0; PAGE];
    bytes.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&noise.next().to_le_bytes()));
    bytes
}
