//! Server-sent events as a client receives them: block by block, as they come.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::Incoming;
use serde_json::Value;

/// An event that takes longer is a failure of the test.
const EVENT_WAIT_MAX: Duration = Duration::from_secs(30);

/// One event: `id`, `event` (empty for plain ones), `data`.
pub type StreamEvent = (String, String, Value);

/// An open stream.
#[derive(Debug)]
pub struct Events {
    /// Headers of the answer.
    pub headers: HeaderMap,
    body: Incoming,
    text: Vec<u8>,
}

impl Events {
    pub(crate) const fn new(headers: HeaderMap, body: Incoming) -> Events {
        Events { headers, body, text: Vec::new() }
    }

    /// The next block of lines; `None` when the server ended the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                return Some(String::from_utf8(block).expect("UTF-8"));
            }
            let frame = tokio::time::timeout(EVENT_WAIT_MAX, self.body.frame()).await;
            let frame = frame.expect("an event in time")?.ok()?;
            self.text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
    }

    /// The next event, signs of life left out; `None` when the server ended the stream.
    ///
    /// # Panics
    /// If none comes in time.
    pub async fn next(&mut self) -> Option<StreamEvent> {
        loop {
            let block = self.block().await?;
            let line = |name: &str| {
                let found = block.lines().find_map(|line| line.strip_prefix(name));
                found.map(|value| value.trim_start().to_owned())
            };
            if let Some(data) = line("data:") {
                let data = serde_json::from_str(&data).expect("JSON");
                return Some((line("id:").unwrap_or_default(), line("event:").unwrap_or_default(), data));
            }
        }
    }

    /// As many events as are asked for.
    ///
    /// # Panics
    /// If the stream ends before.
    pub async fn take(&mut self, count: usize) -> Vec<StreamEvent> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(self.next().await.expect("the stream goes on"));
        }
        all
    }
}
