//! Every file says at its head what it owns.

use super::source::Source;

pub(crate) fn problems(files: &[Source]) -> Vec<String> {
    let without = files.iter().filter(|file| !file.text.starts_with("//!"));
    without.map(|file| format!("{}: does not open with //!", file.path.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::problems;

    #[test]
    fn a_missing_header_is_found() {
        let file = |text: &str| Source { path: "log/src/a.rs".into(), text: text.to_owned() };
        assert!(problems(&[file("//! Owns: a.\nfn a() {}\n")]).is_empty());
        assert_eq!(problems(&[file("fn a() {}\n")]).len(), 1);
        assert_eq!(problems(&[file("")]).len(), 1);
    }
}
