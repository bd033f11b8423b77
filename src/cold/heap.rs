//! The heap files of a data directory: preparing, appending, reading, reclaiming.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::recover::{self, Recovered, StreamEnd};
use super::scan;
use super::stream::Stream;
use super::{Error, Group, HeapFile, ManifestStore, Receipt, space_guard};
use crate::base::limits::PAGE_BYTES;
use crate::base::{FileNo, PageBuf, Seq, SlotNo};
use crate::format::batch::{Header, Range};
use crate::format::manifest::{FileEnd, FileRecord, Manifest, StreamKind};
use crate::io::{Disk, DiskFile, Rng};

/// How the heap lays itself out.
#[derive(Clone, Copy, Debug)]
pub struct HeapConfig {
    /// Size of a heap file, in bytes; a whole number of pages.
    pub file_bytes: u64,
    /// Bytes that all heap files together may take.
    pub disk_bytes: Option<u64>,
    /// Files kept back for what gives space back: compaction, removal.
    pub reserve_files: usize,
}

/// Figures of the heap.
#[derive(Clone, Copy, Default, Debug)]
pub struct HeapStats {
    pub files: u64,
    /// Bytes that heap files take on the disk, spare ones included.
    pub bytes: u64,
    /// Bytes of pages and records that are still needed.
    pub live_bytes: u64,
    /// Groups that were written and synced.
    pub syncs: u64,
    /// Bytes that were appended.
    pub appended_bytes: u64,
    /// RAM of the open files.
    pub ram_bytes: u64,
}

/// Files that wait for use.
#[derive(Default)]
struct Ready {
    /// Named by the manifest, empty.
    log: VecDeque<Arc<HeapFile>>,
    moves: VecDeque<Arc<HeapFile>>,
    /// Preallocated, under a name that the manifest does not know. The first `reserve_files` of them
    /// are the reserve.
    spares: Vec<Spare>,
}

/// A file that may become a heap file.
struct Spare {
    number: FileNo,
    file: Arc<dyn DiskFile>,
    /// All its blocks have been written once, so that a sync of what is written into it later needs no
    /// metadata of the filesystem beneath.
    written: bool,
}

/// The heap files of a data directory.
///
/// Locks, in order: a stream, then `ready`, then the manifest's, then `files`. Only a stream's and the
/// manifest's are held across I/O: by the one that appends, which nobody else waits for but those who
/// wait for just that.
pub struct Heap {
    disk: Arc<dyn Disk>,
    rng: Arc<dyn Rng>,
    config: HeapConfig,
    pub manifest: ManifestStore,
    files: RwLock<HashMap<FileNo, Arc<HeapFile>>>,
    log: Mutex<Stream>,
    moves: Mutex<Stream>,
    ready: Mutex<Ready>,
    /// Prepares one file at a time.
    preparing: Mutex<()>,
    next_file: AtomicU64,
    /// Slots left in the log's active file.
    log_active_room: AtomicU32,
    syncs: AtomicU64,
    appended_bytes: AtomicU64,
}

impl Heap {
    /// Opens a data directory and recovers its log into `sink`. Returns the heap and the highest
    /// sequence number ever seen.
    ///
    /// # Errors
    /// A damaged manifest or log: nothing is changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        rng: Arc<dyn Rng>,
        config: HeapConfig,
        sink: &mut dyn Recovered,
    ) -> Result<(Self, Seq), Error> {
        let manifest = ManifestStore::open(disk.clone())?;
        let on_disk = list(&*disk)?;
        let record = manifest.current();
        if !manifest.was_found() && !on_disk.is_empty() {
            return Err(Error::DataDirectory(format!(
                "{} has heap files but no MANIFEST; nothing was changed; restore MANIFEST from a copy, or set the data directory aside",
                disk.describe()
            )));
        }
        let files = open_files(&*disk, &record, config)?;
        sink.begin(&record);
        let log_end = walk(&files, StreamKind::Log, sink)?;
        let moves_end = walk(&files, StreamKind::Moves, sink)?;
        let last_seq = log_end.last_seq.max(moves_end.last_seq);
        let highest = on_disk.iter().map(|file| file.0 + 1).max().unwrap_or(0);
        let heap = Heap {
            manifest,
            files: RwLock::new(files.into_iter().map(|(file, _)| (file.number, file)).collect()),
            log: Mutex::new(Stream::new(StreamKind::Log, log_end.last_lsn)),
            moves: Mutex::new(Stream::new(StreamKind::Moves, moves_end.last_lsn)),
            ready: Mutex::default(),
            preparing: Mutex::new(()),
            next_file: AtomicU64::new(highest.max(record.next_file.0)),
            log_active_room: AtomicU32::new(0),
            syncs: AtomicU64::new(0),
            appended_bytes: AtomicU64::new(0),
            disk,
            rng,
            config,
        };
        heap.fix_ends(&log_end, &moves_end)?;
        heap.sweep(&on_disk);
        Ok((heap, last_seq))
    }

    /// Writes down where each file ends, before anything else is written: what lies behind must not
    /// be believed by a later start either. What lies before may be in the system's cache only, if just
    /// the daemon died: it is made durable first.
    fn fix_ends(&self, log: &StreamEnd, moves: &StreamEnd) -> Result<(), Error> {
        for record in self.manifest.current().files.iter().filter(|record| record.end.is_none()) {
            let file = self.file(record.number).expect("opened from this manifest");
            let synced = file.disk.sync_data();
            synced.map_err(|error| Error::io(format!("cannot sync heap file {}", record.number), error))?;
        }
        let ends: HashMap<FileNo, FileEnd> = log.ends.iter().chain(&moves.ends).copied().collect();
        self.manifest.commit(|manifest| {
            for record in &mut manifest.files {
                record.end = record.end.or_else(|| ends.get(&record.number).copied());
            }
            manifest.next_file = FileNo(self.next_file.load(Ordering::Relaxed));
            Ok::<(), Error>(())
        })?;
        for record in &self.manifest.current().files {
            if let (Some(file), Some(end)) = (self.file(record.number), record.end) {
                file.seal(end);
            }
        }
        Ok(())
    }

    /// Reclaims the heap files that the manifest does not name.
    fn sweep(&self, on_disk: &[FileNo]) {
        for number in on_disk.iter().filter(|number| self.file(**number).is_none()) {
            tracing::info!(file = %number, "reclaiming a heap file that nothing names");
            if let Err(error) = self.disk.remove(&HeapFile::name(*number)) {
                tracing::warn!(file = %number, %error, "cannot reclaim it; the next start tries again");
            }
        }
    }

    /// The heap file of this number, pinned.
    pub fn file(&self, number: FileNo) -> Option<Arc<HeapFile>> {
        self.files.read().get(&number).cloned()
    }

    /// Appends a group to the log and syncs it. Groups are written one at a time, in the order of the
    /// calls; `cut` is called when it is this one's turn.
    pub fn commit_log<P: AsRef<[u8]>, R>(
        &self,
        cut: impl FnOnce() -> (Group<P>, R),
    ) -> (Result<Receipt, Error>, Group<P>, R) {
        let mut stream = self.log.lock();
        let (group, rest) = cut();
        let result = stream.commit(self, &group);
        self.log_active_room.store(stream.active_room(), Ordering::Relaxed);
        drop(stream);
        self.count(&result);
        (result, group, rest)
    }

    /// Whether someone is appending to the log just now.
    pub fn log_is_busy(&self) -> bool {
        self.log.is_locked()
    }

    /// Appends moved pages and ranges and syncs them.
    ///
    /// # Errors
    /// The disk's; the pages are where they were then.
    pub fn commit_moves<P: AsRef<[u8]>>(&self, group: &Group<P>) -> Result<Receipt, Error> {
        let result = self.moves.lock().commit(self, group);
        self.count(&result);
        result
    }

    fn count(&self, result: &Result<Receipt, Error>) {
        if let Ok(receipt) = result {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.appended_bytes.fetch_add(receipt.bytes, Ordering::Relaxed);
        }
    }

    /// Bytes that the log can take without another file.
    pub fn log_room_bytes(&self) -> u64 {
        let ready = self.ready.lock().log.len() as u64;
        // Of a file, the footer and the headers take at most a fiftieth.
        let usable = self.config.file_bytes - self.config.file_bytes / 50;
        u64::from(self.log_active_room.load(Ordering::Relaxed)) * PAGE_BYTES as u64 + ready * usable
    }

    /// Files that are prepared for a stream.
    pub fn ready_files(&self, kind: StreamKind) -> usize {
        let ready = self.ready.lock();
        match kind {
            StreamKind::Log => ready.log.len(),
            StreamKind::Moves => ready.moves.len(),
        }
    }

    /// The next file of a stream; prepared here and now, from the reserve if need be, when none waits.
    pub(super) fn take_ready(&self, kind: StreamKind) -> Result<Arc<HeapFile>, Error> {
        loop {
            let taken = {
                let mut ready = self.ready.lock();
                match kind {
                    StreamKind::Log => ready.log.pop_front(),
                    StreamKind::Moves => ready.moves.pop_front(),
                }
            };
            match taken {
                Some(file) => return Ok(file),
                None => self.prepare_kept(kind, self.kept_from(kind))?,
            }
        }
    }

    /// How many reserve files a stream in need must leave: the last ones belong to compaction, without
    /// which nothing would ever be reclaimed again.
    fn kept_from(&self, kind: StreamKind) -> usize {
        match kind {
            StreamKind::Log => self.config.reserve_files / 2,
            StreamKind::Moves => 0,
        }
    }

    /// Prepares a file for a stream: recycled if one waits, else new; the reserve stays. Durable before
    /// use: its name, its blocks and its nonce.
    ///
    /// # Errors
    /// No space, or the disk's error; nothing is lost then.
    pub fn prepare(&self, kind: StreamKind) -> Result<(), Error> {
        self.prepare_kept(kind, self.config.reserve_files)
    }

    /// Prepares a file as long as `kept` spares, or room for them, are left.
    fn prepare_kept(&self, kind: StreamKind, kept: usize) -> Result<(), Error> {
        let _one_at_a_time = self.preparing.lock();
        // A manifest in doubt may name a spare, which must keep its name then.
        self.manifest.settle()?;
        let number = FileNo(self.next_file.fetch_add(1, Ordering::Relaxed));
        let spare = match self.take_spare(kept) {
            Some(spare) => {
                let (old, new) = (HeapFile::name(spare.number), HeapFile::name(number));
                if let Err(error) = self.disk.rename(&old, &new) {
                    self.ready.lock().spares.push(spare);
                    return Err(Error::io("cannot rename a spare heap file", error));
                }
                Spare { number, ..spare }
            }
            None => Spare { number, file: self.make_file(number, kept)?, written: false },
        };
        if let Err(error) = self.disk.sync_dir() {
            self.ready.lock().spares.push(spare);
            return Err(Error::io("cannot sync the data directory", error));
        }
        let nonce = self.rng.next_u64();
        let result = self.manifest.commit(|manifest| {
            manifest.next_file = manifest.next_file.max(FileNo(number.0 + 1));
            manifest.files.push(FileRecord { number, nonce, stream: kind, end: None });
            self.note_ends(manifest);
            Ok::<(), Error>(())
        });
        if let Err(error) = result {
            self.ready.lock().spares.push(spare);
            return Err(error);
        }
        let file = Arc::new(HeapFile::new(number, nonce, kind, spare.file, self.file_slots()));
        self.files.write().insert(number, file.clone());
        let mut ready = self.ready.lock();
        match kind {
            StreamKind::Log => ready.log.push_back(file),
            StreamKind::Moves => ready.moves.push_back(file),
        }
        Ok(())
    }

    /// A spare, written if there is one, as long as `kept` are left.
    fn take_spare(&self, kept: usize) -> Option<Spare> {
        let mut ready = self.ready.lock();
        if ready.spares.len() <= kept {
            return None;
        }
        let best = ready.spares.iter().position(|spare| spare.written).unwrap_or(0);
        Some(ready.spares.swap_remove(best))
    }

    /// Makes a file of fresh blocks, if there is room for it and for as many spares as are still missing
    /// of `kept`.
    fn make_file(&self, number: FileNo, kept: usize) -> Result<Arc<dyn DiskFile>, Error> {
        let file_bytes = self.config.file_bytes;
        let used = self.stats().bytes;
        let missing = kept.saturating_sub(self.ready.lock().spares.len()) as u64 * file_bytes;
        if let Some(budget) = self.config.disk_bytes
            && used + file_bytes + missing > budget
        {
            return Err(Error::NoSpace(format!(
                "heap files take {used} bytes of the {budget} that they may; remove files, forks or snapshots, or raise the limit"
            )));
        }
        let place = self.disk.describe();
        let usage = self.disk.usage().map_err(|error| Error::io(format!("cannot size up {place}"), error))?;
        if !space_guard::has_room(usage.free_bytes.saturating_sub(missing), file_bytes, 0) {
            return Err(Error::NoSpace(format!(
                "{place} has {} bytes free and another heap file needs {}; make room there",
                usage.free_bytes,
                space_guard::needed_bytes(file_bytes, 0)
            )));
        }
        let name = HeapFile::name(number);
        let what = || format!("cannot make {place}/{name}");
        let file = self.disk.create(&name).map_err(|error| Error::io(what(), error))?;
        if let Err(error) = file.allocate(file_bytes).and_then(|()| file.sync_data()) {
            if let Err(error) = self.disk.remove(&name) {
                tracing::warn!(%error, name, "cannot remove a heap file that could not be made");
            }
            return Err(Error::io(what(), error));
        }
        Ok(file)
    }

    /// Keeps the reserve filled, and `ahead` spares beyond it. Returns whether it did anything.
    ///
    /// # Errors
    /// No space for it, or the disk's error.
    pub fn fill_spares(&self, ahead: usize) -> Result<bool, Error> {
        let _one_at_a_time = self.preparing.lock();
        if self.ready.lock().spares.len() >= self.config.reserve_files + ahead {
            return Ok(false);
        }
        let number = FileNo(self.next_file.fetch_add(1, Ordering::Relaxed));
        let file = self.make_file(number, 0)?;
        self.ready.lock().spares.push(Spare { number, file, written: false });
        Ok(true)
    }

    /// Writes zeros over one spare that was never written. Returns whether there was one.
    ///
    /// # Errors
    /// The disk's; the spare is as good as before then.
    pub fn write_spare(&self) -> Result<bool, Error> {
        let spare = {
            let mut ready = self.ready.lock();
            let fresh = ready.spares.iter().position(|spare| !spare.written);
            fresh.map(|at| ready.spares.swap_remove(at))
        };
        let Some(mut spare) = spare else { return Ok(false) };
        let result = write_zeros(&*spare.file, self.config.file_bytes);
        spare.written = result.is_ok();
        let number = spare.number;
        self.ready.lock().spares.push(spare);
        result.map_err(|error| Error::io(format!("cannot write spare heap file {number}"), error))?;
        Ok(true)
    }

    fn file_slots(&self) -> u32 {
        u32::try_from(self.config.file_bytes / PAGE_BYTES as u64)
            .expect("a heap file has less than 2^24 slots")
    }

    /// Puts the ends of sealed files into a manifest that is about to be saved.
    fn note_ends(&self, manifest: &mut Manifest) {
        let files = self.files.read();
        for record in manifest.files.iter_mut().filter(|record| record.end.is_none()) {
            record.end = files.get(&record.number).and_then(|file| file.end());
        }
    }

    /// Makes the ends of failed files durable.
    pub(super) fn end_files(&self, ends: &[(FileNo, FileEnd)]) -> Result<(), Error> {
        self.manifest.commit(|manifest| {
            self.note_ends(manifest);
            for (number, end) in ends {
                if let Some(record) = manifest.files.iter_mut().find(|record| record.number == *number) {
                    record.end = Some(*end);
                }
            }
            Ok(())
        })
    }

    /// Takes back what a failed group counted.
    pub(super) fn undo_births(&self, receipt: &Receipt) {
        for file in receipt.slots.iter().map(|addr| addr.file()).chain(receipt.range_files.iter().copied()) {
            self.died(file, 1);
        }
    }

    /// Counts the deaths of live entries of a file; only once whatever replaced them is durable.
    pub fn died(&self, number: FileNo, count: i64) {
        if let Some(file) = self.files.read().get(&number) {
            file.died(count);
        }
    }

    /// A live range of a file is no longer kept in mind by its layer.
    pub fn loosened(&self, number: FileNo) {
        if let Some(file) = self.files.read().get(&number) {
            file.loosened(1);
        }
    }

    /// Reclaims files without a live entry: first the manifest forgets them, then they are unlinked, or
    /// kept as spares. Returns how many.
    ///
    /// # Errors
    /// The disk's; nothing was reclaimed then.
    pub fn reclaim(&self) -> Result<usize, Error> {
        let dead: Vec<FileNo> = {
            let files = self.files.read();
            files
                .values()
                .filter(|file| file.is_sealed() && file.live() == 0)
                .map(|file| file.number)
                .collect()
        };
        if dead.is_empty() {
            return Ok(0);
        }
        self.manifest.commit(|manifest| {
            self.note_ends(manifest);
            manifest.files.retain(|record| !dead.contains(&record.number));
            Ok::<(), Error>(())
        })?;
        let mut reclaimed = 0;
        for number in &dead {
            // Two threads may have found the same file: it is whoever takes it out that goes on.
            let taken = self.files.write().remove(number);
            if let Some(file) = taken {
                self.recycle_or_unlink(file);
                reclaimed += 1;
            }
        }
        Ok(reclaimed)
    }

    fn recycle_or_unlink(&self, file: Arc<HeapFile>) {
        let number = file.number;
        let healthy = file.disk.size().is_ok_and(|size| size == self.config.file_bytes);
        let mut ready = self.ready.lock();
        // One more than the reserve, so that the next roll finds written blocks.
        if ready.spares.len() <= self.config.reserve_files
            && healthy
            && let Some(file) = Arc::into_inner(file)
        {
            ready.spares.push(Spare { number, file: file.disk, written: true });
            return;
        }
        drop(ready);
        match self.disk.remove(&HeapFile::name(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %number, %error, "cannot unlink a dead heap file; the next start does");
            }
            _ => {}
        }
    }

    /// The sealed file that is the lightest to empty, and the slots that its live entries would take.
    pub fn emptiest(&self) -> Option<(Arc<HeapFile>, u64)> {
        let files = self.files.read();
        let file = files
            .values()
            .filter(|file| file.is_sealed() && file.live() > 0 && !file.is_stuck())
            .min_by_key(|file| (file.weight(), file.number))?;
        Some((file.clone(), file.weight()))
    }

    /// Every batch of a sealed file.
    ///
    /// # Errors
    /// The disk's.
    pub fn batches(&self, file: &HeapFile) -> Result<Vec<(SlotNo, Header)>, Error> {
        scan::batches(file, file.end())
    }

    /// Whether some other file may have a page that would come back in a recovery without this range.
    pub fn needs_range(&self, range: &Range, but: FileNo) -> bool {
        self.files.read().values().any(|file| file.number != but && file.may_be_hidden_by(range))
    }

    /// All heap files.
    pub fn all_files(&self) -> Vec<Arc<HeapFile>> {
        let mut files: Vec<_> = self.files.read().values().cloned().collect();
        files.sort_by_key(|file| file.number);
        files
    }

    /// Figures.
    pub fn stats(&self) -> HeapStats {
        let spares = self.ready.lock().spares.len() as u64;
        let files = self.files.read();
        let live: u64 = files.values().map(|file| file.weight()).sum();
        HeapStats {
            files: files.len() as u64 + spares,
            bytes: (files.len() as u64 + spares) * self.config.file_bytes,
            live_bytes: live * PAGE_BYTES as u64,
            syncs: self.syncs.load(Ordering::Relaxed),
            appended_bytes: self.appended_bytes.load(Ordering::Relaxed),
            ram_bytes: files.values().map(|file| file.ram_bytes() as u64).sum(),
        }
    }

    /// How full the disk is.
    ///
    /// # Errors
    /// The disk's.
    pub fn usage(&self) -> Result<crate::io::DiskUsage, Error> {
        self.disk
            .usage()
            .map_err(|error| Error::io(format!("cannot size up {}", self.disk.describe()), error))
    }

    /// The size of a heap file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.config.file_bytes
    }

    /// Seals the active files, so that the next start reads footers, and writes down where they end, so
    /// that it takes damage for damage and not for a torn tail.
    ///
    /// # Errors
    /// The disk's; the next start scans headers then.
    pub fn close(&self) -> Result<(), Error> {
        self.log.lock().close()?;
        self.moves.lock().close()?;
        self.manifest.commit(|manifest| {
            self.note_ends(manifest);
            Ok(())
        })
    }
}

fn write_zeros(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let zeros = PageBuf::zeroed();
    let parts = vec![IoSlice::new(&zeros[..]); 256];
    for offset in (0..bytes).step_by(parts.len() * PAGE_BYTES) {
        let left = usize::try_from((bytes - offset) / PAGE_BYTES as u64).unwrap_or(usize::MAX);
        file.write_all_at(&parts[..left.min(parts.len())], offset)?;
    }
    file.sync_data()
}

fn list(disk: &dyn Disk) -> Result<Vec<FileNo>, Error> {
    let names = disk.list().map_err(|error| Error::io(format!("cannot list {}", disk.describe()), error))?;
    Ok(names.iter().filter_map(|name| HeapFile::number_of(name)).collect())
}

type OpenFile = (Arc<HeapFile>, Option<FileEnd>);

fn open_files(disk: &dyn Disk, manifest: &Manifest, config: HeapConfig) -> Result<Vec<OpenFile>, Error> {
    let mut files = Vec::with_capacity(manifest.files.len());
    for record in &manifest.files {
        let name = HeapFile::name(record.number);
        let place = || format!("cannot open {}/{name}", disk.describe());
        let file = disk.open(&name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::DataDirectory(format!(
                "{}: the manifest names it, but it is gone; nothing was changed; restore it from a copy",
                place()
            )),
            _ => Error::io(place(), error),
        })?;
        let bytes = file.size().map_err(|error| Error::io(place(), error))?;
        let pages = bytes.max(config.file_bytes) / PAGE_BYTES as u64;
        let slots = u32::try_from(pages)
            .map_err(|_| Error::DataDirectory(format!("{}: it is too large", place())))?;
        let file = HeapFile::new(record.number, record.nonce, record.stream, file, slots);
        files.push((Arc::new(file), record.end));
    }
    files.sort_by_key(|(file, _)| file.number);
    Ok(files)
}

fn walk(files: &[OpenFile], kind: StreamKind, sink: &mut dyn Recovered) -> Result<StreamEnd, Error> {
    let of_kind: Vec<OpenFile> = files.iter().filter(|(file, _)| file.stream == kind).cloned().collect();
    recover::walk(&of_kind, sink)
}
