//! The parts of a capsule as they stand in its JSON.
//!
//! Owns: their shapes. Never does: turn one into what the engine works with, or back.

use relive_log::{ExecutionId, LetterId, Lsn, UnixMicros};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct EventText {
    pub(super) r#type: u16,
    pub(super) version: u16,
    pub(super) data: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeyText {
    pub(super) collection: String,
    pub(super) key: String,
    pub(super) version: Lsn,
    pub(super) value: Option<String>,
    pub(super) expires_at_us: Option<UnixMicros>,
    #[serde(default)]
    pub(super) lapsed: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PageText {
    pub(super) collection: String,
    pub(super) prefix: String,
    pub(super) cursor: Option<String>,
    pub(super) reverse: bool,
    pub(super) limit: usize,
    pub(super) items: Vec<(String, Lsn, String)>,
    pub(super) more: bool,
    #[serde(default)]
    pub(super) lapsed: Vec<(String, Lsn)>,
}

/// What it read of the past.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct PastText {
    pub(super) moments: Vec<MomentText>,
    pub(super) keys: Vec<PastKeyText>,
    pub(super) histories: Vec<HistoryText>,
    #[serde(default)]
    pub(super) letters: Vec<(LetterId, Option<bool>)>,
}

/// A moment and the LSN that it stands for; neither LSN nor horizon: it is in the future.
#[derive(Serialize, Deserialize)]
pub(super) struct MomentText {
    pub(super) at: String,
    pub(super) lsn: Option<Lsn>,
    pub(super) below_horizon: Option<Lsn>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PastKeyText {
    pub(super) at: Lsn,
    #[serde(flatten)]
    pub(super) key: KeyText,
}

#[derive(Serialize, Deserialize)]
pub(super) struct HistoryText {
    pub(super) collection: String,
    pub(super) key: String,
    pub(super) limit: usize,
    pub(super) bytes_max: usize,
    pub(super) versions: Vec<VersionText>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct VersionText {
    pub(super) lsn: Lsn,
    pub(super) at_us: UnixMicros,
    pub(super) op: String,
    pub(super) value: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WriteText {
    pub(super) collection: String,
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) line: u32,
    pub(super) expires_at_us: Option<UnixMicros>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SendText {
    pub(super) execution: ExecutionId,
    pub(super) queue: String,
    pub(super) message: String,
    pub(super) key: Option<String>,
}

/// A dead letter that the run closed: redriven, or resolved with a note.
#[derive(Serialize, Deserialize)]
pub(super) struct ClosedText {
    pub(super) dead_letter_id: LetterId,
    pub(super) redriven_as: Option<ExecutionId>,
    pub(super) note: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InputText {
    Request {
        method: String,
        path: String,
        params: Vec<(String, String)>,
        query: Vec<(String, String)>,
        headers: Vec<(String, String)>,
        body: BytesText,
    },
    Kv {
        op: String,
        collection: String,
        key: String,
        value: Option<String>,
        old_value: Option<String>,
        lsn: Lsn,
    },
    DeadLetter(Box<LetterText>),
    Payload(Option<String>),
    Cron {
        scheduled_at_us: UnixMicros,
        missed: u64,
    },
    Queue {
        queue: String,
        message: String,
        enqueued_at_us: UnixMicros,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BytesText {
    Text(String),
    Base64(String),
}

#[derive(Serialize, Deserialize)]
pub(super) struct LetterText {
    pub(super) id: String,
    pub(super) execution: ExecutionId,
    pub(super) root: ExecutionId,
    pub(super) original: InputText,
    pub(super) script: String,
    pub(super) trigger: Option<String>,
    pub(super) attempts: u32,
    pub(super) error: ErrorText,
    pub(super) first_attempt_at_us: UnixMicros,
    pub(super) last_attempt_at_us: UnixMicros,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ErrorText {
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) line: u32,
    pub(super) column: u32,
}
