//! KV as of one instant, as a script sees it.

use std::sync::Arc;

use relive_log::events::{Event, KvEvent};
use relive_log::{AppId, Durability, LetterId, Lsn, Reader, UnixMicros};
use relive_projections::{AsOf, KvRange, LetterRow, Views};

use crate::script::{ListItem, ListPage, ListQuery, Moment, NoPast, PastVersion, ReadFailed, Slot, Snapshot};

/// The views of one app as of one instant: the snapshot's LSN and the claim time (K1).
pub(crate) struct ViewSnapshot {
    pub views: Arc<Views>,
    pub app: AppId,
    pub at: AsOf,
    /// Reads of what is durable.
    pub reader: Reader,
    /// The past is looked at only after the snapshot is durable.
    pub settle: Settle,
    /// Bytes of keys and values in one page.
    pub list_bytes_max: usize,
    /// Dead letters.
    pub letters: Letters,
}

/// Where it is known whether a dead letter is open.
pub(crate) enum Letters {
    /// The view says it, as of now.
    Now,
    /// The record of the attempt that is replayed says it; of others the view, as of the snapshot.
    Recorded(Vec<(LetterId, Option<bool>)>),
}

/// Ends a run that may not wait where it is.
pub(crate) trait Leave: Send + Sync {
    /// The run starts again on a thread that may wait.
    fn elsewhere(&self);
}

/// How a snapshot that is not durable becomes so.
pub(crate) enum Settle {
    /// By waiting.
    Wait(Durability),
    /// Not here: the run is on its caller's thread.
    Leave(Durability, Arc<dyn Leave>),
    /// It is.
    Settled,
}

impl ViewSnapshot {
    /// The snapshot may be ahead of what is durable: reads of the log go no further.
    fn settled(&self) -> Result<(), ReadFailed> {
        match &self.settle {
            Settle::Settled => Ok(()),
            Settle::Wait(durability) => durability.wait(self.at.lsn).map_err(failed),
            Settle::Leave(durability, _) if durability.durable() >= self.at.lsn => Ok(()),
            Settle::Leave(_, leave) => {
                leave.elsewhere();
                Err(failed("it goes on elsewhere"))
            }
        }
    }
}

fn failed(error: impl std::fmt::Display) -> ReadFailed {
    ReadFailed { message: error.to_string() }
}

impl ViewSnapshot {
    /// Whether a letter was open as of the snapshot; `None`: it was not there yet.
    fn was_open(&self, row: &LetterRow) -> Option<bool> {
        let there = row.at.lsn <= self.at.lsn;
        there.then(|| row.resolved_at.is_none_or(|closed| closed.lsn > self.at.lsn))
    }
}

impl Snapshot for ViewSnapshot {
    fn get(&self, collection: &str, key: &str) -> Result<Slot, ReadFailed> {
        let slot = self.views.kv().get(self.app, collection, key, self.at).map_err(failed)?;
        let relive_projections::KvSlot { version, value, expires_at, lapsed, pos: _ } = slot;
        Ok(Slot { version, value, expires_at, lapsed })
    }

    fn letter(&self, letter: LetterId) -> Result<Option<bool>, ReadFailed> {
        Ok(match &self.letters {
            Letters::Now => self.views.dead_letters().get(self.app, letter).map(|row| row.is_open()),
            Letters::Recorded(answers) => match answers.iter().find(|(asked, _)| *asked == letter) {
                Some((_, open)) => *open,
                None => self.views.dead_letters().get(self.app, letter).and_then(|row| self.was_open(&row)),
            },
        })
    }

    fn list(&self, query: &ListQuery) -> Result<ListPage, ReadFailed> {
        let range = KvRange {
            prefix: query.prefix.clone(),
            cursor: query.cursor.clone(),
            reverse: query.reverse,
            limit: query.limit,
            bytes_max: self.list_bytes_max,
        };
        let page = self.views.kv().list(self.app, &query.collection, &range, self.at).map_err(failed)?;
        let item = |item: relive_projections::KvItem| ListItem {
            key: item.key,
            version: item.version,
            value: item.value,
        };
        Ok(ListPage {
            items: page.items.into_iter().map(item).collect(),
            more: page.more,
            lapsed: page.lapsed,
        })
    }

    fn resolve(&self, at: Moment) -> Result<Lsn, NoPast> {
        let failed =
            |error: &dyn std::fmt::Display| NoPast::Failed(ReadFailed { message: error.to_string() });
        self.settled().map_err(NoPast::Failed)?;
        let first = self.reader.first_lsn();
        // Before the first event there was nothing; after a cut, what was there is gone.
        let start = if first <= Lsn::FIRST { Ok(Lsn::ZERO) } else { Err(NoPast::BelowHorizon { first }) };
        match at {
            Moment::Lsn(Lsn::ZERO) => start,
            Moment::Lsn(lsn) if lsn > self.at.lsn => Err(NoPast::InTheFuture),
            Moment::Lsn(lsn) if lsn < first => Err(NoPast::BelowHorizon { first }),
            Moment::Lsn(lsn) => {
                let frame = self.reader.frame_of(lsn).map_err(|e| failed(&e))?;
                Ok(frame.last_lsn.min(self.at.lsn))
            }
            Moment::Time(time) => match self.reader.frame_at_time(time).map_err(|e| failed(&e))? {
                Some(frame) => Ok(frame.last_lsn.min(self.at.lsn)),
                None => start,
            },
        }
    }

    fn get_at(&self, collection: &str, key: &str, at: Lsn) -> Result<Slot, ReadFailed> {
        // As of that batch's commit time (K1).
        let time = if at == Lsn::ZERO {
            UnixMicros(0)
        } else {
            self.reader.frame_of(at).map_err(failed)?.commit_time
        };
        let slot = self.views.kv().get(self.app, collection, key, AsOf { lsn: at, time }).map_err(failed)?;
        let relive_projections::KvSlot { version, value, expires_at, .. } = slot;
        Ok(Slot { version, value, expires_at, lapsed: false })
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a position of the view holds a mutation of its key, or the log lies"
    )]
    fn history(
        &self,
        collection: &str,
        key: &str,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<PastVersion>, ReadFailed> {
        self.settled()?;
        let versions =
            self.views.kv().history(self.app, collection, key, self.at.lsn, limit).map_err(failed)?;
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        for version in versions {
            let (event, at) = self.reader.read_event(version.pos, version.lsn).map_err(failed)?;
            let (op, value) = match event {
                Event::Kv(KvEvent::Put(put)) => {
                    (if put.previous.is_some() { "update" } else { "insert" }, Some(put.value))
                }
                Event::Kv(KvEvent::Deleted(_)) => ("delete", None),
                Event::Kv(KvEvent::Expired(_)) => ("expire", None),
                _ => {
                    let message = format!("event {} is no mutation of a key", version.lsn);
                    return Err(ReadFailed { message });
                }
            };
            bytes += value.as_ref().map_or(0, |value| value.len());
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(PastVersion { lsn: version.lsn, at, op, value });
        }
        Ok(found)
    }
}
