//! Holds the tests, the list of normative statements and `docs/conformance.md` together: no
//! statement without a row, no row that names a test which does not exist or shows something else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// How many statements each section has: appendix B of the standard. One of them is printed
/// there as `MQTT-3-8.3-4`.
const SECTIONS: [(&str, u32); 39] = [
    ("1.5.3", 3),
    ("2.2.2", 2),
    ("2.3.1", 7),
    ("3.1.0", 2),
    ("3.1.2", 24),
    ("3.1.3", 11),
    ("3.1.4", 5),
    ("3.2.0", 1),
    ("3.2.2", 6),
    ("3.3.1", 12),
    ("3.3.2", 3),
    ("3.3.4", 1),
    ("3.3.5", 2),
    ("3.6.1", 1),
    ("3.8.1", 1),
    ("3.8.3", 4),
    ("3.8.4", 6),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.12.4", 1),
    ("3.14.1", 1),
    ("3.14.4", 3),
    ("4.1.0", 2),
    ("4.3.1", 1),
    ("4.3.2", 2),
    ("4.3.3", 2),
    ("4.4.0", 1),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.1", 3),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.0", 2),
    ("6.0.0", 4),
    ("7.0.0", 2),
    ("7.1.1", 1),
    ("7.1.2", 1),
];

/// What a row says in the place of a test, where there is none.
const UNTESTED: [&str; 2] = ["binds the client", "no WebSocket"];

/// A row of the table.
#[derive(Debug)]
struct Row {
    clause: String,
    tests: Vec<String>,
    choice: String,
}

fn statements() -> Vec<String> {
    let numbered = |(section, count): &(&str, u32)| {
        let section = (*section).to_owned();
        (1..=*count).map(move |number| format!("MQTT-{section}-{number}")).collect::<Vec<_>>()
    };
    SECTIONS.iter().flat_map(numbered).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spec")
}

/// Every test of this program as `module::name`, with the statements that its documentation names.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for (name, clauses) in tests_of(&text) {
            tests.insert(format!("{module}::{name}"), clauses);
        }
    }
    tests
}

fn tests_of(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let (mut found, mut clauses, mut is_test) = (Vec::new(), BTreeSet::new(), false);
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("/// ") {
            let tags = words.split('[').filter_map(|rest| rest.split_once(']'));
            let tags = tags.filter(|(tag, _)| tag.starts_with("MQTT-"));
            clauses.extend(tags.map(|(tag, _)| tag.to_owned()));
        } else if line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let (true, Some(rest)) = (is_test, line.strip_prefix("async fn ")) {
            let name = rest.split('(').next().unwrap_or_default();
            found.push((name.to_owned(), std::mem::take(&mut clauses)));
            is_test = false;
        } else if !line.starts_with("#[") {
            clauses.clear();
        }
    }
    found
}

fn rows(table: &str) -> Vec<Row> {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let lines = table.lines().filter(|line| line.starts_with("| MQTT-"));
    let row = |line: &str| {
        let cells = cells(line);
        assert_eq!(cells.len(), 4, "{line}");
        let tests = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Row { clause: cells[0].clone(), tests, choice: cells[3].clone() }
    };
    lines.map(row).collect()
}

/// What is wrong with a table, given the tests that there are.
fn faults(rows: &[Row], tests: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    let listed: Vec<&str> = rows.iter().map(|row| &*row.clause).collect();
    let wanted = statements();
    if listed != wanted {
        let missing = wanted.iter().filter(|clause| !listed.contains(&&***clause));
        faults.extend(missing.map(|clause| format!("{clause} has no row")));
        let unknown = listed.iter().filter(|clause| !wanted.iter().any(|known| known == *clause));
        faults.extend(unknown.map(|clause| format!("{clause} is no statement")));
        faults.push("the rows do not stand in the standard's order, each once".to_owned());
    }
    for row in rows {
        let clause = &row.clause;
        let excused = UNTESTED.iter().any(|words| row.choice.contains(words));
        if row.tests.is_empty() && !excused {
            faults.push(format!("{clause} has no test"));
        }
        for test in &row.tests {
            match tests.get(test) {
                None => faults.push(format!("{clause}: there is no test {test}")),
                Some(shown) if shown.contains(clause) => {}
                Some(_) => faults.push(format!("{clause}: {test} does not name it")),
            }
        }
    }
    for (test, clauses) in tests {
        for clause in clauses {
            let named = |row: &Row| row.clause == *clause && row.tests.contains(test);
            if !rows.iter().any(named) {
                faults.push(format!("{test} shows {clause}, and its row does not say so"));
            }
        }
    }
    faults
}

#[test]
fn the_table_is_complete_and_names_real_tests() {
    let path = folder().join("../../docs/conformance.md");
    let table = fs::read_to_string(path).expect("docs/conformance.md");
    let faults = faults(&rows(&table), &tests());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_fault_of_the_table_is_found() {
    let lines: Vec<String> =
        statements().iter().map(|clause| format!("| {clause} | says | `a::test` | |\n")).collect();
    let table = lines.concat();
    let all: BTreeSet<String> = statements().into_iter().collect();
    let tests = BTreeMap::from([("a::test".to_owned(), all.clone())]);
    assert_eq!(faults(&rows(&table), &tests), [""; 0]);
    for (from, to) in [
        ("| MQTT-4.8.0-2 | says | `a::test` | |\n", ""),
        ("| MQTT-4.8.0-2 |", "| MQTT-4.8.0-3 |"),
        ("| MQTT-4.8.0-2 | says | `a::test` |", "| MQTT-4.8.0-2 | says | |"),
        ("| MQTT-4.8.0-2 | says | `a::test` |", "| MQTT-4.8.0-2 | says | `a::tset` |"),
    ] {
        let broken = table.replace(from, to);
        assert_ne!(faults(&rows(&broken), &tests), [""; 0], "{from} -> {to}");
    }
    let mut fewer = all;
    fewer.remove("MQTT-1.5.3-1");
    let tests = BTreeMap::from([("a::test".to_owned(), fewer)]);
    assert_ne!(faults(&rows(&table), &tests), [""; 0]);
}

#[test]
fn the_statements_are_those_of_the_standard() {
    assert_eq!(statements().len(), 141);
    let text = "/// [MQTT-1.2.3-4] and\n/// [MQTT-1.2.3-5]\n#[tokio::test]\nasync fn a_b() {\n";
    let (name, clauses) = tests_of(text).remove(0);
    assert_eq!(name, "a_b");
    assert_eq!(clauses.into_iter().collect::<Vec<_>>(), ["MQTT-1.2.3-4", "MQTT-1.2.3-5"]);
}
