//! Events to bytes and back: a type number and a version in the record header, a bincode body (varint,
//! little-endian, limited).
//!
//! Owns: [`encode_record`], [`decode_record`] and the one bincode configuration of the project. Never does:
//! frame, checksum or write (the frame's CRC was checked before a body gets here).

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

use super::{
    AppEvent, CronEvent, DeadLetterEvent, Event, ExecutionEvent, JobEvent, KvEvent, RetentionEvent,
    RouteEvent, ScriptEvent, SecretEvent, TokenEvent, TriggerEvent,
};

/// The largest body of one event, bytes: a batch may hold no more.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

const CONFIG: Configuration<LittleEndian, Varint, Limit<EVENT_BYTES_MAX>> =
    bincode::config::standard().with_limit::<EVENT_BYTES_MAX>();

/// Why a record is not an event that this version knows.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No such type and version: a newer Relive wrote it, or the bytes are not ours.
    #[error("unknown event type {type_number} version {version}: written by a newer version of Relive")]
    Unknown {
        /// The type number found.
        type_number: u16,
        /// The version found.
        version: u16,
    },
    /// The body does not decode.
    #[error("event {kind} does not decode: {source}")]
    Body {
        /// The kind by its number.
        kind: &'static str,
        /// What bincode says.
        #[source]
        source: bincode::error::DecodeError,
    },
    /// Bytes are left over behind the body.
    #[error("event {kind} has {left} bytes too many")]
    Trailing {
        /// The kind by its number.
        kind: &'static str,
        /// How many.
        left: usize,
    },
}

/// Appends the body of `event` to `out`; the answer is its type number and version.
///
/// # Panics
/// Never for events that this crate can build: writing to a `Vec` does not fail, and the limit holds for
/// decoding only.
#[expect(clippy::expect_used, reason = "bincode encodes derived types into a Vec without a failure path")]
pub fn encode_record(event: &Event, out: &mut Vec<u8>) -> (u16, u16) {
    struct Sink<'a>(&'a mut Vec<u8>);
    impl bincode::enc::write::Writer for Sink<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    encode_body(event, Sink(out)).expect("encoding into a Vec");
    (type_number(event), 1)
}

/// Decodes a record's body.
///
/// # Errors
/// [`DecodeError`]: unknown kind, undecodable body, or bytes left over.
pub fn decode_record(type_number: u16, version: u16, body: &[u8]) -> Result<Event, DecodeError> {
    decode_body(type_number, version, body)
}

fn body<T: Decode<()>>(kind: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, used) =
        bincode::decode_from_slice(bytes, CONFIG).map_err(|source| DecodeError::Body { kind, source })?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::Trailing { kind, left }),
    }
}

fn write<T: Encode, W: bincode::enc::write::Writer>(
    value: &T,
    sink: W,
) -> Result<(), bincode::error::EncodeError> {
    bincode::encode_into_writer(value, sink, CONFIG)
}

/// One line a kind: number, name, and how it stands in [`Event`]. The three functions below cannot disagree.
macro_rules! kinds {
    ($($number:literal $name:literal $family:ident $enum:ident :: $variant:ident $(($boxed:ident))?;)*) => {
        /// The type number of an event.
        pub(super) fn type_number(event: &Event) -> u16 {
            match event {
                $(Event::$family($enum::$variant(_)) => $number,)*
            }
        }

        fn encode_body<W: bincode::enc::write::Writer>(
            event: &Event,
            sink: W,
        ) -> Result<(), bincode::error::EncodeError> {
            match event {
                $(Event::$family($enum::$variant(e)) => write(e, sink),)*
            }
        }

        fn decode_body(type_number: u16, version: u16, bytes: &[u8]) -> Result<Event, DecodeError> {
            match (type_number, version) {
                $(($number, 1) => Ok(Event::$family($enum::$variant(body($name, bytes)?))),)*
                _ => Err(DecodeError::Unknown { type_number, version }),
            }
        }

        /// Numbers and names of the kinds that have a codec.
        #[cfg(test)]
        pub(super) const WRITTEN: &[(u16, &str)] = &[$(($number, $name),)*];
    };
}

kinds! {
    0x0101 "app_created" App AppEvent::Created;
    0x0102 "app_changed" App AppEvent::Changed;
    0x0103 "app_paused" App AppEvent::Paused;
    0x0104 "app_resumed" App AppEvent::Resumed;
    0x0105 "app_deleted" App AppEvent::Deleted;
    0x0106 "app_forked" App AppEvent::Forked;
    0x0201 "script_deployed" Script ScriptEvent::Deployed;
    0x0202 "script_deleted" Script ScriptEvent::Deleted;
    0x0301 "route_created" Route RouteEvent::Created;
    0x0302 "route_deleted" Route RouteEvent::Deleted;
    0x0401 "trigger_created" Trigger TriggerEvent::Created;
    0x0402 "trigger_changed" Trigger TriggerEvent::Changed;
    0x0403 "trigger_paused" Trigger TriggerEvent::Paused;
    0x0404 "trigger_resumed" Trigger TriggerEvent::Resumed;
    0x0405 "trigger_deleted" Trigger TriggerEvent::Deleted;
    0x0501 "token_created" Token TokenEvent::Created;
    0x0502 "token_deleted" Token TokenEvent::Deleted;
    0x0601 "secret_set" Secret SecretEvent::Set;
    0x0602 "secret_deleted" Secret SecretEvent::Deleted;
    0x0701 "kv_put" Kv KvEvent::Put;
    0x0702 "kv_deleted" Kv KvEvent::Deleted;
    0x0703 "kv_expired" Kv KvEvent::Expired;
    0x0801 "enqueued" Execution ExecutionEvent::Enqueued;
    0x0802 "claimed" Execution ExecutionEvent::Claimed;
    0x0803 "released" Execution ExecutionEvent::Released;
    0x0804 "completed" Execution ExecutionEvent::Completed;
    0x0805 "attempt_failed" Execution ExecutionEvent::AttemptFailed;
    0x0806 "abandoned" Execution ExecutionEvent::Abandoned;
    0x0807 "dropped" Execution ExecutionEvent::Dropped;
    0x0808 "depth_exceeded" Execution ExecutionEvent::DepthExceeded;
    0x0809 "alone_ended" Execution ExecutionEvent::AloneEnded;
    0x0901 "dead_lettered" DeadLetter DeadLetterEvent::DeadLettered;
    0x0902 "dead_letter_handler_failed" DeadLetter DeadLetterEvent::HandlerFailed;
    0x0903 "dead_letter_redriven" DeadLetter DeadLetterEvent::Redriven;
    0x0904 "dead_letter_resolved" DeadLetter DeadLetterEvent::Resolved;
    0x0905 "dead_letter_expired" DeadLetter DeadLetterEvent::Expired;
    0x0a01 "cron_ticked" Cron CronEvent::Ticked;
    0x0b01 "job_created" Job JobEvent::Created;
    0x0b02 "job_progressed" Job JobEvent::Progressed;
    0x0b03 "job_ended" Job JobEvent::Ended;
    0x0b04 "job_expired" Job JobEvent::Expired;
    0x0c01 "abandoned_expired" Retention RetentionEvent::AbandonedExpired;
    0x0c02 "hold_set" Retention RetentionEvent::HoldSet;
    0x0c03 "hold_released" Retention RetentionEvent::HoldReleased;
}
