//! Numbered crash and failure points: which mutating call dies, or fails, and how.
//!
//! Owns: the counter and the syntax of `RELIVE_CRASH_AT=<n>[:after]` and `RELIVE_FAIL_AT=<n>:<errno>`. Never does:
//! exist in a release binary (feature `fault-points`); the simulated disk shares the syntax.

/// On which side of its call a crash happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The call has no effect.
    Before,
    /// The call had its effect.
    After,
}

/// Reads `<n>` (before) or `<n>:after`.
#[cfg_attr(not(any(feature = "fault-points", test)), expect(dead_code, reason = "only with fault points"))]
pub(crate) fn parse_crash(text: &str) -> Option<(u64, When)> {
    match text.split_once(':') {
        None => Some((text.parse().ok()?, When::Before)),
        Some((n, "before")) => Some((n.parse().ok()?, When::Before)),
        Some((n, "after")) => Some((n.parse().ok()?, When::After)),
        Some(_) => None,
    }
}

/// Reads `<n>:<errno>`, errno by name or number.
#[cfg_attr(not(any(feature = "fault-points", test)), expect(dead_code, reason = "only with fault points"))]
pub(crate) fn parse_fail(text: &str) -> Option<(u64, i32)> {
    let (n, errno) = text.split_once(':')?;
    let errno = match errno {
        "EINTR" => 4,
        "EIO" => 5,
        "EACCES" => 13,
        "EMFILE" => 24,
        "EFBIG" => 27,
        "ENOSPC" => 28,
        "EROFS" => 30,
        "EDQUOT" => 122,
        number => number.parse().ok()?,
    };
    Some((n.parse().ok()?, errno))
}

#[cfg(feature = "fault-points")]
mod armed {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{When, parse_crash, parse_fail};

    /// The points of one real disk, armed from the environment.
    #[derive(Debug, Default)]
    pub(crate) struct Points {
        calls: AtomicU64,
        crash: Option<(u64, When)>,
        fail: Option<(u64, i32)>,
    }

    impl Points {
        #[expect(clippy::disallowed_methods, reason = "fault points of test builds are armed from outside")]
        pub(crate) fn from_env() -> Self {
            let var = |name| std::env::var(name).ok();
            Self {
                calls: AtomicU64::new(0),
                crash: var("RELIVE_CRASH_AT").and_then(|text| parse_crash(&text)),
                fail: var("RELIVE_FAIL_AT").and_then(|text| parse_fail(&text)),
            }
        }

        #[expect(
            clippy::disallowed_methods,
            reason = "a crash point is the end of the process, without a word"
        )]
        pub(crate) fn mutate<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            let n = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            if self.crash == Some((n, When::Before)) {
                std::process::abort();
            }
            if let Some((at, errno)) = self.fail
                && at == n
            {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let done = call();
            if self.crash == Some((n, When::After)) {
                std::process::abort();
            }
            done
        }
    }
}

#[cfg(not(feature = "fault-points"))]
mod armed {
    use std::io;

    /// Nothing in this build.
    #[derive(Debug, Default)]
    pub(crate) struct Points;

    impl Points {
        pub(crate) const fn from_env() -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "the twin with fault points counts")]
        pub(crate) fn mutate<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            call()
        }
    }
}

pub(crate) use armed::Points;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax() {
        for (text, expect) in [
            ("12", Some((12, When::Before))),
            ("12:before", Some((12, When::Before))),
            ("12:after", Some((12, When::After))),
            ("12:never", None),
            ("x", None),
        ] {
            assert_eq!(parse_crash(text), expect, "{text}");
        }
        for (text, expect) in [
            ("3:EIO", Some((3, 5))),
            ("3:28", Some((3, 28))),
            ("3:ENOSPC", Some((3, 28))),
            ("3", None),
            ("3:E", None),
        ] {
            assert_eq!(parse_fail(text), expect, "{text}");
        }
    }
}
