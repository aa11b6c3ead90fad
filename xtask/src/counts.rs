//! How many tests ran, read from what a test runner prints.

/// Tests that ran, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// All that ran.
    pub(crate) fn ran(self) -> u64 {
        self.passed + self.failed
    }

    fn add(&mut self, line: &str, is_failure: fn(&str) -> bool) {
        let words: Vec<&str> =
            line.split([' ', ',', ';', ':', '(', ')']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let [number, word] = pair else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            if *word == "passed" {
                self.passed += number;
            } else if is_failure(word) {
                self.failed += number;
            }
        }
    }
}

/// Adds up the summary lines of libtest (`test result: …`, one per binary) and of nextest (`Summary […] …`).
///
/// nextest says `1 failed`, `1 timed out`, `1 exec failed`; a test that it calls flaky has passed in the end.
pub(crate) fn read(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines() {
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix("test result:") {
            counts.add(rest, |word| word == "failed");
        } else if let Some((_, rest)) = line.strip_prefix("Summary [").and_then(|rest| rest.split_once(']')) {
            counts.add(rest, |word| matches!(word, "failed" | "timed" | "exec"));
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{Counts, read};

    fn check(output: &str, passed: u64, failed: u64) {
        assert_eq!(read(output), Counts { passed, failed }, "{output}");
    }

    #[test]
    fn summaries_of_both_runners_are_added_up() {
        check("", 0, 0);
        check(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            3,
            0,
        );
        check(
            "test result: FAILED. 3 passed; 2 failed; 0 ignored;\ntest result: ok. 4 passed; 0 failed;",
            7,
            2,
        );
        check("     Summary [   0.012s] 3 tests run: 3 passed, 1 skipped", 3, 0);
        check(
            "     Summary [   0.012s] 9/12 tests run: 4 passed (1 slow, 1 flaky), 3 failed, 2 timed out, 0 skipped",
            4,
            5,
        );
        check("     Summary [   0.012s] 2 tests run: 1 passed, 1 exec failed, 0 skipped", 1, 1);
        check("a test that prints: 7 passed", 0, 0);
    }
}
