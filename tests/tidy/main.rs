//! The house rules that no compiler knows, as tests over all files of the repository.
//!
//! Each rule is a function from a file to its offences, and is tried on a small offender first. It
//! leaves to others: everything that rustfmt and clippy can judge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "clippy counts only functions marked as tests as tests"
)]

mod import;
mod rule;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One text file of the repository.
struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let (path, text) = (path.to_owned(), text.to_owned());
        Self { path, text }
    }

    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|ending| ending == "rs")
    }

    /// Whether the whole file is there for tests or benches.
    fn is_test(&self) -> bool {
        let path = &self.path;
        let apart = path.starts_with("tests/") || path.starts_with("benches/");
        apart || path.ends_with("/tests.rs") || path.contains("/tests/")
    }

    /// What is left without the tests at the end.
    fn code(&self) -> &str {
        self.split().0
    }

    /// The tests at the end; the whole of a file that is there for tests.
    fn tests(&self) -> &str {
        if self.is_test() { &self.text } else { self.split().1 }
    }

    fn split(&self) -> (&str, &str) {
        let start = self.text.find("\n#[cfg(test)]\nmod ");
        self.text.split_at(start.map_or(self.text.len(), |start| start + 1))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text file but what is built, hidden or generated.
fn files() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !name.starts_with('.') && name != "target" && name != "corpus" {
                folders.push(entry.path());
            } else if let (true, Ok(text)) = (kind.is_file(), fs::read_to_string(entry.path())) {
                let path = entry.path().strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push(File { path, text });
            }
        }
    }
    assert!(files.len() > 20, "the repository was not found");
    files
}

/// Tries a rule on offenders and then on the repository.
#[track_caller]
fn check(rule: fn(&File) -> Vec<String>, offenders: &[File], innocents: &[File]) {
    for offender in offenders {
        let text = format!("{}:\n{}", offender.path, offender.text);
        assert!(!rule(offender).is_empty(), "the rule does not find {text}");
    }
    for innocent in innocents {
        assert_eq!(rule(innocent), [""; 0], "{}", innocent.path);
    }
    let offence = |file: &File| {
        let path = file.path.clone();
        rule(file).into_iter().map(move |offence| format!("{path}: {offence}"))
    };
    let offences: Vec<_> = files().iter().flat_map(offence).collect();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}
