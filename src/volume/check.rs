//! Verifying everything local: that each live page matches its checksum, and that the refcounts are
//! what a recount says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Error;
use super::engine::Engine;
use super::types::CheckReport;
use crate::base::limits::PAGE_BYTES;
use crate::base::{FileNo, SlotNo};
use crate::cold::{HeapFile, SlotAddr};

impl Engine {
    /// Reads and verifies every live page; `progress` gets (bytes done, bytes in all). Damage is
    /// reported, not repaired.
    ///
    /// # Errors
    /// A heap file whose batches cannot be read at all.
    pub fn check(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, Error> {
        let mut report = CheckReport::default();
        self.check_refcounts(&mut report);
        let files: Vec<Arc<HeapFile>> =
            self.heap.all_files().into_iter().filter(|file| file.is_sealed()).collect();
        let total = files.iter().map(|file| file.bytes()).sum();
        let mut done = 0;
        for file in files {
            progress(done, total);
            done += file.bytes();
            self.check_file(&file, &mut report);
        }
        progress(total, total);
        Ok(report)
    }

    fn check_file(&self, file: &Arc<HeapFile>, report: &mut CheckReport) {
        report.heap_files += 1;
        let batches = match self.heap.batches(file) {
            Ok(batches) => batches,
            Err(error) => {
                report.damage.push(error.to_string());
                return;
            }
        };
        let mut page = vec![0; PAGE_BYTES];
        for (slot, header) in batches {
            for (slot, entry) in (slot.0 + 1..).zip(&header.entries) {
                let addr = SlotAddr::new(file.number, SlotNo(slot));
                let layer = self.layers.read().get(&entry.layer).cloned();
                if !layer.is_some_and(|layer| layer.is_at(entry.space, entry.page, addr)) {
                    continue;
                }
                report.pages += 1;
                report.bytes += PAGE_BYTES as u64;
                if let Err(error) = file.read(SlotNo(slot), &mut page) {
                    report.damage.push(format!(
                        "layer {}, space {}, page {}: {error}",
                        entry.layer, entry.space, entry.page
                    ));
                }
            }
        }
    }

    /// Compares each file's count of live entries with what the layers refer to.
    fn check_refcounts(&self, report: &mut CheckReport) {
        let _nothing_moves = self.maintaining.lock();
        self.between_rounds(|| self.recount(report));
    }

    fn recount(&self, report: &mut CheckReport) {
        let mut expected: BTreeMap<FileNo, i64> = BTreeMap::new();
        // A layer's table and its deaths change together under the gate.
        let heads: Vec<_> = self.heads.read().values().cloned().collect();
        let gates: Vec<_> = heads.iter().map(|head| head.gate.write()).collect();
        let buried = self.graveyard.lock().clone();
        let layers = self.layers.read();
        // An absorbed layer's id leads to the one that it is part of.
        let layers = layers.iter().filter(|(id, layer)| layer.id == **id).map(|(_, layer)| layer);
        for layer in layers.chain(&buried) {
            for (file, live) in layer.live_by_file() {
                *expected.entry(file).or_default() += live;
            }
        }
        for head in &heads {
            for (file, count) in &head.pending.lock().deaths {
                *expected.entry(*file).or_default() += count;
            }
        }
        drop(gates);
        for file in self.heap.all_files() {
            let counted = expected.remove(&file.number).unwrap_or(0) + file.loose();
            if file.live() != counted {
                report.damage.push(format!(
                    "heap file {}: its count of live entries is {}, but {counted} are referred to",
                    file.number,
                    file.live()
                ));
            }
        }
    }
}
