//! A volume or snapshot as a mount sees it.

use std::sync::Arc;
use std::time::Duration;

use super::apply::Applier;
use super::engine::Engine;
use super::head::Head;
use super::stack::{Reader, Stack};
use super::{Capacity, Edit, Error, Hint, Operation, Pages, Source, Synced, VolumeInfo};
use crate::base::limits::PAGE_BYTES;
use crate::base::{PageNo, Space};

/// How long a writer waits for a round before it looks again, in case nobody wakes it.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What is mounted.
enum Target {
    /// For writing: the head.
    Head(Arc<Head>),
    /// For reading: an instant.
    Pinned(Stack),
}

/// A volume opened for a mount. The mount ends when this is dropped.
pub struct Mounted {
    engine: Arc<Engine>,
    source: Source,
    quota_bytes: Option<u64>,
    target: Target,
}

impl Mounted {
    pub(super) fn writable(
        engine: Arc<Engine>,
        source: Source,
        head: Arc<Head>,
        quota_bytes: Option<u64>,
    ) -> Self {
        Mounted { engine, source, quota_bytes, target: Target::Head(head) }
    }

    pub(super) fn pinned(
        engine: Arc<Engine>,
        source: Source,
        stack: Stack,
        quota_bytes: Option<u64>,
    ) -> Self {
        Mounted { engine, source, quota_bytes, target: Target::Pinned(stack) }
    }

    pub(super) fn is_writable(&self) -> bool {
        matches!(self.target, Target::Head(_))
    }

    /// What is mounted.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The volume's properties.
    ///
    /// # Errors
    /// None as long as it is mounted.
    pub fn info(&self) -> Result<VolumeInfo, Error> {
        self.engine.info(&self.source.volume)
    }

    fn layers(&self) -> Stack {
        match &self.target {
            Target::Head(head) => head.layers(),
            Target::Pinned(stack) => stack.clone(),
        }
    }

    /// Reads from the layers as they are. A stack that was replaced meanwhile may have a layer that is part
    /// of another by now, with pages that were removed there: it is read again, from the new one.
    fn with_reader<T>(&self, mut act: impl FnMut(&Reader<'_>) -> T) -> T {
        loop {
            let layers = self.layers();
            let found = act(&Reader { heap: &self.engine.heap, cache: &self.engine.cache, layers: &layers });
            if self.has_layers(&layers) {
                return found;
            }
        }
    }

    fn has_layers(&self, layers: &Stack) -> bool {
        match &self.target {
            Target::Head(head) => Arc::ptr_eq(&head.gate.read().layers, layers),
            Target::Pinned(_) => true,
        }
    }

    fn head(&self) -> Result<&Arc<Head>, Error> {
        match &self.target {
            Target::Head(head) => Ok(head),
            Target::Pinned(_) => Err(Error::ReadOnly),
        }
    }

    /// Holds a writer back while too much is unlogged, and makes sure that what it brings can be
    /// logged. The writer does the work itself where nobody else is at it.
    fn admit(&self, head: &Arc<Head>, operation: &Operation<'_>) -> Result<(), Error> {
        let engine = &self.engine;
        loop {
            head.check_alive()?;
            if engine.is_closed() {
                return Err(Error::ShuttingDown);
            }
            if head.pending_bytes() < engine.committer.pending_bytes_max() {
                break;
            }
            if !engine.lead(std::slice::from_ref(head)) {
                engine.committer.wait_for_round(WAIT_MAX);
            } else if head.pending_bytes() >= engine.committer.pending_bytes_max() {
                // A round that made no room: the log is full, not slow.
                engine.ensure_log_room(0, false)?;
            }
        }
        engine.ensure_log_room(head_room_bytes(operation), operation.frees)
    }
}

/// Bytes of log that an operation may take, headers included.
fn head_room_bytes(operation: &Operation<'_>) -> u64 {
    let pages: usize = operation
        .edits
        .iter()
        .map(|edit| match edit {
            Edit::Write { data, .. } => data.len() / PAGE_BYTES + 2,
            Edit::Remove { .. } | Edit::Add { .. } | Edit::Max { .. } => 1,
        })
        .sum();
    ((pages + pages / 50 + 1) * PAGE_BYTES) as u64
}

impl Pages for Mounted {
    fn read(&self, space: Space, offset: u64, buf: &mut [u8], hint: Hint) -> Result<(), Error> {
        loop {
            match self.with_reader(|reader| reader.read(space, offset, buf, hint)) {
                Err(Error::Restacked) => {}
                result => return result,
            }
        }
    }

    fn apply(&self, operation: &Operation<'_>) -> Result<(), Error> {
        let head = self.head()?;
        self.admit(head, operation)?;
        let engine = &self.engine;
        let applier = Applier { heap: &engine.heap, cache: &engine.cache, seq: &engine.seq };
        applier.apply(head, operation, engine.clock.monotonic())?;
        engine.ring_log_if_due(head);
        Ok(())
    }

    fn has_room(&self) -> bool {
        match &self.target {
            Target::Head(head) => {
                head.pending_bytes() < self.engine.committer.pending_bytes_max() && self.engine.has_log_room()
            }
            Target::Pinned(_) => true,
        }
    }

    fn count(&self, space: Space, from: PageNo, to: PageNo) -> u64 {
        self.with_reader(|reader| reader.count(space, from, to))
    }

    fn next_present(&self, space: Space, from: PageNo) -> Option<PageNo> {
        self.with_reader(|reader| reader.next_present(space, from))
    }

    fn next_absent(&self, space: Space, from: PageNo) -> PageNo {
        self.with_reader(|reader| reader.next_absent(space, from))
    }

    fn sync(&self, done: Synced) {
        match &self.target {
            Target::Head(head) => {
                self.engine.committer.enqueue(head, done);
                self.engine.committer.drive(&self.engine.heap, &*self.engine.clock);
            }
            Target::Pinned(_) => done(Ok(())),
        }
    }

    fn capacity(&self) -> Capacity {
        let stats = self.engine.heap.stats();
        let free = self.engine.free_bytes();
        Capacity { total_bytes: stats.bytes + free, free_bytes: free, quota_bytes: self.quota_bytes }
    }

    fn read_only(&self) -> bool {
        !self.is_writable()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.engine.unmounted(&self.source, self.is_writable());
    }
}
