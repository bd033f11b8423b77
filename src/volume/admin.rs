//! What an operator does to volumes: create, mount, fork, snapshot, rollback, remove.
//!
//! Each is a change of the manifest, and durable when it returns. A freeze comes first where the
//! instant of a head is wanted; whatever becomes of the command then, a head that froze is whole.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use super::engine::Engine;
use super::head::Head;
use super::layer::Layer;
use super::open::layer_ids;
use super::stack::Stack;
use super::types::{CreateOptions, Durability, ForkReport, SnapshotInfo, Source, VolumeInfo};
use super::{Error, Mounted};
use crate::base::{LayerId, Name};
use crate::format::manifest::{Manifest, ParentRecord, SnapshotRecord, VolumeRecord};

/// How long a command waits for a sync before it says that its outcome is unknown.
const SYNC_WAIT_MAX: Duration = Duration::from_secs(120);

impl Engine {
    /// Makes an empty volume.
    ///
    /// # Errors
    /// The name is taken, or the manifest cannot be saved.
    pub fn create(&self, name: &Name, options: &CreateOptions) -> Result<VolumeInfo, Error> {
        let _admin = self.admin.lock();
        let mut record = self.new_record(name);
        record.quota_bytes = options.quota_bytes;
        record.remote_durable = options.durability == Durability::Remote;
        self.add_volume(record, &[], |_| Ok(()))
    }

    /// Opens a volume or snapshot for one mount. A snapshot is read-only always.
    ///
    /// # Errors
    /// It is not there, or is mounted for writing already.
    pub fn mount(self: &Arc<Self>, source: &Source, read_only: bool) -> Result<Arc<Mounted>, Error> {
        let _admin = self.admin.lock();
        if self.is_closed() {
            return Err(Error::ShuttingDown);
        }
        let record = self.record(&source.volume)?;
        let quota = record.quota_bytes;
        let head = self.head(&source.volume)?;
        let mounted = if source.snapshot.is_some() {
            Mounted::pinned(self.clone(), source.clone(), self.instant_of(source, &head)?, quota)
        } else if read_only {
            let stack = self.instant_of(source, &head)?;
            self.publish(&head)?;
            Mounted::pinned(self.clone(), source.clone(), stack, quota)
        } else {
            head.check_alive()?;
            if head.mounted.swap(true, Ordering::AcqRel) {
                return Err(Error::Busy { what: source.to_string() });
            }
            Mounted::writable(self.clone(), source.clone(), head, quota)
        };
        let mut mounts = self.mounts.lock();
        let count = mounts.entry(source.clone()).or_default();
        *if mounted.is_writable() { &mut count.writers } else { &mut count.readers } += 1;
        Ok(Arc::new(mounted))
    }

    pub(super) fn unmounted(&self, source: &Source, writable: bool) {
        let mut mounts = self.mounts.lock();
        if let Some(count) = mounts.get_mut(source) {
            *if writable { &mut count.writers } else { &mut count.readers } -= 1;
            if count.writers + count.readers == 0 {
                mounts.remove(source);
            }
        }
        if writable && let Some(head) = self.heads.read().get(&source.volume) {
            head.mounted.store(false, Ordering::Release);
        }
        self.may_absorb.store(true, Ordering::Release);
    }

    /// Makes a volume that begins as `source` is at this instant, writes that returned included.
    ///
    /// # Errors
    /// `source` is not there, `new` is, or the log or the manifest cannot be written; there is no new
    /// volume then.
    pub fn fork(&self, source: &Source, new: &Name) -> Result<ForkReport, Error> {
        let _admin = self.admin.lock();
        let parent_record = self.record(&source.volume)?;
        self.check_free(new)?;
        let head = self.head(&source.volume)?;
        let before = self.clock.monotonic();
        let instant = self.instant_of(source, &head)?;
        let held = self.clock.monotonic().saturating_sub(before);
        if source.snapshot.is_none() {
            self.sync_head(&head)?;
        }
        let mut record = self.new_record(new);
        record.quota_bytes = parent_record.quota_bytes;
        record.remote_durable = parent_record.remote_durable;
        record.parent =
            Some(ParentRecord { volume: source.volume.clone(), snapshot: source.snapshot.clone() });
        let volume = self.add_volume(record, &instant, |manifest| self.update_record(manifest, &head))?;
        self.froze_durably(&head);
        Ok(ForkReport { volume, writers_held_ns: u64::try_from(held.as_nanos()).unwrap_or(u64::MAX) })
    }

    /// Names this instant of a volume.
    ///
    /// # Errors
    /// As of [`Engine::fork`].
    pub fn snapshot(&self, volume: &Name, snapshot: &Name) -> Result<SnapshotInfo, Error> {
        let _admin = self.admin.lock();
        let record = self.record(volume)?;
        if record.snapshots.iter().any(|other| other.name == *snapshot) {
            return Err(Error::SnapshotExists { volume: volume.clone(), snapshot: snapshot.clone() });
        }
        let head = self.head(volume)?;
        let source = Source { volume: volume.clone(), snapshot: None };
        let instant = self.instant_of(&source, &head)?;
        self.sync_head(&head)?;
        let info = SnapshotInfo { name: snapshot.clone(), created: self.clock.now().nanos };
        let layers = instant.iter().map(|layer| layer.id).collect();
        self.heap.manifest.commit(|manifest| {
            self.update_record(manifest, &head)?;
            let record = find(manifest, volume)?;
            record.snapshots.push(SnapshotRecord { name: info.name.clone(), created: info.created, layers });
            Ok::<(), Error>(())
        })?;
        self.froze_durably(&head);
        Ok(info)
    }

    /// Takes a volume back to one of its snapshots; what came later is gone, unless a fork or another
    /// snapshot has it.
    ///
    /// # Errors
    /// It is mounted, or there is no such snapshot.
    pub fn rollback(&self, volume: &Name, snapshot: &Name) -> Result<(), Error> {
        let _admin = self.admin.lock();
        let source = Source { volume: volume.clone(), snapshot: Some(snapshot.clone()) };
        let old = self.head(volume)?;
        self.check_unmounted(&Source { volume: volume.clone(), snapshot: None })?;
        let instant = self.instant_of(&source, &old)?;
        let (mutable, next_mutable) = self.heap.manifest.commit(|manifest| {
            let (mutable, next) = (take_layer(manifest), take_layer(manifest));
            let record = find(manifest, volume)?;
            (record.mutable, record.next_mutable) = (mutable, next);
            record.frozen = instant.iter().map(|layer| layer.id).collect();
            Ok::<_, Error>((mutable, next))
        })?;
        let head = Head::new(volume.clone(), self.stack_on(mutable, &instant), next_mutable);
        self.between_rounds(|| {
            self.heads.write().insert(volume.clone(), head);
            self.forget(&old);
        });
        Ok(())
    }

    /// Removes a volume with its snapshots, or one snapshot. Forks keep what they share with it.
    ///
    /// # Errors
    /// It is not there, or mounted.
    pub fn remove(&self, source: &Source) -> Result<(), Error> {
        let _admin = self.admin.lock();
        let record = self.record(&source.volume)?;
        let head = self.head(&source.volume)?;
        match &source.snapshot {
            Some(snapshot) => {
                find_snapshot(&record, snapshot)?;
                self.check_unmounted(source)?;
            }
            None => {
                self.check_unmounted(source)?;
                for snapshot in &record.snapshots {
                    let snapshot = Some(snapshot.name.clone());
                    self.check_unmounted(&Source { volume: source.volume.clone(), snapshot })?;
                }
            }
        }
        self.heap.manifest.commit(|manifest| {
            match &source.snapshot {
                Some(snapshot) => find(manifest, &source.volume)?.snapshots.retain(|s| s.name != *snapshot),
                None => manifest.volumes.retain(|volume| volume.name != source.volume),
            }
            Ok::<(), Error>(())
        })?;
        self.between_rounds(|| {
            if source.snapshot.is_none() {
                self.heads.write().remove(&source.volume);
                self.forget(&head);
            } else {
                self.bury_unreferenced();
            }
        });
        Ok(())
    }

    /// All volumes, by name.
    pub fn list(&self) -> Vec<VolumeInfo> {
        let manifest = self.heap.manifest.current();
        let mut volumes: Vec<_> = manifest.volumes.iter().map(|record| self.info_of(record)).collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        volumes
    }

    /// One volume.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn info(&self, name: &Name) -> Result<VolumeInfo, Error> {
        Ok(self.info_of(&self.record(name)?))
    }

    /// Waits until all that a volume has now is durable.
    ///
    /// # Errors
    /// There is none of this name, or the log cannot be written.
    pub fn sync(&self, name: &Name) -> Result<(), Error> {
        self.sync_head(&self.head(name)?)
    }

    pub(super) fn sync_head(&self, head: &Arc<Head>) -> Result<(), Error> {
        let (done, outcome) = mpsc::sync_channel(1);
        self.committer.enqueue(
            head,
            Box::new(move |result| {
                // Whoever asked may have given up waiting.
                let _ = done.send(result);
            }),
        );
        self.lead(&[]);
        outcome.recv_timeout(SYNC_WAIT_MAX).unwrap_or_else(|_| {
            Err(Error::LogFailed { detail: "a sync did not end in time; its outcome is unknown".into() })
        })
    }

    /// The frozen layers that are `source` at this instant. Freezes a head that has changed since the
    /// last freeze; the caller publishes that.
    fn instant_of(&self, source: &Source, head: &Arc<Head>) -> Result<Stack, Error> {
        if let Some(snapshot) = &source.snapshot {
            let record = self.record(&source.volume)?;
            let layers = self.layers.read();
            let ids = &find_snapshot(&record, snapshot)?.layers;
            return Ok(ids.iter().map(|id| layers[id].clone()).collect());
        }
        self.ensure_next_mutable(head)?;
        // Made before the gate, since the gate is no place to allocate what may not be needed.
        let next = head.gate.read().next_mutable.expect("ensured above, and only commands take it");
        let fresh = Layer::new(next, self.cache.meter.clone());
        let mut top = head.gate.write();
        if top.layers[0].is_empty() {
            return Ok(top.layers[1..].into());
        }
        let frozen = top.layers.clone();
        top.layers = std::iter::once(&fresh).chain(frozen.iter()).cloned().collect();
        top.next_mutable = None;
        drop(top);
        self.layers.write().insert(fresh.id, fresh);
        Ok(frozen)
    }

    /// Makes sure that the manifest names the layer that the head's next freeze begins.
    pub(super) fn ensure_next_mutable(&self, head: &Arc<Head>) -> Result<(), Error> {
        if head.gate.read().next_mutable.is_some() {
            return Ok(());
        }
        self.publish(head)
    }

    /// Writes the head's layers into the manifest, if it froze since they were.
    fn publish(&self, head: &Arc<Head>) -> Result<(), Error> {
        if head.gate.read().next_mutable.is_none() {
            self.heap.manifest.commit(|manifest| self.update_record(manifest, head))?;
            self.froze_durably(head);
        }
        Ok(())
    }

    fn update_record(&self, manifest: &mut Manifest, head: &Arc<Head>) -> Result<(), Error> {
        let (layers, next) = {
            let top = head.gate.read();
            (top.layers.clone(), top.next_mutable)
        };
        let next = next.unwrap_or_else(|| take_layer(manifest));
        let record = find(manifest, &head.name)?;
        record.mutable = layers[0].id;
        record.frozen = layers[1..].iter().map(|layer| layer.id).collect();
        record.next_mutable = next;
        Ok(())
    }

    /// The manifest has what `update_record` wrote: the layer that it named is ready for a freeze.
    fn froze_durably(&self, head: &Arc<Head>) {
        if let Ok(record) = self.record(&head.name) {
            head.gate.write().next_mutable = Some(record.next_mutable);
        }
        self.may_absorb.store(true, Ordering::Release);
    }

    fn add_volume(
        &self,
        mut record: VolumeRecord,
        instant: &[Arc<Layer>],
        also: impl FnOnce(&mut Manifest) -> Result<(), Error>,
    ) -> Result<VolumeInfo, Error> {
        self.check_free(&record.name)?;
        record.frozen = instant.iter().map(|layer| layer.id).collect();
        let record = self.heap.manifest.commit(|manifest| {
            also(manifest)?;
            record.mutable = take_layer(manifest);
            record.next_mutable = take_layer(manifest);
            manifest.volumes.push(record.clone());
            Ok::<_, Error>(record)
        })?;
        let stack = self.stack_on(record.mutable, instant);
        let head = Head::new(record.name.clone(), stack, record.next_mutable);
        self.heads.write().insert(record.name.clone(), head);
        Ok(self.info_of(&record))
    }

    fn stack_on(&self, mutable: LayerId, instant: &[Arc<Layer>]) -> Stack {
        let layer = Layer::new(mutable, self.cache.meter.clone());
        self.layers.write().insert(mutable, layer.clone());
        std::iter::once(&layer).chain(instant).cloned().collect()
    }

    fn new_record(&self, name: &Name) -> VolumeRecord {
        VolumeRecord {
            name: name.clone(),
            uuid: self.new_uuid(),
            created: self.clock.now().nanos,
            parent: None,
            quota_bytes: None,
            remote_durable: false,
            mutable: LayerId(0),
            next_mutable: LayerId(0),
            frozen: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    /// A random UUID (version 4).
    fn new_uuid(&self) -> String {
        let high = self.rng.next_u64() & !0xf000 | 0x4000;
        let low = self.rng.next_u64() & !(0b11 << 62) | 0b10 << 62;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    fn head(&self, name: &Name) -> Result<Arc<Head>, Error> {
        self.heads.read().get(name).cloned().ok_or_else(|| Error::NoVolume(name.clone()))
    }

    pub(super) fn record(&self, name: &Name) -> Result<VolumeRecord, Error> {
        let manifest = self.heap.manifest.current();
        let record = manifest.volumes.iter().find(|record| record.name == *name);
        record.cloned().ok_or_else(|| Error::NoVolume(name.clone()))
    }

    fn check_free(&self, name: &Name) -> Result<(), Error> {
        if self.heads.read().contains_key(name) { Err(Error::VolumeExists(name.clone())) } else { Ok(()) }
    }

    fn check_unmounted(&self, source: &Source) -> Result<(), Error> {
        if self.mounts.lock().contains_key(source) {
            Err(Error::Busy { what: source.to_string() })
        } else {
            Ok(())
        }
    }

    fn info_of(&self, record: &VolumeRecord) -> VolumeInfo {
        let source = Source { volume: record.name.clone(), snapshot: None };
        let info = |snapshot: &SnapshotRecord| SnapshotInfo {
            name: snapshot.name.clone(),
            created: snapshot.created,
        };
        VolumeInfo {
            name: record.name.clone(),
            uuid: record.uuid.clone(),
            created: record.created,
            parent: record
                .parent
                .as_ref()
                .map(|parent| Source { volume: parent.volume.clone(), snapshot: parent.snapshot.clone() }),
            quota_bytes: record.quota_bytes,
            durability: if record.remote_durable { Durability::Remote } else { Durability::Local },
            snapshots: record.snapshots.iter().map(info).collect(),
            mounted: self.mounts.lock().contains_key(&source),
        }
    }

    /// A head is gone: what it killed stays dead, and layers that were its alone are buried.
    fn forget(&self, head: &Arc<Head>) {
        let pending = std::mem::take(&mut *head.pending.lock());
        for (file, count) in pending.deaths {
            self.heap.died(file, count);
        }
        self.bury_unreferenced();
    }

    fn bury_unreferenced(&self) {
        self.may_absorb.store(true, Ordering::Release);
        let manifest = self.heap.manifest.current();
        let referenced: HashSet<LayerId> = manifest.volumes.iter().flat_map(layer_ids).collect();
        let mut layers = self.layers.write();
        let dead = layers.extract_if(|_, layer| !referenced.contains(&layer.id));
        // An absorbed layer's id leads to the one that it is part of, which is to be buried once.
        let dead = dead.filter(|(id, layer)| layer.id == *id).map(|(_, layer)| layer);
        self.graveyard.lock().extend(dead);
    }

    /// Counts out the pages of one removed layer. Returns whether there was one.
    pub(super) fn bury(&self) -> Result<bool, Error> {
        let _nothing_moves = self.maintaining.lock();
        let Some(layer) = self.graveyard.lock().pop() else { return Ok(false) };
        for (file, count) in layer.live_by_file() {
            self.heap.died(file, count);
        }
        Ok(true)
    }
}

fn take_layer(manifest: &mut Manifest) -> LayerId {
    // Layer 0 is never given out, so that it may stand for none.
    let id = LayerId(manifest.next_layer.0.max(1));
    manifest.next_layer = LayerId(id.0 + 1);
    id
}

fn find<'m>(manifest: &'m mut Manifest, name: &Name) -> Result<&'m mut VolumeRecord, Error> {
    manifest
        .volumes
        .iter_mut()
        .find(|record| record.name == *name)
        .ok_or_else(|| Error::NoVolume(name.clone()))
}

fn find_snapshot<'r>(record: &'r VolumeRecord, name: &Name) -> Result<&'r SnapshotRecord, Error> {
    record
        .snapshots
        .iter()
        .find(|snapshot| snapshot.name == *name)
        .ok_or_else(|| Error::NoSnapshot { volume: record.name.clone(), snapshot: name.clone() })
}
