//! Opening a data directory: from what the log says to volumes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::engine::{Engine, MEMORY_FIXED_BYTES};
use super::head::Head;
use super::layer::Layer;
use super::types::Config;
use super::{Error, stack::Stack};
use crate::base::limits::PAGES_PER_BLOCK;
use crate::base::{BlockNo, LayerId, PageNo, Seq, Space};
use crate::cold::{Heap, HeapConfig, Recovered, RecoveredEntry, RecoveredRange};
use crate::format::manifest::{Manifest, VolumeRecord};
use crate::hot::{Cache, Meter};
use crate::io::{Clock, Disk, Rng};

/// Heap files kept back for what gives space back: one for the log, one for compaction.
const RESERVE_FILES: usize = 2;

type Seqs = Box<[Seq; PAGES_PER_BLOCK as usize]>;

/// Builds layers from what recovery finds. The highest sequence number wins, in whatever order
/// things come.
struct Builder {
    /// For layers that are part of another: which.
    absorbed: HashMap<LayerId, LayerId>,
    layers: HashMap<LayerId, Arc<Layer>>,
    meter: Arc<Meter>,
    seqs: HashMap<(LayerId, Space, BlockNo), Seqs>,
    ranges: Vec<RecoveredRange>,
}

impl Recovered for Builder {
    fn begin(&mut self, manifest: &Manifest) {
        self.absorbed = manifest.absorbed.iter().map(|record| (record.layer, record.into)).collect();
    }

    fn entry(&mut self, RecoveredEntry { mut entry, addr }: RecoveredEntry) {
        entry.layer = *self.absorbed.get(&entry.layer).unwrap_or(&entry.layer);
        let index = entry.page.in_block() as usize;
        let seqs = match self.seqs.entry((entry.layer, entry.space, entry.page.block())) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => place.insert(Box::new([Seq(0); PAGES_PER_BLOCK as usize])),
        };
        if entry.seq >= seqs[index] {
            seqs[index] = entry.seq;
            let meter = &self.meter;
            let layer =
                self.layers.entry(entry.layer).or_insert_with(|| Layer::new(entry.layer, meter.clone()));
            layer.adopt(entry.space, entry.page, addr);
        }
    }

    fn range(&mut self, mut found: RecoveredRange) {
        let layer = &mut found.range.layer;
        *layer = *self.absorbed.get(layer).unwrap_or(layer);
        self.ranges.push(found);
    }
}

impl Builder {
    /// Applies the ranges: from new to old, skipping those that a newer one covers.
    fn finish(mut self) -> HashMap<LayerId, Arc<Layer>> {
        self.ranges.sort_by_key(|found| std::cmp::Reverse((found.range.seq, found.file)));
        let mut kept: HashMap<(LayerId, Space), Vec<(PageNo, PageNo)>> = HashMap::new();
        for RecoveredRange { range, file } in std::mem::take(&mut self.ranges) {
            let newer = kept.entry((range.layer, range.space)).or_default();
            if newer.iter().any(|(from, to)| *from <= range.from && range.to <= *to) {
                continue;
            }
            newer.push((range.from, range.to));
            let meter = &self.meter;
            let layer =
                self.layers.entry(range.layer).or_insert_with(|| Layer::new(range.layer, meter.clone()));
            let seqs = &self.seqs;
            layer.adopt_range(&range, file, &|page| {
                seqs.get(&(range.layer, range.space, page.block()))
                    .is_some_and(|seqs| seqs[page.in_block() as usize] < range.seq)
            });
        }
        self.layers
    }
}

impl Engine {
    /// Opens a data directory: recovers the log, rebuilds the index, reclaims what nobody names.
    ///
    /// # Errors
    /// A damaged manifest or log, or a newer version; nothing is changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: Config,
    ) -> Result<Arc<Self>, Error> {
        let frames_bytes =
            config.memory_bytes.saturating_sub(MEMORY_FIXED_BYTES).max(config.memory_bytes / 4);
        let cache = Cache::new(usize::try_from(frames_bytes).expect("64-bit"));
        let mut builder = Builder {
            absorbed: HashMap::new(),
            layers: HashMap::new(),
            meter: cache.meter.clone(),
            seqs: HashMap::new(),
            ranges: Vec::new(),
        };
        let heap_config = HeapConfig {
            file_bytes: config.heap_file_bytes,
            disk_bytes: config.disk_bytes,
            reserve_files: RESERVE_FILES,
        };
        let (heap, last_seq) = Heap::open(disk, rng.clone(), heap_config, &mut builder)?;
        let found = builder.finish();
        let engine = Engine::assemble(heap, cache, clock, rng, config, last_seq.0 + 1);
        engine.adopt(found)?;
        Ok(Arc::new(engine))
    }

    /// Makes heads of what was found, and counts what of it is live. Layers that no volume names are
    /// dropped: their pages are dead.
    fn adopt(&self, mut found: HashMap<LayerId, Arc<Layer>>) -> Result<(), Error> {
        let manifest = self.heap.manifest.current();
        let mut thawed = Vec::new();
        for record in &manifest.volumes {
            let mut ids = vec![record.mutable];
            ids.extend(&record.frozen);
            if found.contains_key(&record.next_mutable) {
                // It froze, and the command that wanted it did not come to its end.
                ids.insert(0, record.next_mutable);
                thawed.push(record.name.clone());
            }
            let layers: Stack = ids.iter().map(|id| self.adopt_layer(&mut found, *id)).collect();
            for snapshot in &record.snapshots {
                for id in &snapshot.layers {
                    self.adopt_layer(&mut found, *id);
                }
            }
            let head = Head::new(record.name.clone(), layers, record.next_mutable);
            self.heads.write().insert(record.name.clone(), head);
        }
        for layer in self.layers.read().values() {
            for (file, live) in layer.live_by_file() {
                self.heap.file(file).expect("recovery read it").born(live);
            }
        }
        self.loosen_ranges();
        {
            let mut layers = self.layers.write();
            for record in &manifest.absorbed {
                if let Some(into) = layers.get(&record.into).cloned() {
                    layers.insert(record.layer, into);
                }
            }
        }
        for name in thawed {
            let head = self.heads.read().get(&name).expect("inserted above").clone();
            head.gate.write().next_mutable = None;
            self.ensure_next_mutable(&head)?;
        }
        Ok(())
    }

    /// Lets go of the ranges that hide nothing. What lies beneath a layer is the same in every stack.
    fn loosen_ranges(&self) {
        let manifest = self.heap.manifest.current();
        let layers = self.layers.read();
        let stacks = self.heads.read().values().map(|head| head.layers().to_vec()).collect::<Vec<_>>();
        let snapshots = manifest.volumes.iter().flat_map(|record| &record.snapshots);
        let snapshots =
            snapshots.map(|snapshot| snapshot.layers.iter().map(|id| layers[id].clone()).collect());
        for stack in stacks.into_iter().chain(snapshots) {
            for (depth, layer) in stack.iter().enumerate() {
                for file in layer.loosen(&stack[depth + 1..]) {
                    self.heap.loosened(file);
                }
            }
        }
    }

    fn adopt_layer(&self, found: &mut HashMap<LayerId, Arc<Layer>>, id: LayerId) -> Arc<Layer> {
        let mut layers = self.layers.write();
        let make = || found.remove(&id).unwrap_or_else(|| Layer::new(id, self.cache.meter.clone()));
        layers.entry(id).or_insert_with(make).clone()
    }
}

/// The ids of a volume record's layers, newest first.
pub(super) fn layer_ids(record: &VolumeRecord) -> impl Iterator<Item = LayerId> + '_ {
    let snapshots = record.snapshots.iter().flat_map(|snapshot| snapshot.layers.iter());
    std::iter::once(&record.mutable)
        .chain(&record.frozen)
        .chain(snapshots)
        .chain(std::iter::once(&record.next_mutable))
        .copied()
}
