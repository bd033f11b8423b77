//! Many small files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Outcome, Tried};
use crate::workload::{Done, Running, repeat};

/// Files in a directory at the same time.
const FILES: u64 = 64;

struct Files {
    dir: PathBuf,
    next: u64,
}

pub fn files(dir: &Path) -> Outcome<Box<dyn Running>> {
    Ok(Box::new(Files { dir: dir.to_owned(), next: 0 }))
}

impl Running for Files {
    /// Each step creates, stats and renames a file, and unlinks the one that was made 64 steps before.
    fn slice(&mut self, length: Duration) -> Outcome<Done> {
        let path = |number: u64, kind: &str| self.dir.join(format!("{kind}-{number}"));
        repeat(length, || {
            let number = self.next;
            self.next += 1;
            let (new, old) = (path(number, "new"), path(number, "file"));
            drop(File::create(&new).tried("create")?);
            std::fs::metadata(&new).tried("stat")?;
            std::fs::rename(&new, &old).tried("rename")?;
            if let Some(oldest) = number.checked_sub(FILES) {
                std::fs::remove_file(path(oldest, "file")).tried("unlink")?;
            }
            Ok(1.0)
        })
    }
}
