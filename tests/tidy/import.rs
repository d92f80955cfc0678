//! Which part may know which: imports run one way, and the pure parts do nothing but decide.

use crate::{File, check};

/// From the innermost to the outermost; a part knows those before it only.
const BROKER: &[&[&str]] = &[
    &["acl", "store"],
    &["session"],
    &["hub"],
    &["auth"],
    &["connection"],
    &["link"],
    &["listener"],
    &["node"],
];
const BRIDGE: &[&[&str]] =
    &[&["routes"], &["interest"], &["relay"], &["core"], &["link"], &["watch", "janitor"]];

/// Folders and files that only decide.
const PURE: &[&str] = &[
    "broker/src/acl",
    "broker/src/session",
    "broker/src/hub",
    "bridge/src/routes",
    "bridge/src/interest",
    "bridge/src/relay",
    "bridge/src/core",
    "common/src/delivery",
    "common/src/link",
    "common/src/packet",
    "common/src/topic",
];

/// What reaches for a clock, a task, a socket or chance. A type may be named, not asked.
const IMPURE: &[&str] = &[
    "Instant::now",
    ".elapsed()",
    "SystemTime",
    "rand::",
    "fs::",
    "TcpStream",
    "TcpListener",
    "thread::",
    "tokio::",
    "async fn",
    ".await",
];

/// Whether `path` is the file or folder of the module that `module` leads to.
fn within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn impure(file: &File) -> Vec<String> {
    if file.is_test() || !PURE.iter().any(|module| within(&file.path, module)) {
        return Vec::new();
    }
    let code = file.code().lines().filter(|line| !line.trim_start().starts_with("//"));
    let offends = |line: &&str| IMPURE.iter().any(|word| line.contains(word));
    code.filter(offends).map(str::to_owned).collect()
}

#[test]
fn the_pure_parts_know_no_clock_no_task_no_socket_and_no_chance() {
    check(
        impure,
        &[
            File::new("broker/src/session/mod.rs", "let now = Instant::now();"),
            File::new("bridge/src/core.rs", "tokio::spawn(a);"),
        ],
        &[
            File::new("broker/src/session/mod.rs", "use std::time::Instant;\n// tokio::spawn"),
            File::new("broker/src/node.rs", "let now = Instant::now();"),
            File::new("bridge/src/core_sample.rs", "let now = Instant::now();"),
        ],
    );
}

/// The modules of its own crate that a file names, by `crate::` or by as many `super::` as lead to
/// the root.
fn named(file: &File) -> Vec<String> {
    let inside = file.path.split_once("/src/").map_or("", |(_, inside)| inside);
    let depth = inside.trim_end_matches("/mod.rs").split('/').count();
    let to_root = ["crate::".to_owned(), "super::".repeat(depth)];
    let code = file.code();
    let mut names = Vec::new();
    for prefix in &to_root {
        names.extend(code.split(prefix.as_str()).skip(1).flat_map(first_names));
    }
    names
}

/// The first name of a path, or of each path of a group in braces.
fn first_names(text: &str) -> Vec<String> {
    let first = |path: &str| {
        let path = path.trim_start();
        path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let Some(group) = text.strip_prefix('{') else {
        return vec![first(text)];
    };
    let mut depth = 0;
    let outer: String = group
        .chars()
        .map_while(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            (depth >= 0).then_some(if depth > 0 && c == ',' { ' ' } else { c })
        })
        .collect();
    outer.split(',').map(first).collect()
}

fn upward(file: &File) -> Vec<String> {
    let layers = match file.path.split_once("/src/") {
        Some(("broker", _)) => BROKER,
        Some(("bridge", _)) => BRIDGE,
        Some(_) | None => return Vec::new(),
    };
    let (root, _) = file.path.split_once('/').unwrap_or_default();
    let layer_of = |name: &str| layers.iter().position(|layer| layer.contains(&name));
    let own = |layer: &&[&str]| {
        layer.iter().any(|name| within(&file.path, &format!("{root}/src/{name}")))
    };
    let Some(own) = layers.iter().position(own) else {
        return Vec::new();
    };
    let above = |name: &String| layer_of(name).is_some_and(|layer| layer > own);
    named(file).into_iter().filter(above).map(|name| format!("uses {name}")).collect()
}

#[test]
fn imports_run_one_way() {
    let session = |text: &str| File::new("broker/src/session/send.rs", text);
    check(
        upward,
        &[
            session("use crate::hub::Hub;"),
            session("use crate::{\n    config::{self, Session},\n    hub::{Hub, Mail},\n};"),
            session("let a = super::super::node::start();"),
            File::new("broker/src/hub/mod.rs", "use super::link;"),
            File::new("broker/src/link.rs", "fn a() { crate::listener::bind() }"),
            File::new("bridge/src/routes.rs", "use crate::core::Core;"),
        ],
        &[
            session("use super::window;\nuse crate::{config::{link, node}, session::Action};"),
            File::new("broker/src/node.rs", "use crate::{hub::Hub, listener};"),
            File::new("bridge/src/janitor.rs", "use crate::core::Core;"),
            File::new("broker/src/metrics.rs", "use crate::node::Node;"),
        ],
    );
}
