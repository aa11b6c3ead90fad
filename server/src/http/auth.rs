//! Who may: from the token of a request to a caller, and from the caller to a principal.
//!
//! Owns: what a token looks like, comparing in constant time, refusing the admin API without a live one, finding live
//! tokens in the headers of a user's request (D9). Never does: keep or log the text of a token; know which request
//! needs which scope (`scopes`). Invariant: E100.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use hyper::HeaderMap;
use hyper::header;
use hyper::http::request::Parts;
use relive_log::events::{Principal, Scopes};
use relive_log::{AppId, UnixMicros};
use relive_projections::Registry;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::{ApiError, ApiResult, ErrorCode};
use super::shared::Shared;

/// How the text of a token that Relive made begins; 64 hexadecimal digits follow.
const PREFIX: &str = "rlv_";
const TEXT_BYTES: usize = PREFIX.len() + 64;

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
}

/// The text of a new token.
pub(crate) fn new_text(random: [u8; 32]) -> String {
    format!("{PREFIX}{}", hex::encode(random))
}

/// What is kept of a token: SHA-256 of its text. With 32 random bytes in the text there is nothing to guess, so that
/// no salt and no slow hash is needed.
pub(crate) fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The digest of a word that looks like a token; others cost no hash.
fn digest_of_word(word: &[u8]) -> Option<[u8; 32]> {
    (word.len() == TEXT_BYTES && word.starts_with(PREFIX.as_bytes())).then(|| digest(word))
}

/// Who makes a request of the admin API.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// As whom it acts.
    pub(crate) principal: Principal,
    /// The app that its token is bound to; nothing outside of it exists for this caller.
    pub(crate) app: Option<AppId>,
}

impl Caller {
    /// The holder of the instance token.
    fn instance() -> Caller {
        Caller { principal: Principal::instance(), app: None }
    }

    /// Whether it may do what `scope` allows.
    pub(crate) fn may(&self, scope: Scopes) -> bool {
        self.principal.scopes.grants(scope)
    }

    /// Refuses with 403, naming the scope.
    pub(crate) fn require(&self, scope: Scopes) -> ApiResult<()> {
        if self.may(scope) { Ok(()) } else { Err(forbidden(scope)) }
    }

    /// Whether things of this app exist for it.
    pub(crate) fn sees(&self, app: AppId) -> bool {
        self.app.is_none_or(|own| own == app)
    }
}

/// 403, naming the first scope of `scopes`.
pub(crate) fn forbidden(scopes: Scopes) -> ApiError {
    let name = scopes.names().next().unwrap_or_default();
    ApiError::new(ErrorCode::Forbidden, format!("this needs the scope `{name}`, which the token lacks"))
        .with("scope", name)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, ApiError> {
        let missing = || ApiError::new(ErrorCode::Unauthorized, "a bearer token is needed");
        parts.extensions.get::<Caller>().cloned().ok_or_else(missing)
    }
}

/// The caller of a request of the admin API, by its bearer token. The instance token is known before the views are.
pub(crate) async fn caller(shared: &Shared, headers: &HeaderMap) -> ApiResult<Caller> {
    let value = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    let Some(text) = value.and_then(bearer) else {
        let text = "a bearer token is needed: `Authorization: Bearer TOKEN`";
        return Err(ApiError::new(ErrorCode::Unauthorized, text));
    };
    if shared.parts.token.is(text) {
        return Ok(Caller::instance());
    }
    let invalid = || ApiError::new(ErrorCode::Unauthorized, "the token is not valid");
    let digest = digest_of_word(text).ok_or_else(invalid)?;
    let registry = shared.node().await?.views().registry();
    let token = registry.live_token(&digest, crate::clock::now()).ok_or_else(invalid)?;
    // The look-up compares digests in ordinary time; this comparison is what the answer hangs on.
    if !bool::from(token.digest.ct_eq(&digest)) {
        return Err(invalid());
    }
    Ok(Caller { principal: token.principal(), app: token.app })
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// What the headers of a user's request are to a script: values without live tokens, and whose they were (D9).
pub(crate) struct UserHeaders {
    /// Names in lower case, values as text.
    pub(crate) headers: Vec<(String, String)>,
    /// The holder of a live token of the app that is called: `Authorization` first, then in the order of headers.
    pub(crate) principal: Option<Principal>,
}

/// Looks for tokens in the headers of a user's request.
pub(crate) struct TokenFinder<'a> {
    /// The instance token.
    pub(crate) instance: &'a Token,
    /// Tokens.
    pub(crate) registry: &'a Registry,
    /// The app that is called.
    pub(crate) app: AppId,
    /// As of when tokens are live.
    pub(crate) now: UnixMicros,
}

/// What a header's value holds.
enum Held {
    Nothing,
    /// A live token that makes no principal here.
    Token,
    /// A live token of the app that is called.
    Principal(Principal),
}

impl TokenFinder<'_> {
    /// Takes the values with live tokens away.
    pub(crate) fn take(&self, headers: &HeaderMap) -> UserHeaders {
        let mut kept = Vec::with_capacity(headers.len());
        let (mut presented, mut elsewhere) = (None, None);
        for (name, value) in headers {
            match self.held(value.as_bytes()) {
                Held::Nothing => {
                    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    kept.push((name.as_str().to_owned(), text));
                }
                Held::Token => {}
                Held::Principal(principal) if name == header::AUTHORIZATION => {
                    presented.get_or_insert(principal);
                }
                Held::Principal(principal) => drop(elsewhere.get_or_insert(principal)),
            }
        }
        UserHeaders { headers: kept, principal: presented.or(elsewhere) }
    }

    /// A token counts wherever it stands as a whole word: bare, as `Bearer …`, in a cookie.
    fn held(&self, value: &[u8]) -> Held {
        let mut held = Held::Nothing;
        let words = value.split(|byte| matches!(byte, b' ' | b'\t' | b',' | b';' | b'=' | b'"' | b':'));
        for word in std::iter::once(value).chain(words) {
            if self.instance.is(word) {
                held = Held::Token;
                continue;
            }
            let token = digest_of_word(word).and_then(|digest| self.registry.live_token(&digest, self.now));
            match token {
                Some(token) if token.app == Some(self.app) => return Held::Principal(token.principal()),
                Some(_) => held = Held::Token,
                None => {}
            }
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn kept(instance: &str, headers: &[(&'static str, &str)]) -> Vec<String> {
        let finder = TokenFinder {
            instance: &Token::new(instance),
            registry: &Registry::default(),
            app: AppId::default(),
            now: UnixMicros(0),
        };
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        let taken = finder.take(&headers.collect());
        assert!(taken.principal.is_none(), "the instance token makes no principal");
        taken.headers.into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn d9_a_token_is_found_as_a_whole_word_only() {
        for (value, found) in [
            ("s3cret-token", true),
            ("Bearer s3cret-token", true),
            ("a=b; session=s3cret-token; c=d", true),
            ("s3cret-tokens", false),
            ("xs3cret-token", false),
            ("", false),
        ] {
            let kept = kept("s3cret-token", &[("x-any", value), ("accept", "*/*")]);
            assert_eq!(kept.len(), if found { 1 } else { 2 }, "{value}");
        }
    }

    #[test]
    fn only_words_of_the_right_shape_are_hashed() {
        let text = new_text([7; 32]);
        assert_eq!(digest_of_word(text.as_bytes()), Some(digest(text.as_bytes())));
        for other in ["", "rlv_", &text[1..], &format!("{text}0")] {
            assert_eq!(digest_of_word(other.as_bytes()), None, "{other}");
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
