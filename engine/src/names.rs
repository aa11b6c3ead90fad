//! What names may look like: slugs, scripts, secrets, collections, keys, methods, path patterns.
//!
//! Owns: the checks and the wording of their refusals. Never does: look anything up.

use crate::refusal::Refusal;
use crate::script::Limits;

/// Longest name of a script, trigger or secret, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest path pattern, bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// Methods that a route may have.
pub const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Whether two path patterns match the same paths (names of parameters do not matter).
#[must_use]
pub fn same_pattern(a: &str, b: &str) -> bool {
    let shape = |segment: &str| match segment.strip_prefix('{') {
        Some(rest) if rest.starts_with('*') => "{*}".to_owned(),
        Some(_) => "{}".to_owned(),
        None => segment.to_owned(),
    };
    a.split('/').map(shape).eq(b.split('/').map(shape))
}

fn invalid(field: &str, problem: impl Into<String>) -> Refusal {
    Refusal::Invalid { field: field.to_owned(), problem: problem.into() }
}

/// A slug: `[a-z][a-z0-9-]{0,62}`.
///
/// # Errors
/// [`Refusal::Invalid`] or [`Refusal::TooLarge`], with the field.
pub fn slug(text: &str) -> Result<(), Refusal> {
    let mut chars = text.bytes();
    let head = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    let tail = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    if head && tail && text.len() <= 63 {
        return Ok(());
    }
    Err(invalid(
        "slug",
        format!("`{text}` is no slug: a lower-case letter, then at most 62 of a-z, 0-9 and -"),
    ))
}

/// A name of a script, trigger or secret: letters, digits, `_`, `-`, `.`; at most [`NAME_BYTES_MAX`].
///
/// # Errors
/// [`Refusal::Invalid`] or [`Refusal::TooLarge`], with the field.
pub fn name(field: &str, text: &str) -> Result<(), Refusal> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
    if !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(legal) {
        return Ok(());
    }
    Err(invalid(
        field,
        format!("`{text}` is no name: 1 to {NAME_BYTES_MAX} letters, digits, `_`, `-` or `.`"),
    ))
}

/// A name for people (of a token): 1 to [`NAME_BYTES_MAX`] bytes, no control characters.
///
/// # Errors
/// [`Refusal::Invalid`], with the field.
pub fn label(field: &str, text: &str) -> Result<(), Refusal> {
    if !text.trim().is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(invalid(field, format!("it has 1 to {NAME_BYTES_MAX} bytes and no control characters")))
}

/// A collection's name: 1 to 256 bytes, no control characters.
///
/// # Errors
/// [`Refusal::Invalid`] or [`Refusal::TooLarge`], with the field.
pub fn collection(text: &str, limits: &Limits) -> Result<(), Refusal> {
    sized("collection", text, limits.collection_bytes_max, "RELIVE_MAX_COLLECTION_NAME")
}

/// A key: 1 to 1024 bytes, no NUL.
///
/// # Errors
/// [`Refusal::Invalid`] or [`Refusal::TooLarge`], with the field.
pub fn key(text: &str, limits: &Limits) -> Result<(), Refusal> {
    sized("key", text, limits.key_bytes_max, "RELIVE_MAX_KEY")
}

fn sized(field: &str, text: &str, limit: usize, setting: &'static str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(invalid(field, "it is empty"));
    }
    if text.contains('\0') {
        return Err(invalid(field, "it holds a NUL character"));
    }
    if text.len() > limit {
        return Err(Refusal::TooLarge {
            what: field.to_owned(),
            actual: text.len() as u64,
            limit: limit as u64,
            unit: "bytes",
            setting,
        });
    }
    Ok(())
}

/// A method that routes may have, upper case.
///
/// # Errors
/// [`Refusal::Invalid`] or [`Refusal::TooLarge`], with the field.
pub fn method(text: &str) -> Result<(), Refusal> {
    if METHODS.contains(&text) {
        return Ok(());
    }
    Err(invalid("method", format!("`{text}` is none of {}", METHODS.join(", "))))
}

/// A path pattern: `/a/{name}/{*rest}`.
///
/// # Errors
/// [`Refusal::Invalid`] or [`Refusal::TooLarge`], with the field.
pub fn path(text: &str) -> Result<(), Refusal> {
    let problem = |why: &str| Err(invalid("path", format!("`{text}`: {why}")));
    if !text.starts_with('/') {
        return problem("it must start with `/`");
    }
    if text.len() > PATH_BYTES_MAX {
        return problem("it is longer than 1024 bytes");
    }
    let mut seen: Vec<&str> = Vec::new();
    let segments: Vec<&str> = text.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let Some(inner) = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) else {
            if segment.contains(['{', '}', '?', '#']) {
                return problem("a segment is either literal or one whole `{name}`");
            }
            if segment.is_empty() && segments.len() > 1 && at + 1 < segments.len() {
                return problem("it has an empty segment");
            }
            continue;
        };
        let bare = inner.strip_prefix('*').unwrap_or(inner);
        if bare.is_empty() || !bare.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
            return problem("a parameter's name has letters, digits and `_` only");
        }
        if inner.starts_with('*') && at + 1 != segments.len() {
            return problem("`{*rest}` stands last");
        }
        if seen.contains(&bare) {
            return problem("a parameter's name stands twice");
        }
        seen.push(bare);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        for good in ["a", "shop", "shop-2", &"a".repeat(63)] {
            assert_eq!(slug(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "2shop", "shop_2", "-a", "sh op", &"a".repeat(64)] {
            assert!(slug(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths() {
        for good in ["/", "/a", "/a/", "/a/{id}", "/a/{id}/b", "/files/{*rest}", "/{*all}"] {
            assert_eq!(path(good), Ok(()), "{good}");
        }
        for bad in
            ["", "a", "//a", "/a//b", "/{id}x", "/{*rest}/a", "/{a}/{a}", "/{}", "/{*}", "/a?b", "/{a-b}"]
        {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
