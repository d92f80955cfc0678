//! The corpus of the fuzz targets for files, replayed without a fuzzer.

use std::{fs, path::PathBuf};

#[path = "../../tests/fuzz/check_files.rs"]
mod check;

/// What must hold for a file.
type Check = fn(&[u8]);

#[test]
fn no_input_of_the_corpus_breaks_the_reader_of_files() {
    let passwords: (&str, Check) = ("password_file", check::check_passwords);
    for (target, check) in [passwords, ("acl_file", check::check_acl)] {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus");
        let inputs: Vec<_> = fs::read_dir(PathBuf::from(corpus).join(target)).unwrap().collect();
        assert!(inputs.len() > 10, "{target}: {}", inputs.len());
        for input in inputs {
            check(&fs::read(input.unwrap().path()).unwrap());
        }
    }
}
