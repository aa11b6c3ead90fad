//! A single request now and then: watching, not load.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::Failure;

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// `GET path` on a connection of its own.
pub(crate) fn get(address: &str, path: &str, token: Option<&str>) -> Result<Answer, Failure> {
    send("GET", address, path, token, "")
}

/// `POST path` with JSON, on a connection of its own.
pub(crate) fn post(address: &str, path: &str, token: Option<&str>, json: &str) -> Result<Answer, Failure> {
    send("POST", address, path, token, json)
}

fn send(method: &str, address: &str, path: &str, token: Option<&str>, body: &str) -> Result<Answer, Failure> {
    let mut stream = TcpStream::connect(address)?;
    let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{token}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("an answer without a head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
    Ok(Answer { status, body: body.to_owned() })
}
