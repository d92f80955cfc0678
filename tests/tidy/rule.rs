//! Rules on the text of a file: its length, its opening, words that must not be there.

use crate::{File, check, files};

/// Numbered lines of `text` for which `offends` holds.
fn lines(text: &str, offends: impl Fn(&str) -> bool) -> Vec<String> {
    let numbered = text.lines().enumerate().filter(|(_, line)| offends(line));
    numbered.map(|(number, line)| format!("{}: {}", number + 1, line.trim())).collect()
}

fn length(file: &File) -> Vec<String> {
    let count = file.code().lines().count();
    let long = file.is_rust() && !file.is_test() && count > 400;
    long.then(|| format!("{count} lines")).into_iter().collect()
}

#[test]
fn no_file_has_more_than_400_lines_of_code() {
    let long = "line\n".repeat(401);
    let tested = format!("{}\n#[cfg(test)]\nmod tests {{\n{long}}}\n", "line\n".repeat(399));
    check(
        length,
        &[File::new("broker/src/a.rs", &long)],
        &[File::new("tests/a.rs", &long), File::new("broker/src/a.rs", &tested)],
    );
}

fn opening(file: &File) -> Vec<String> {
    let opens = file.text.starts_with("//! ") || !file.is_rust();
    let says_nothing = file.text.starts_with(concat!("//! Place", "holder"));
    (!opens || says_nothing).then(|| "does not say what it is for".to_owned()).into_iter().collect()
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    check(opening, &[File::new("a.rs", "fn a() {}")], &[File::new("a.rs", "//! For all.\n")]);
}

fn unfinished(file: &File) -> Vec<String> {
    // Put together, as this file is judged too.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("#[ig", "nore"),
        concat!("should_", "panic"),
    ];
    let text = if file.is_rust() { &file.text } else { "" };
    lines(text, |line| words.iter().any(|word| line.contains(word)))
}

#[test]
fn nothing_is_left_for_later() {
    let offenders = [concat!("// TO", "DO: this"), concat!("#[ig", "nore]\nfn a() {}")];
    check(unfinished, &offenders.map(|text| File::new("a.rs", text)), &[]);
}

fn sleeping(file: &File) -> Vec<String> {
    let sleep = concat!("sle", "ep(");
    let text = if file.is_rust() { file.tests() } else { "" };
    lines(text, |line| line.contains(sleep) && !line.contains("// pacing:"))
}

#[test]
fn no_test_waits_for_a_fixed_time() {
    let sleep = concat!("sle", "ep(second).await;");
    let in_crate = format!("//! A.\n{sleep}\n#[cfg(test)]\nmod tests {{\n{sleep}\n}}\n");
    let paced = format!("{sleep} // pacing: asks again\n");
    let elsewhere = format!("//! A.\n{sleep}\n");
    check(
        sleeping,
        &[File::new("tests/a.rs", sleep), File::new("broker/src/a.rs", &in_crate)],
        &[File::new("tests/a.rs", &paced), File::new("broker/src/a.rs", &elsewhere)],
    );
}

fn naming(file: &File) -> Vec<String> {
    let endings = ["Manager", "Handler", "Helper", "Util", "Utils", "Info", "Impl", "Data"];
    let kinds = ["struct", "enum", "trait", "type", "mod", "union"];
    let declares = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        let named = words.by_ref().any(|word| kinds.contains(&word)).then(|| words.next());
        let name = named.flatten().unwrap_or_default();
        let bad_module = ["util", "utils", "helper", "helpers", "types", "misc"].contains(&name);
        bad_module || endings.iter().any(|ending| name.ends_with(ending))
    };
    let text = if file.is_rust() { &file.text } else { "" };
    lines(text, |line| !line.trim_start().starts_with("//") && declares(line))
}

#[test]
fn no_name_says_nothing() {
    let offenders = [
        concat!("pub struct Link", "Manager {"),
        concat!("mod ", "utils;"),
        concat!("pub(crate) enum Client", "Info {"),
    ];
    check(
        naming,
        &offenders.map(|text| File::new("a.rs", text)),
        &[File::new("a.rs", "pub struct Utility;\nstruct Informed;\n// a struct of Info\n")],
    );
}

/// The keys of a dependency table of a manifest, and what they are set to.
fn dependencies(manifest: &toml::Table) -> Vec<(String, toml::Value)> {
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let entries = tables.iter().filter_map(|name| manifest.get(*name)?.as_table());
    entries.flat_map(|table| table.iter().map(|(name, set)| (name.clone(), set.clone()))).collect()
}

/// Manifests of the workspace; one that is a workspace of its own is none of it.
fn versioned(file: &File) -> Vec<String> {
    if !file.path.ends_with("Cargo.toml") {
        return Vec::new();
    }
    let manifest: toml::Table = file.text.parse().unwrap();
    if manifest.contains_key("workspace") {
        return Vec::new();
    }
    let own = |set: &toml::Value| set.get("workspace").and_then(toml::Value::as_bool) != Some(true);
    let own = dependencies(&manifest).into_iter().filter(|(_, set)| own(set));
    own.map(|(name, _)| format!("{name} has a version of its own")).collect()
}

#[test]
fn every_version_stands_in_the_table_of_the_workspace() {
    let manifest = |text: &str| File::new("a/Cargo.toml", text);
    check(
        versioned,
        &[
            manifest("[dependencies]\nserde = \"1\"\n"),
            manifest("[dev-dependencies]\nserde = { version = \"1\" }\n"),
        ],
        &[manifest("[dependencies]\nserde.workspace = true\n")],
    );
}

/// The dependencies of the workspace table that `architecture` does not name in backquotes.
fn unexplained(manifest: &str, architecture: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let table = manifest["workspace"]["dependencies"].as_table().unwrap();
    let own = |name: &&String| name.starts_with("causeway-");
    let named = |name: &&String| architecture.contains(&format!("`{name}`"));
    table.keys().filter(|name| !own(name) && !named(name)).cloned().collect()
}

#[test]
fn every_dependency_has_its_reason_in_the_architecture() {
    let manifest = "[workspace.dependencies]\nserde = \"1\"\ntoml = \"1\"\n";
    assert_eq!(unexplained(manifest, "* `serde`: reads frames"), ["toml"]);
    let files = files();
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| &*file.text);
    let architecture = text("ARCHITECTURE.md").expect("ARCHITECTURE.md exists");
    assert_eq!(unexplained(text("Cargo.toml").unwrap(), architecture), [""; 0]);
}

/// What `page` names in backquotes as a test is named (three words or more), and no file of tests has.
fn unknown_tests(page: &str, tests: &[&File]) -> Vec<String> {
    let names = page.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 3);
    // Some are made by a macro, so `fn` does not stand before them.
    let is_test = |name: &str| tests.iter().any(|file| file.text.contains(name));
    names.filter(|name| !is_test(name)).map(str::to_owned).collect()
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let tests = [File::new("tests/a.rs", "async fn a_b_c_d() {}")];
    let tests: Vec<_> = tests.iter().collect();
    assert_eq!(unknown_tests("| `a_b_c_d`, `a_b_c_e` | `home_grace_secs` |", &tests), ["a_b_c_e"]);
    let files = files();
    let page = files.iter().find(|file| file.path == "docs/guarantees.md").expect("the page");
    let tests: Vec<_> = files.iter().filter(|file| file.path.starts_with("tests/")).collect();
    assert_eq!(unknown_tests(&page.text, &tests), [""; 0]);
    assert!(page.text.matches('`').count() > 40, "it names its tests");
}
