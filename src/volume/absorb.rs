//! Putting layers together: a frozen layer that only one volume still needs becomes part of the layer
//! above it, so that what was overwritten since dies, and look-ups pass one layer less.
//!
//! A freeze leaves such a layer behind whenever the fork or snapshot that wanted it is gone, or was only
//! a read-only mount. The lower layer goes into the upper one, which takes changes meanwhile: its pages
//! are older than everything there, by their sequence numbers too, so that recovery comes to the same
//! result from the two sets of records.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::engine::{Engine, Mounts};
use super::head::Head;
use super::layer::Layer;
use super::{Error, Source};
use crate::base::{FileNo, LayerId};
use crate::format::manifest::{AbsorbedRecord, Manifest};

impl Engine {
    /// Lets one volume's newest layer absorb the one beneath, where nobody else needs that. Returns
    /// whether there was one.
    pub(super) fn absorb(&self) -> Result<bool, Error> {
        // A command that freezes or removes goes first.
        let Some(_admin) = self.admin.try_lock() else { return Ok(false) };
        // Set again by whatever may leave such a layer behind.
        if !self.may_absorb.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let _nothing_moves = self.maintaining.lock();
        let holders = self.holders();
        let heads: Vec<Arc<Head>> = self.heads.read().values().cloned().collect();
        let pairs = heads.iter().filter_map(|head| self.absorbable(head, &holders));
        let mut unsettled = false;
        let found = pairs.filter(|(_, _, lower)| {
            let settled = lower.is_settled();
            unsettled |= !settled;
            settled
        });
        let found = found.collect::<Vec<_>>().into_iter().next();
        if unsettled || found.is_some() {
            self.may_absorb.store(true, Ordering::Release);
        }
        let Some((head, upper, lower)) = found else { return Ok(false) };
        self.heap.manifest.commit(|manifest| {
            note_absorbed(manifest, &upper, &lower);
            Ok::<(), Error>(())
        })?;
        let (dead, dying) = upper.absorb(&lower);
        for (file, count) in dead {
            self.heap.died(file, count);
        }
        if !dying.is_empty() {
            let now = self.clock.monotonic();
            let mut pending = head.pending.lock();
            pending.deaths.extend(dying);
            pending.since.get_or_insert(now);
        }
        {
            let mut top = head.gate.write();
            top.layers = top.layers.iter().filter(|layer| layer.id != lower.id).cloned().collect();
        }
        for layer in self.layers.write().values_mut().filter(|layer| layer.id == lower.id) {
            *layer = upper.clone();
        }
        tracing::debug!(volume = %head.name, upper = %upper.id, lower = %lower.id, "put two layers together");
        Ok(true)
    }

    /// How many heads and snapshots have each frozen layer.
    fn holders(&self) -> HashMap<LayerId, usize> {
        let manifest = self.heap.manifest.current();
        let mut holders = HashMap::new();
        for record in &manifest.volumes {
            let snapshots = record.snapshots.iter().flat_map(|snapshot| &snapshot.layers);
            for id in record.frozen.iter().chain(snapshots) {
                *holders.entry(*id).or_default() += 1;
            }
        }
        holders
    }

    /// A head with its newest layer and the one beneath, when nothing but this head needs the latter.
    fn absorbable(
        &self,
        head: &Arc<Head>,
        holders: &HashMap<LayerId, usize>,
    ) -> Option<(Arc<Head>, Arc<Layer>, Arc<Layer>)> {
        let (upper, lower) = {
            let top = head.gate.read();
            // What froze and is not in the manifest yet is left alone until it is.
            top.next_mutable?;
            (top.layers[0].clone(), top.layers.get(1)?.clone())
        };
        let is_pinned = |(source, count): (&Source, &Mounts)| source.volume == head.name && count.readers > 0;
        let pinned = self.mounts.lock().iter().any(is_pinned);
        (holders.get(&lower.id) == Some(&1) && !pinned).then(|| (head.clone(), upper, lower))
    }
}

fn note_absorbed(manifest: &mut Manifest, upper: &Layer, lower: &Layer) {
    for record in &mut manifest.volumes {
        record.frozen.retain(|id| *id != lower.id);
    }
    for record in &mut manifest.absorbed {
        if record.into == lower.id {
            record.into = upper.id;
        }
    }
    let files_below = manifest.next_file;
    manifest.absorbed.push(AbsorbedRecord { layer: lower.id, into: upper.id, files_below });
    let oldest = manifest.files.iter().map(|file| file.number).min().unwrap_or(FileNo(u64::MAX));
    manifest.absorbed.retain(|record| record.files_below > oldest);
}
