//! The one place that changes the manifest.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::Error;
use crate::format::manifest::{self, DecodeError, Manifest};
use crate::io::Disk;

const NAME: &str = "MANIFEST";
const NEXT_NAME: &str = "MANIFEST.next";

/// The manifest on disk and its copy in memory, always the same.
pub struct ManifestStore {
    disk: Arc<dyn Disk>,
    current: RwLock<Arc<Manifest>>,
    /// Taken by whoever changes it, for as long as that takes; readers take `current` only.
    commit: Mutex<()>,
    /// A save failed with its rename done, or perhaps done: a start might find what memory has not.
    in_doubt: AtomicBool,
}

impl ManifestStore {
    /// Loads the manifest; where there is none and no heap file either, begins with an empty one.
    ///
    /// # Errors
    /// A damaged or newer manifest: it is left as it is.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, Error> {
        let place = format!("{}/{NAME}", disk.describe());
        let current = match disk.open(NAME) {
            Ok(file) => {
                let io = |error| Error::io(format!("cannot read {place}"), error);
                let size = usize::try_from(file.size().map_err(io)?).expect("64-bit");
                let mut bytes = vec![0; size];
                file.read_exact_at(&mut bytes, 0).map_err(io)?;
                manifest::decode(&bytes).map_err(|error| {
                    Error::DataDirectory(match error {
                        DecodeError::Damaged(_) => format!(
                            "cannot use {place}: {error}; nothing was changed; restore it from a copy, or set the data directory aside"
                        ),
                        DecodeError::Newer(_) => format!("cannot use {place}: {error}"),
                    })
                })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Manifest::default(),
            Err(error) => return Err(Error::io(format!("cannot open {place}"), error)),
        };
        Ok(ManifestStore {
            disk,
            current: RwLock::new(Arc::new(current)),
            commit: Mutex::new(()),
            in_doubt: AtomicBool::new(false),
        })
    }

    /// The manifest as it is.
    pub fn current(&self) -> Arc<Manifest> {
        self.current.read().clone()
    }

    /// Changes the manifest: `change` mutates a clone, which is saved, and published once it is
    /// durable. When `change` returns an error or the save fails, memory and disk are as before.
    ///
    /// # Errors
    /// What `change` returned, or the disk's.
    pub fn commit<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut Manifest) -> Result<T, E>,
    ) -> Result<T, E> {
        let _only_one = self.commit.lock();
        let mut next = Manifest::clone(&self.current());
        let value = change(&mut next)?;
        if let Err(error) = self.save(&next) {
            // The disk may have the new one. Where this fails as well, `settle` tries again.
            if self.in_doubt.load(Ordering::Acquire) && self.save(&self.current()).is_err() {
                tracing::warn!("the manifest on the disk may be one that could not be saved");
            }
            return Err(error.into());
        }
        *self.current.write() = Arc::new(next);
        Ok(value)
    }

    /// Makes sure that a start would find the manifest as it is in memory: to be called before anything
    /// is acknowledged, or a file changes its name, that a manifest which failed to be saved may not know.
    ///
    /// # Errors
    /// The disk's; the doubt remains then.
    pub fn settle(&self) -> Result<(), Error> {
        if !self.in_doubt.load(Ordering::Acquire) {
            return Ok(());
        }
        let _only_one = self.commit.lock();
        if self.in_doubt.load(Ordering::Acquire) { self.save(&self.current()) } else { Ok(()) }
    }

    fn save(&self, manifest: &Manifest) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            match self.disk.remove(NEXT_NAME) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = self.disk.create(NEXT_NAME)?;
            file.write_all_at(&[IoSlice::new(&manifest::encode(manifest))], 0)?;
            file.sync_data()?;
            self.in_doubt.store(true, Ordering::Release);
            self.disk.rename(NEXT_NAME, NAME)?;
            self.disk.sync_dir()?;
            self.in_doubt.store(false, Ordering::Release);
            Ok(())
        };
        write().map_err(|error| Error::io(format!("cannot save {}/{NAME}", self.disk.describe()), error))
    }
}
