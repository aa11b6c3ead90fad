//! `relive queue`: messages for queues.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::{Remote, json_of};
use super::render;
use crate::client::{Failed, segment};

/// `relive queue`
#[derive(Args)]
pub(crate) struct Queues {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Send a message to a queue
    Send {
        /// The queue
        queue: String,
        /// The message: JSON, @FILE, or - for stdin
        #[arg(long)]
        data: String,
        /// Not before so many milliseconds are over; at most 30 days
        #[arg(long)]
        delay_ms: Option<u64>,
        /// Messages of one key run in order, where the consumer says ordering = "key"
        #[arg(long)]
        key: Option<String>,
    },
}

/// Runs it.
pub(crate) fn run(command: &Queues) -> Result<(), Failed> {
    let remote = &command.remote;
    let What::Send { queue, data, delay_ms, key } = &command.what;
    let mut body = json!({"message": json_of(data)?});
    if let Value::Object(fields) = &mut body {
        fields.extend(delay_ms.map(|ms| ("delay_ms".to_owned(), ms.into())));
        fields.extend(key.as_ref().map(|key| ("key".to_owned(), key.as_str().into())));
    }
    let accepted = remote.client()?.post(&remote.path(&format!("/queues/{}", segment(queue)))?, &body)?;
    let id = accepted.get("execution_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    render::done(remote, &accepted, &format!("accepted as execution {id}"));
    Ok(())
}
