//! Applying an operation to a head: obtain what it needs, then change everything under the gate.

use std::ops::Range as Span;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::head::{Dirty, Head, Pending};
use super::layer::{Deaths, Layer, hides};
use super::stack::{Reader, Stack};
use super::{Edit, Error, Operation};
use crate::base::limits::PAGE_BYTES;
use crate::base::{PageNo, Seq, Space};
use crate::cold::{Heap, SlotAddr};
use crate::format::batch::Range;
use crate::hot::{Cache, Frame, Page};

/// A change to one page, or to a range of them.
enum Step<'o> {
    /// The whole page: needs nothing of what was there.
    Replace {
        space: Space,
        page: PageNo,
        content: Page,
    },
    Patch {
        space: Space,
        page: PageNo,
        patch: Patch<'o>,
        beneath: Beneath,
    },
    Remove {
        space: Space,
        from: PageNo,
        to: PageNo,
    },
}

enum Patch<'o> {
    Bytes { at: usize, bytes: &'o [u8] },
    Add { at: usize, delta: i64 },
    Max { at: usize, value: u64 },
}

/// What a patched page was before.
enum Beneath {
    /// In RAM in the mutable layer; held, so that it stays.
    Frame(Arc<Frame>),
    /// Elsewhere, with this content; in the mutable layer's slot, if it is there.
    Content(Page, Option<SlotAddr>),
}

/// What the steps of an operation need beside the head.
pub(super) struct Applier<'a> {
    pub(super) heap: &'a Heap,
    pub(super) cache: &'a Cache<Layer>,
    pub(super) seq: &'a AtomicU64,
}

/// What an operation did under the gate.
#[derive(Default)]
struct Effects {
    dirty: Vec<Dirty>,
    ranges: Vec<(Arc<Layer>, Range)>,
    deaths: Deaths,
    /// Frames that are worth keeping from now on.
    kept: Vec<(Space, PageNo, Arc<Frame>)>,
    /// Held until the operation is done, so that they stay.
    pinned: Vec<Arc<Frame>>,
}

impl Applier<'_> {
    /// Applies an operation at one instant. `now` dates what is pending.
    pub(super) fn apply(&self, head: &Head, operation: &Operation<'_>, now: Duration) -> Result<(), Error> {
        loop {
            let (steps, prepared_for) = match self.prepare(head, operation) {
                Err(Error::Restacked) => continue,
                prepared => prepared?,
            };
            let top = head.gate.read();
            let layer = top.layers[0].clone();
            let mut effects = Effects::default();
            // A freeze since: what lies beneath is another layer's by now. Or the layer beneath is part of
            // this one: what was read there may have been removed here before.
            if !Arc::ptr_eq(&top.layers, &prepared_for) || !pin_all(&layer, &steps, &mut effects) {
                drop(top);
                self.admit(&layer, effects.kept);
                continue;
            }
            for step in steps {
                self.change(head, &layer, &top.layers[1..], step, &mut effects);
            }
            head.note(&mut effects.dirty, &mut effects.ranges, effects.deaths, now);
            drop(top);
            self.admit(&layer, effects.kept);
            return Ok(());
        }
    }

    fn admit(&self, layer: &Arc<Layer>, kept: Vec<(Space, PageNo, Arc<Frame>)>) {
        if !kept.is_empty() {
            self.cache.admit(kept.iter().map(|(space, page, frame)| (layer, *space, *page, frame)));
            drop(kept);
            if self.cache.is_over_budget() {
                self.cache.trim();
            }
        }
    }

    fn prepare<'o>(
        &self,
        head: &Head,
        operation: &'o Operation<'_>,
    ) -> Result<(Vec<Step<'o>>, Stack), Error> {
        let layers = head.layers();
        let reader = Reader { heap: self.heap, cache: self.cache, layers: &layers };
        let mut steps = Vec::with_capacity(operation.edits.len());
        for edit in &operation.edits {
            match edit {
                Edit::Write { space, offset, data } => {
                    for (page, span, bytes) in by_page(*offset, data) {
                        steps.push(if span == (0..PAGE_BYTES) {
                            Step::Replace { space: *space, page, content: Page::new(bytes) }
                        } else {
                            let patch = Patch::Bytes { at: span.start, bytes };
                            Step::Patch {
                                space: *space,
                                page,
                                patch,
                                beneath: beneath(&reader, *space, page)?,
                            }
                        });
                    }
                }
                Edit::Remove { space, from, to } if from < to => {
                    steps.push(Step::Remove { space: *space, from: *from, to: *to });
                }
                Edit::Remove { .. } => {}
                Edit::Add { space, offset, delta } => {
                    let (page, at) = word_at(*offset);
                    let patch = Patch::Add { at, delta: *delta };
                    steps.push(Step::Patch {
                        space: *space,
                        page,
                        patch,
                        beneath: beneath(&reader, *space, page)?,
                    });
                }
                Edit::Max { space, offset, value } => {
                    let (page, at) = word_at(*offset);
                    let patch = Patch::Max { at, value: *value };
                    steps.push(Step::Patch {
                        space: *space,
                        page,
                        patch,
                        beneath: beneath(&reader, *space, page)?,
                    });
                }
            }
        }
        Ok((steps, layers))
    }

    fn change(
        &self,
        head: &Head,
        layer: &Arc<Layer>,
        beneath: &[Arc<Layer>],
        step: Step<'_>,
        effects: &mut Effects,
    ) {
        match step {
            Step::Replace { space, page, content } => {
                let mut content = Some(content);
                // Made of the content, unless there is a frame already.
                let frame = layer.frame_for_change(space, page, || content.take().expect("asked for once"));
                self.touch(layer, space, page, &frame, effects, |old| {
                    if let Some(content) = content {
                        *old = content;
                    }
                });
            }
            Step::Patch { space, page, patch, .. } => {
                // Pinned, so it is there, unless a removal in this very operation took it out.
                let frame = layer.frame_for_change(space, page, Page::zeroed);
                self.touch(layer, space, page, &frame, effects, |old| patch.apply(old.make_mut()));
                if frame.keep() {
                    effects.kept.push((space, page, frame));
                }
            }
            Step::Remove { space, from, to } => {
                let range = Range { layer: layer.id, space, from, to, seq: self.next_seq() };
                // What is only in RAM just goes, and no record says that it was ever there. A range that
                // is not durable yet may be superseded by one with a record only.
                let hides_nothing = !head.is_being_cut()
                    && !layer.has_slots(space, from, to)
                    && !layer.has_ranges(space)
                    && !hides(space, from, to, beneath);
                effects.deaths.extend(layer.remove(&range, hides_nothing));
                if !hides_nothing {
                    effects.ranges.push((layer.clone(), range));
                }
            }
        }
    }

    fn touch(
        &self,
        layer: &Arc<Layer>,
        space: Space,
        page: PageNo,
        frame: &Arc<Frame>,
        effects: &mut Effects,
        change: impl FnOnce(&mut Page),
    ) {
        let mut state = frame.lock();
        change(&mut state.page);
        state.seq = self.next_seq();
        let newly_dirty = !std::mem::replace(&mut state.dirty, true);
        drop(state);
        if newly_dirty {
            effects.dirty.push(Dirty { layer: layer.clone(), space, page, frame: frame.clone() });
        }
    }

    fn next_seq(&self) -> Seq {
        // Relaxed: the order of two mutations of one place is the order of their caller's locks.
        Seq(self.seq.fetch_add(1, Ordering::Relaxed))
    }
}

impl Head {
    fn note(
        &self,
        dirty: &mut Vec<Dirty>,
        ranges: &mut Vec<(Arc<Layer>, Range)>,
        deaths: Deaths,
        now: Duration,
    ) {
        let count = (dirty.len() + ranges.len()) as u64;
        let mut pending = self.pending.lock();
        let Pending { dirty: all_dirty, ranges: all_ranges, deaths: all_deaths, since } = &mut *pending;
        all_dirty.append(dirty);
        all_ranges.append(ranges);
        all_deaths.extend(deaths);
        since.get_or_insert(now);
        self.unlogged.fetch_add(count, Ordering::Relaxed);
    }
}

impl Patch<'_> {
    fn apply(&self, page: &mut [u8; PAGE_BYTES]) {
        let mut change_word = |at: usize, change: &dyn Fn(u64) -> u64| {
            let word = &mut page[at..at + 8];
            let value = u64::from_le_bytes((&*word).try_into().expect("8 bytes"));
            word.copy_from_slice(&change(value).to_le_bytes());
        };
        match *self {
            Patch::Bytes { at, bytes } => page[at..at + bytes.len()].copy_from_slice(bytes),
            Patch::Add { at, delta } => change_word(at, &|value| value.wrapping_add_signed(delta)),
            Patch::Max { at, value } => change_word(at, &|old| old.max(value)),
        }
    }
}

/// Makes sure that each page to be patched has a frame in the layer, and holds it. `false` when what
/// was prepared is no longer what lies beneath.
fn pin_all(layer: &Arc<Layer>, steps: &[Step<'_>], effects: &mut Effects) -> bool {
    steps.iter().all(|step| {
        let Step::Patch { space, page, beneath, .. } = step else { return true };
        match beneath {
            Beneath::Frame(frame) => {
                layer.peek(*space, *page).0.is_some_and(|current| Arc::ptr_eq(&current, frame))
            }
            Beneath::Content(content, slot) => match layer.fill(*space, *page, *slot, content) {
                Some((frame, true)) => {
                    frame.keep();
                    effects.kept.push((*space, *page, frame));
                    true
                }
                Some((frame, false)) => {
                    effects.pinned.push(frame);
                    true
                }
                None => false,
            },
        }
    })
}

fn beneath(reader: &Reader<'_>, space: Space, page: PageNo) -> Result<Beneath, Error> {
    if let (Some(frame), _) = reader.layers[0].peek(space, page) {
        return Ok(Beneath::Frame(frame));
    }
    let (content, slot) = reader.page(space, page)?;
    Ok(Beneath::Content(content, slot))
}

fn word_at(offset: u64) -> (PageNo, usize) {
    assert!(offset.is_multiple_of(8), "counters are aligned to 8 bytes");
    let at = usize::try_from(offset % PAGE_BYTES as u64).expect("less than a page");
    (PageNo(offset / PAGE_BYTES as u64), at)
}

/// Cuts a write into its pages: which page, which bytes of it, and what to put there.
fn by_page<'d>(offset: u64, data: &'d [u8]) -> impl Iterator<Item = (PageNo, Span<usize>, &'d [u8])> {
    let mut at = offset;
    let mut rest: &'d [u8] = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (page, start) = (PageNo(at / PAGE_BYTES as u64), at % PAGE_BYTES as u64);
        let start = usize::try_from(start).expect("less than a page");
        let (bytes, behind) = rest.split_at(rest.len().min(PAGE_BYTES - start));
        at += bytes.len() as u64;
        rest = behind;
        Some((page, start..start + bytes.len(), bytes))
    })
}
