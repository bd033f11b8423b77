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
    /// Whether there was one when the data directory was opened.
    found: bool,
    /// The last save failed so late that the disk may hold what it was to be, or may yet come to.
    doubtful: AtomicBool,
    /// Taken by whoever changes it, for as long as that takes; readers take `current` only.
    commit: Mutex<()>,
}

impl ManifestStore {
    /// Loads the manifest; where there is none and no heap file either, begins with an empty one.
    ///
    /// # Errors
    /// A damaged or newer manifest: it is left as it is.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, Error> {
        let place = format!("{}/{NAME}", disk.describe());
        let found = match disk.open(NAME) {
            Ok(file) => {
                let io = |error| Error::io(format!("cannot read {place}"), error);
                let size = usize::try_from(file.size().map_err(io)?).expect("64-bit");
                let mut bytes = vec![0; size];
                file.read_exact_at(&mut bytes, 0).map_err(io)?;
                Some(manifest::decode(&bytes).map_err(|error| {
                    Error::DataDirectory(match error {
                        DecodeError::Damaged(_) => format!(
                            "cannot use {place}: {error}; nothing was changed; restore it from a copy, or set the data directory aside"
                        ),
                        DecodeError::Newer(_) => format!("cannot use {place}: {error}"),
                    })
                })?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(format!("cannot open {place}"), error)),
        };
        Ok(ManifestStore {
            disk,
            found: found.is_some(),
            current: RwLock::new(Arc::new(found.unwrap_or_default())),
            doubtful: AtomicBool::new(false),
            commit: Mutex::new(()),
        })
    }

    /// Whether there was a manifest when the data directory was opened.
    pub fn was_found(&self) -> bool {
        self.found
    }

    /// Makes sure that the manifest on disk is the one in memory. A save that failed at its very end
    /// may have taken effect all the same, or may do so at the next crash: before anything is
    /// acknowledged, or renamed, that such a manifest would not know, it is put right.
    ///
    /// # Errors
    /// The disk's; the doubt stays.
    pub fn settle(&self) -> Result<(), Error> {
        // Acquire: pairs with the store in `save`; a later reader of a settled manifest sees it settled.
        if !self.doubtful.load(Ordering::Acquire) {
            return Ok(());
        }
        let _only_one = self.commit.lock();
        self.save(&self.current())
    }

    /// The manifest as it is.
    pub fn current(&self) -> Arc<Manifest> {
        self.current.read().clone()
    }

    /// Changes the manifest: `change` mutates a clone, which is saved, and published once it is
    /// durable. When `change` returns an error or the save fails, memory is as before, and so is the disk
    /// as far as anybody relies on it (see [`ManifestStore::settle`]).
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
        self.save(&next)?;
        *self.current.write() = Arc::new(next);
        Ok(value)
    }

    fn save(&self, manifest: &Manifest) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            match self.disk.remove(NEXT_NAME) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = self.disk.create(NEXT_NAME)?;
            file.write_all_at(&[IoSlice::new(&manifest::encode(manifest))], 0)?;
            file.sync_data()
        };
        // While it goes on, either of the two manifests may be found after a crash, and both know whatever
        // is acknowledged meanwhile. Only a failure leaves one that later changes do not build upon.
        let replace = || -> io::Result<()> {
            let replaced = self.disk.rename(NEXT_NAME, NAME).and_then(|()| self.disk.sync_dir());
            self.doubtful.store(replaced.is_err(), Ordering::Release);
            replaced
        };
        write()
            .and_then(|()| replace())
            .map_err(|error| Error::io(format!("cannot save {}/{NAME}", self.disk.describe()), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FileNo;
    use crate::io::sim::{Call, Fault, SimDisk};

    fn store(disk: &SimDisk) -> ManifestStore {
        ManifestStore::open(Arc::new(disk.clone())).expect("an empty directory has none")
    }

    fn raise(store: &ManifestStore, to: u64) -> Result<(), Error> {
        store.commit(|manifest| {
            manifest.next_file = FileNo(to);
            Ok(())
        })
    }

    #[test]
    fn a_change_that_is_declined_reaches_neither_memory_nor_disk() {
        let disk = SimDisk::new(1);
        let store = store(&disk);
        raise(&store, 5).expect("saved");
        let (calls, saved) = (disk.counters().mutations(), disk.contents(NAME));
        let declined = store.commit(|manifest| {
            manifest.next_file = FileNo(9);
            Err::<(), _>(Error::NoSpace("no".to_owned()))
        });
        assert!(matches!(declined, Err(Error::NoSpace(_))));
        assert_eq!(store.current().next_file, FileNo(5));
        assert_eq!((disk.counters().mutations(), disk.contents(NAME)), (calls, saved));
    }

    #[test]
    fn a_change_that_cannot_be_saved_reaches_neither_memory_nor_disk() {
        for call in [Call::Create, Call::Write, Call::SyncData, Call::Rename] {
            let disk = SimDisk::new(1);
            let store = store(&disk);
            raise(&store, 5).expect("saved");
            let saved = disk.contents(NAME);
            disk.fail(Fault::on(call, libc::EIO).name("MANIFEST"));
            let error = raise(&store, 9).expect_err("it cannot be saved");
            assert!(error.to_string().contains(NAME), "{error}");
            assert_eq!((store.current().next_file, disk.contents(NAME)), (FileNo(5), saved), "{call:?}");
            raise(&store, 7).expect("the disk is well again");
            let again = ManifestStore::open(Arc::new(disk)).expect("it is whole");
            assert_eq!(again.current().next_file, FileNo(7));
        }
    }

    #[test]
    fn a_directory_in_the_place_of_the_new_manifest_is_an_error_that_names_it() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let disk = Arc::new(crate::io::RealDisk::open(place.path()).expect("it is there"));
        let store = ManifestStore::open(disk.clone()).expect("an empty directory has none");
        raise(&store, 5).expect("saved");
        std::fs::create_dir(place.path().join(NEXT_NAME)).expect("ours");
        let error = raise(&store, 9).expect_err("it is in the way");
        assert!(error.to_string().contains(NAME), "{error}");
        assert_eq!(store.current().next_file, FileNo(5));
        let again = ManifestStore::open(disk).expect("the old one is whole");
        assert_eq!(again.current().next_file, FileNo(5));
    }
}
