//! Replaces the values of secrets by their names, before anything is recorded or shown.
//!
//! Owns: [`Masker`]. Never does: know where secrets come from.
//! Invariants: E49.

use std::fmt;

/// Masks the values of secrets as `‹secret:NAME›`.
///
/// Longest values first, so that a secret that contains another one is named as itself. Values shorter than
/// [`Masker::VALUE_BYTES_MIN`] are left alone: masking every `7` would ruin the text and protect nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Masker {
    /// Value and replacement, longest value first.
    rules: Vec<(String, String)>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|(_, shown)| shown)).finish()
    }
}

/// Whether masking found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masked {
    /// Nothing was there.
    No,
    /// At least one value was replaced.
    Yes,
}

impl Masked {
    /// Whether either found something.
    #[must_use]
    pub const fn or(self, other: Masked) -> Masked {
        match (self, other) {
            (Masked::No, Masked::No) => Masked::No,
            (Masked::Yes, _) | (_, Masked::Yes) => Masked::Yes,
        }
    }
}

impl Masker {
    /// The shortest value that is masked, bytes.
    pub const VALUE_BYTES_MIN: usize = 4;

    /// A masker of these secrets, as (name, value).
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = (String, String)>) -> Masker {
        let mut rules: Vec<(String, String)> = secrets
            .into_iter()
            .filter(|(_, value)| value.len() >= Masker::VALUE_BYTES_MIN)
            .map(|(name, value)| (value, format!("‹secret:{name}›")))
            .collect();
        rules.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        rules.dedup();
        Masker { rules }
    }

    /// This masker with further values, as (value, what is shown instead).
    #[must_use]
    pub fn and(mut self, further: impl IntoIterator<Item = (String, String)>) -> Masker {
        self.rules.extend(further.into_iter().filter(|(value, _)| value.len() >= Masker::VALUE_BYTES_MIN));
        self.rules.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        self.rules.dedup();
        self
    }

    /// Whether there is nothing to mask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Masks a text in place.
    pub fn mask_text(&self, text: &mut String) -> Masked {
        let mut found = Masked::No;
        for (value, shown) in &self.rules {
            if text.contains(value.as_str()) {
                *text = text.replace(value.as_str(), shown);
                found = Masked::Yes;
            }
        }
        found
    }

    /// Masks bytes in place (bodies need not be UTF-8).
    pub fn mask_bytes(&self, bytes: &mut Vec<u8>) -> Masked {
        let mut found = Masked::No;
        for (value, shown) in &self.rules {
            if let Some(replaced) = replace_bytes(bytes, value.as_bytes(), shown.as_bytes()) {
                *bytes = replaced;
                found = Masked::Yes;
            }
        }
        found
    }
}

/// `None` when the value does not occur.
fn replace_bytes(bytes: &[u8], value: &[u8], shown: &[u8]) -> Option<Vec<u8>> {
    let first = value.first()?;
    let mut out = Vec::new();
    let mut rest = bytes;
    let mut kept = 0;
    while let Some(at) = rest.get(kept..)?.iter().position(|byte| byte == first).map(|at| at + kept) {
        let (before, from) = rest.split_at(at);
        if let Some(after) = from.strip_prefix(value) {
            out.extend_from_slice(before);
            out.extend_from_slice(shown);
            rest = after;
            kept = 0;
        } else {
            kept = at + 1;
        }
    }
    if rest.len() == bytes.len() {
        return None;
    }
    out.extend_from_slice(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{Masked, Masker};

    fn masker(secrets: &[(&str, &str)]) -> Masker {
        Masker::new(secrets.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    #[track_caller]
    fn check(secrets: &[(&str, &str)], text: &str, expected: &str) {
        let masker = masker(secrets);
        let found = if text == expected { Masked::No } else { Masked::Yes };
        let (mut shown, mut bytes) = (text.to_owned(), text.as_bytes().to_vec());
        assert_eq!((masker.mask_text(&mut shown), shown.as_str()), (found, expected));
        assert_eq!((masker.mask_bytes(&mut bytes), bytes.as_slice()), (found, expected.as_bytes()));
    }

    #[test]
    fn e49_every_occurrence_is_replaced_longest_first() {
        let two = [("short", "abcd"), ("long", "abcdef")];
        check(&two, "abcdef abcd", "‹secret:long› ‹secret:short›");
        check(&two, "abcdabcd", "‹secret:short›‹secret:short›");
        check(&two, "abcabcd", "abc‹secret:short›");
        check(&two, "nothing", "nothing");
        check(&[("s", "aaaa")], "aaaaa aaa", "‹secret:s›a aaa");
        check(&[("s", "größe")], "Über größe!", "Über ‹secret:s›!");
        check(&[("tiny", "abc")], "abc", "abc");
        check(&[], "abcd", "abcd");
        check(&[("s", "abcd")], "", "");
    }

    #[test]
    fn bytes_need_not_be_text_and_values_are_not_shown() {
        let mut bytes = b"\xff\xfeabcd\xff".to_vec();
        assert_eq!(masker(&[("s", "abcd")]).mask_bytes(&mut bytes), Masked::Yes);
        assert_eq!(bytes, [b"\xff\xfe".as_slice(), "‹secret:s›".as_bytes(), b"\xff"].concat());
        assert!(!format!("{:?}", masker(&[("s", "abcd")])).contains("abcd"));
    }
}
