//! One keep-alive HTTP/1.1 connection, as cheap as it gets: the generator shares its cores with what it measures.
//!
//! Understands answers with a `content-length` or without a body (204, 304); anything else is an error, never a guess.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A head larger than this is not an answer that we measure.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A connection that is used for one request after the other.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Length of the body.
    pub body_bytes: usize,
}

impl Connection {
    /// Connects, without Nagle's delay.
    ///
    /// # Errors
    /// When there is no listener.
    pub async fn open(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends one request (complete bytes) and reads its answer to the end.
    ///
    /// # Errors
    /// When the connection breaks, or the answer is not understood.
    pub async fn call(&mut self, request: &[u8]) -> Result<Answer, Error> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head_bytes = loop {
            let searched = self.buffer.len().saturating_sub(3);
            self.read_more().await?;
            if let Some(at) = find(self.buffer.get(searched..).unwrap_or_default(), b"\r\n\r\n") {
                break searched + at + 4;
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(invalid("the head of the answer does not end"));
            }
        };
        let head = self.buffer.get(..head_bytes).unwrap_or_default();
        let answer = parse(std::str::from_utf8(head).map_err(|_| invalid("the head is not text"))?)?;
        while self.buffer.len() < head_bytes + answer.body_bytes {
            self.read_more().await?;
        }
        Ok(answer)
    }

    /// The body of the last answer.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        find(&self.buffer, b"\r\n\r\n").and_then(|at| self.buffer.get(at + 4..)).unwrap_or_default()
    }

    async fn read_more(&mut self) -> Result<(), Error> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the connection was closed"));
        }
        Ok(())
    }
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn parse(head: &str) -> Result<Answer, Error> {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| invalid("no status line"))?;
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    match length {
        Some(Ok(body_bytes)) => Ok(Answer { status, body_bytes }),
        None if matches!(status, 204 | 304) => Ok(Answer { status, body_bytes: 0 }),
        Some(Err(_)) | None => Err(invalid("no content-length")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, parse};

    #[test]
    fn heads_are_read_or_refused() {
        let check = |head: &str, expected: Option<(u16, usize)>| {
            let expected = expected.map(|(status, body_bytes)| Answer { status, body_bytes });
            assert_eq!(parse(head).ok(), expected, "{head}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Some((200, 12)));
        check("HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n", Some((204, 0)));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None);
        check("HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n", None);
        check("nonsense\r\n\r\n", None);
    }
}
