//! What is kept of a log, and what is lost, given what is proven durable.
//!
//! Owns: the D-rule behind damage. Never does: read a segment but to count what it keeps.

use std::path::Path;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::SEGMENT_HEADER_LEN;
use crate::format::frame::FrameKind;
use crate::format::manifest::Manifest;
use crate::{FramePos, Gap, Lsn};

use super::runs::{Found, Run};
use super::{Kept, SegmentSurvey, Span, SpanStatus, each_kept};

/// What is kept and what is lost, given what is proven.
pub(super) fn choose(mut found: Found<'_>, proven: Lsn) -> Chosen {
    let mut chosen = Chosen::new(found.manifest, std::mem::take(&mut found.segments));
    chosen.gaps = std::mem::take(&mut found.gaps);
    let mut ends = Junction::start(found.manifest);
    let mut stopped = false;
    for &n in &found.accepted {
        let Some(run) = found.runs.get(n) else { continue };
        if stopped || !chosen.keep(run, proven) {
            stopped = true;
            chosen.span(run.segment, run_span(run, SpanStatus::Cut));
            continue;
        }
        let broken = run.first != ends.next || run.prev_chain != ends.chain;
        if broken {
            chosen.broken_links += u64::from(run.first == ends.next);
            let check = found.check_at(ends.end, Some(run.pos()));
            chosen.damage(ends.end, run.pos(), Gap { from: ends.next, to: run.first.prev() }, check);
        }
        let unproven = run.first > proven;
        let status = if unproven { SpanStatus::Unproven } else { SpanStatus::Sound };
        chosen.span(run.segment, run_span(run, status));
        ends = Junction { end: run.end(), next: run.next, chain: run.chain };
        stopped = chosen.next != run.next;
    }
    for run in found.runs.iter().filter(|run| run.leftover) {
        chosen.span(run.segment, run_span(run, SpanStatus::Leftover));
    }
    found.tail(&mut chosen, ends.end, proven);
    let next = chosen.next;
    chosen.gaps.retain(|gap| gap.to < next);
    // LSNs of earlier gaps are kept, but they are no events.
    chosen.events -= chosen.gaps.iter().map(|gap| gap.to.0 - gap.from.0 + 1).sum::<u64>();
    for segment in &mut chosen.segments {
        segment.spans.sort_by_key(|span| (span.from, span.to));
    }
    chosen
}

impl Found<'_> {
    /// What stands behind the last frame that is kept.
    fn tail(&self, chosen: &mut Chosen, end: FramePos, proven: Lsn) {
        let check = self.check_at(end, None);
        let last = self.used.last().map_or(end.segment, |(seq, _)| *seq);
        if chosen.next <= proven {
            let lost = Gap { from: chosen.next, to: proven };
            chosen.losses.push(lost);
            let to = FramePos { segment: last, offset: self.manifest.geometry.segment_bytes };
            chosen.damage(end, to, lost, check);
            return;
        }
        for &(seq, used) in self.used.iter().filter(|(seq, _)| *seq >= end.segment) {
            let geometry = &self.manifest.geometry;
            let from = if seq == end.segment { end.offset } else { geometry.first_offset() };
            let from = geometry.align_up(from);
            if used > from {
                let span = Span {
                    from,
                    to: used,
                    status: SpanStatus::Cut,
                    lsns: None,
                    batches: 0,
                    check: Some(check.to_owned()),
                };
                chosen.span(seq, span);
            }
        }
    }

    /// The first check that failed from `from` on.
    fn check_at(&self, from: FramePos, to: Option<FramePos>) -> &'static str {
        let mut bad = self.bad.iter().filter(|bad| bad.pos >= from && to.is_none_or(|to| bad.pos < to));
        // At the end of a segment that is full nothing is wrong; the next one may tell.
        bad.find(|bad| bad.check != "nothing here")
            .or_else(|| self.bad.iter().find(|bad| bad.pos >= from))
            .map_or("nothing follows", |bad| bad.check)
    }
}

/// Where a run ends and what must follow.
struct Junction {
    end: FramePos,
    next: Lsn,
    chain: u32,
}

impl Junction {
    fn start(manifest: &Manifest) -> Self {
        Self {
            end: FramePos { segment: manifest.first_seq, offset: manifest.geometry.first_offset() },
            next: manifest.log_start_lsn,
            chain: manifest.log_start_chain,
        }
    }
}

/// The outcome, as it grows.
pub(super) struct Chosen {
    /// The LSN behind the last event that is kept.
    pub(super) next: Lsn,
    pub(super) kept: Vec<Kept>,
    pub(super) losses: Vec<Gap>,
    pub(super) gaps: Vec<Gap>,
    pub(super) broken_links: u64,
    pub(super) batches: u64,
    pub(super) events: u64,
    pub(super) segments: Vec<SegmentSurvey>,
    pub(super) segment_bytes: u32,
    /// Of some run only a part is kept.
    pub(super) partial: bool,
}

impl Chosen {
    fn new(manifest: &Manifest, segments: Vec<SegmentSurvey>) -> Self {
        Self {
            next: manifest.log_start_lsn,
            kept: Vec::new(),
            losses: Vec::new(),
            gaps: Vec::new(),
            broken_links: 0,
            batches: 0,
            events: 0,
            segments,
            segment_bytes: manifest.geometry.segment_bytes,
            partial: false,
        }
    }

    /// Counts what is kept and lost frame by frame: runs that were cut short end somewhere inside.
    pub(super) fn count_exactly(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        manifest: &Manifest,
        proven: Lsn,
    ) -> Result<(), OpenError> {
        self.next = manifest.log_start_lsn;
        (self.events, self.batches) = (0, 0);
        self.losses.clear();
        self.gaps.clear();
        let kept = std::mem::take(&mut self.kept);
        each_kept::<OpenError>(disk, dir, manifest, &kept, &mut |_, _| {}, &mut |frame| {
            let first = frame.header.first_lsn;
            if first > self.next {
                self.losses.push(Gap { from: self.next, to: first.prev() });
            }
            if frame.header.kind == FrameKind::Gap {
                self.gaps.push(Gap { from: first, to: frame.next_lsn.prev() });
            } else {
                self.events += u64::from(frame.header.record_count);
                self.batches += 1;
            }
            self.next = frame.next_lsn;
            Ok(())
        })?;
        self.kept = kept;
        if self.next <= proven {
            self.losses.push(Gap { from: self.next, to: proven });
        }
        Ok(())
    }

    /// Takes a run, or as much of it as may be kept; `false` when the log ends before it.
    fn keep(&mut self, run: &Run, proven: Lsn) -> bool {
        if run.first > self.next {
            if self.next <= proven {
                let lost = Gap { from: self.next, to: run.first.prev().min(proven) };
                self.losses.push(lost);
                self.next = lost.to.next();
            }
            if run.first != self.next {
                return false;
            }
        }
        // Unproven groups are kept whole or not at all.
        let next = match (run.next.prev() <= proven, run.first > proven) {
            (true, _) => run.next,
            (false, true) if !run.starts_group => run.first,
            (false, true) => run.whole_next,
            (false, false) => run.whole_next.max(proven.next()),
        };
        if next == run.first && run.next != run.first {
            return false;
        }
        self.partial |= run.shortened || next != run.next;
        self.kept.push(Kept { segment: run.segment, from: run.from, to: run.to, first: run.first, next });
        self.events += next.0 - run.first.0;
        self.batches += run.batches;
        self.next = next;
        true
    }

    fn span(&mut self, segment: u32, span: Span) {
        if let Some(found) = self.segments.iter_mut().find(|found| found.segment == segment) {
            found.spans.push(span);
        }
    }

    /// Names the bytes between two places as damaged.
    fn damage(&mut self, from: FramePos, to: FramePos, lost: Gap, check: &str) {
        let lsns = (lost.from <= lost.to).then_some(lost);
        for segment in from.segment..=to.segment {
            let start = if segment == from.segment { from.offset } else { SEGMENT_HEADER_LEN };
            let end = if segment == to.segment { to.offset } else { self.segment_bytes };
            if start < end {
                let status = SpanStatus::Damaged;
                let check = Some(check.to_owned());
                self.span(segment, Span { from: start, to: end, status, lsns, batches: 0, check });
            }
        }
    }
}

fn run_span(run: &Run, status: SpanStatus) -> Span {
    let lsns = (run.first < run.next).then(|| Gap { from: run.first, to: run.next.prev() });
    Span { from: run.from, to: run.to, status, lsns, batches: run.batches, check: None }
}
