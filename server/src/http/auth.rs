//! Who may: the instance token.
//!
//! Owns: comparing tokens in constant time, refusing the admin API without one, finding a live token in the
//! headers of a user's request. Never does: keep or log a token anywhere else.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header;
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use super::error::{ApiError, ErrorCode};
use super::shared::Shared;

/// The instance token.
#[derive(Clone)]
pub(crate) struct Token(Arc<str>);

impl Token {
    /// Takes a token.
    pub(crate) fn new(token: &str) -> Token {
        Token(token.into())
    }

    /// Whether `candidate` is it; takes as long for every candidate of its length.
    pub(crate) fn is(&self, candidate: &[u8]) -> bool {
        candidate.len() == self.0.len() && bool::from(self.0.as_bytes().ct_eq(candidate))
    }

    /// Whether a header's value holds it as a whole word (`Bearer …`, a cookie, bare): such values are taken
    /// away before a script sees the request (D9).
    pub(crate) fn in_header(&self, value: &[u8]) -> bool {
        if value.len() < self.0.len() {
            return false;
        }
        self.is(value)
            || value
                .split(|byte| matches!(byte, b' ' | b'\t' | b',' | b';' | b'=' | b'"' | b':'))
                .any(|word| self.is(word))
    }
}

/// Lets requests with the instance token pass.
pub(crate) async fn require(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let value = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    let presented = value.and_then(bearer);
    match presented {
        Some(token) if shared.parts.token.is(token) => {
            if percent_decode_str(request.uri().path()).decode_utf8().is_err() {
                return ApiError::invalid("path", "is not UTF-8 once decoded").into_response();
            }
            next.run(request).await
        }
        Some(_) => ApiError::new(ErrorCode::Unauthorized, "the token is not valid").into_response(),
        None => {
            ApiError::new(ErrorCode::Unauthorized, "a bearer token is needed: `Authorization: Bearer TOKEN`")
                .into_response()
        }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_as_a_whole_word_only() {
        let token = Token::new("s3cret-token");
        for (value, found) in [
            ("s3cret-token", true),
            ("Bearer s3cret-token", true),
            ("a=b; session=s3cret-token; c=d", true),
            ("s3cret-tokens", false),
            ("xs3cret-token", false),
            ("", false),
        ] {
            assert_eq!(token.in_header(value.as_bytes()), found, "{value}");
        }
    }

    #[test]
    fn bearer_is_not_case_sensitive() {
        for (value, want) in
            [("Bearer x", Some("x")), ("bearer  x ", Some("x")), ("Basic x", None), ("Bear", None)]
        {
            assert_eq!(bearer(value.as_bytes()), want.map(str::as_bytes), "{value}");
        }
    }
}
