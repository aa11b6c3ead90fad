//! `queue`: messages for the consumers of queues.
//!
//! Owns: send. Never does: know which queues there are: a message for a queue that nothing consumes fails the commit, and
//! with it the attempt. Invariants: E40, E43.

use relive_log::events::{ErrorKind, Scopes};
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext as Call};

use super::super::convert;
use super::super::errors::{Answer, place, runtime};
use super::super::host::Host;
use super::super::run::SendEffect;
use super::Family;
use crate::decide::send::DELAY_MS_MAX;

pub(super) fn module() -> Family {
    let mut module = Family::new("queue");
    module.add2("send", |call: &Call<'_>, queue, message| send(call, &queue, &message, Options::default()));
    module.add3("send", |call: &Call<'_>, queue, message, options: Map| {
        let options = Options::of(call, &options)?;
        send(call, &queue, &message, options)
    });
    module
}

#[derive(Default)]
struct Options {
    delay_ms: u64,
    key: Option<String>,
}

impl Options {
    fn of(call: &Call<'_>, given: &Map) -> Answer<Options> {
        let mut options = Options::default();
        for (name, value) in given {
            match name.as_str() {
                "delay_ms" => {
                    let delay = value.as_int().ok().and_then(|ms| u64::try_from(ms).ok());
                    let delay = delay.filter(|ms| *ms <= DELAY_MS_MAX);
                    let wrong = || {
                        runtime(format!(
                            "queue::send: delay_ms is an integer from 0 to {DELAY_MS_MAX} (30 days)"
                        ))
                    };
                    options.delay_ms = delay.ok_or_else(wrong)?;
                }
                "key" => {
                    let text = value.clone().into_immutable_string();
                    let text =
                        text.map_err(|found| runtime(format!("queue::send: key is a text, not {found}")))?;
                    let (len, max) = (text.len(), Host::of(call)?.limits.key_bytes_max);
                    if text.is_empty() || len > max {
                        return Err(runtime(format!(
                            "queue::send: the key has {len} bytes, allowed are 1 to {max}"
                        )));
                    }
                    options.key = Some(text.to_string());
                }
                unknown => return Err(runtime(format!("queue::send knows no option {unknown}"))),
            }
        }
        Ok(options)
    }
}

fn send(call: &Call<'_>, queue: &ImmutableString, message: &Dynamic, options: Options) -> Answer<String> {
    let host = Host::of(call)?;
    host.allow(Scopes::SCRIPT_WRITE, "queue::send")?;
    if queue.is_empty() {
        return Err(runtime("queue::send: the queue's name is empty"));
    }
    let limits = &host.limits;
    let json = convert::to_json(message, limits.value_bytes_max)
        .map_err(|refused| runtime(format!("queue::send: {refused}")))?;
    let (line, _) = place(call.call_position());
    let mut effects = host.effects.lock();
    let execution = host.caused_id(effects.sends.len() + effects.letters.len());
    effects.write_bytes += queue.len() + json.len() + options.key.as_ref().map_or(0, String::len);
    let Options { delay_ms, key } = options;
    let (queue, message) = (queue.to_string(), json.into());
    effects.sends.push(SendEffect { execution, queue, message, delay_ms, key, line });
    let (sends, bytes) = (effects.sends.len(), effects.write_bytes);
    drop(effects);
    if sends > limits.writes_max {
        let why =
            format!("more than {} messages sent in one execution (RELIVE_MAX_WRITES)", limits.writes_max);
        return Err(host.end(call, ErrorKind::Writes, why));
    }
    if bytes > limits.write_bytes_max {
        let why = format!(
            "more than {} bytes written in one execution (RELIVE_MAX_WRITE_BYTES)",
            limits.write_bytes_max
        );
        return Err(host.end(call, ErrorKind::Writes, why));
    }
    Ok(execution.to_string())
}
