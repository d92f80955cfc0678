//! The rules, as tables, and beside a plain retelling of what mosquitto does.

use proptest::prelude::*;

use super::{parse::Reason, *};

fn rights(file: &str, user: Option<&str>, client_id: &str) -> Rights {
    let acl = Acl::parse(file.as_bytes()).unwrap();
    let client_id = ClientId::from(client_id);
    let user = user.map_or_else(|| UserName::nameless(&client_id), UserName::from);
    acl.rights_of(&user, &client_id)
}

const FILE: &str = "\
# What everybody without a name may do.
topic read news/#
topic deny news/secret

user alice
topic write in/alice
topic read $SYS/#
topic readwrite both/+
topic own
topic deny both/b
topic read both/b

user bob
topic read a filter/with blanks

user alice
topic read later

pattern read user/%u/#
pattern write user/+/%u
pattern readwrite device/%c
pattern deny user/%u/deaf
";

#[test]
fn rules_decide_as_mosquittos() {
    let (named, nameless) = (Some("alice"), None);
    for (user, topic, reads, writes) in [
        (nameless, "news/today", true, false),
        (nameless, "news", true, false),
        (nameless, "news/secret", false, false),
        (nameless, "own", false, false),
        (named, "news/today", false, false),
        (named, "in/alice", false, true),
        (named, "$SYS/broker/uptime", true, false),
        (named, "both/a", true, true),
        (named, "both/b", false, false),
        (named, "own", true, true),
        (named, "later", true, false),
        (named, "user/alice", true, false),
        (named, "user/alice/bob", true, false),
        (named, "user/alice/deaf", false, false),
        (named, "user/bob/alice", false, true),
        (named, "user/bob/carol", false, false),
        (named, "device/c1", true, true),
        (named, "device/c2", false, false),
        // No user, no %u.
        (nameless, "user/c1/x", false, false),
        (nameless, "user//x", false, false),
        (nameless, "device/c1", true, true),
        (Some("bob"), "a filter/with blanks", true, false),
        (Some("nobody"), "news/today", false, false),
        (Some("nobody"), "user/nobody/x", true, false),
    ] {
        let rights = rights(FILE, user, "c1");
        let found = (rights.may_read(topic), rights.may_write(topic));
        assert_eq!(found, (reads, writes), "{user:?} {topic}");
    }
}

#[test]
fn no_name_makes_a_pattern_wider() {
    let file = "pattern read user/%u/#\npattern write %u/x\npattern read dev/%c/#\npattern all\n";
    for (user, client_id, topic) in [
        (Some("+"), "c", "user/bob/x"),
        (Some("#"), "c", "user/bob/x"),
        (Some("bob/x"), "c", "user/bob/x/y"),
        (Some("bob/#"), "c", "user/bob/x"),
        (Some(""), "c", "user//x"),
        (Some("a"), "+", "dev/b/x"),
        (Some("a"), "b/x", "dev/b/x/y"),
        (Some("%c"), "bob", "user/bob/x"),
        (None, "%u", "user//x"),
        // Not even what is everybody's: as mosquitto.
        (Some("+"), "c", "all"),
        (Some("a"), "#", "all"),
    ] {
        assert!(!rights(file, user, client_id).may_read(topic), "{user:?} {client_id:?} {topic}");
    }
    assert!(!rights(file, Some("$SYS"), "c").may_write("$SYS/x"));
    assert!(rights(file, Some("bob/x"), "c").may_read("all"), "only what holds the name");
    let deny = "pattern read a/#\npattern deny a/%u\n";
    assert!(!rights(deny, Some("b/c"), "c").may_read("a/b/c"), "a denial may reach further");
}

#[test]
fn a_filter_is_refused_if_nothing_under_it_may_be_read() {
    let file = "user alice\ntopic read a/b\ntopic deny a/b/c/#\ntopic read a/b/c/d\n\
                topic write w/#\ntopic read $SYS/broker/#\npattern read user/%u/#\n";
    for (filter, expected) in [
        ("a/b", true),
        ("a/+", true),
        ("#", true),
        ("a/b/c/d", false),
        ("a/b/c/#", false),
        ("a/b/#", true),
        ("w/x", false),
        ("user/alice/#", true),
        ("user/alice/bob", true),
        ("user/+/bob", true),
        ("user/bob/#", false),
        ("$SYS/#", true),
        ("$SYS/other", false),
        ("nothing", false),
    ] {
        let found = rights(file, Some("alice"), "c").may_subscribe(&Filter::new(filter).unwrap());
        assert_eq!(found, expected, "{filter}");
    }
}

#[test]
fn a_file_without_rules_allows_nothing() {
    for file in ["", "# only this\n", "user alice\n"] {
        let rights = rights(file, Some("alice"), "c");
        assert!(!rights.may_read("a") && !rights.may_write("a"), "{file:?}");
    }
}

#[test]
fn a_bad_line_is_named_with_its_number() {
    use causeway_common::topic::FilterError::{MultiLevel, SingleLevel};
    let filter = |error| Reason::Filter(error);
    for (line, expected) in [
        ("topik read a", Reason::UnknownWord("topik".into())),
        ("topic", Reason::NoFilter("topic")),
        ("pattern  ", Reason::NoFilter("pattern")),
        ("topic reed a", Reason::UnknownAccess("reed".into())),
        ("topic a b", Reason::UnknownAccess("a".into())),
        ("topic read a#", filter(MultiLevel)),
        ("topic read a/#/b", filter(MultiLevel)),
        ("pattern read a+/%u", filter(SingleLevel)),
        ("user", Reason::NoUser),
        ("user  ", Reason::NoUser),
        ("topic\tread a", Reason::Tab),
        ("topic deny\ta", Reason::Tab),
    ] {
        let file = format!("topic read a\n\n{line}\r\ntopic read b\n");
        let fault = Acl::parse(file.as_bytes()).unwrap_err();
        assert_eq!(fault, Fault { line: 3, reason: expected }, "{line}");
    }
    let fault = Acl::parse(b"topic a\ntopic \xff\n").unwrap_err();
    assert_eq!(fault, Fault { line: 2, reason: Reason::NotText });
}

/// A rule as it stands in a file: the user it is for (0: nameless, 3: a pattern), its access, its
/// filter.
type Line = (usize, &'static str, &'static str);

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let filter = prop::sample::select(vec![
        "a", "a/b", "a/#", "+/b", "#", "$x/#", "+", "a/+", "u1/b", "a/u1", "c1/#",
    ]);
    let pattern = prop::sample::select(vec!["a/%u", "%u/b", "%c/#", "%u/%c", "a/b", "#"]);
    let access = prop::sample::select(vec!["read", "write", "readwrite", "deny"]);
    let line = (0_usize..4, access, filter, pattern).prop_map(|(of, access, filter, pattern)| {
        (of, access, if of == 3 { pattern } else { filter })
    });
    prop::collection::vec(line, 0..8)
}

/// What mosquitto does, retold: two lists, each walked with its denials first.
fn judged(lines: &[Line], user: Option<&str>, wanted: &str, topic: &str) -> bool {
    let of = match user {
        None => 0,
        Some("u1") => 1,
        Some(_) => 2,
    };
    let list = |of: usize| {
        let (denials, others): (Vec<_>, Vec<_>) =
            lines.iter().filter(|line| line.0 == of).partition(|line| line.1 == "deny");
        denials.into_iter().chain(others)
    };
    for &(_, access, filter) in list(of).chain(list(3)) {
        if filter.contains("%u") && user.is_none() {
            continue;
        }
        let filter = filter.replace("%u", user.unwrap_or("")).replace("%c", "c1");
        if !Filter::new(filter).unwrap().matches(topic) {
            continue;
        }
        if access == "deny" {
            return false;
        }
        if access.contains(wanted) {
            return true;
        }
    }
    false
}

proptest! {
    #[test]
    fn any_rules_decide_as_mosquittos(
        lines in lines(),
        user in prop::sample::select(vec![None, Some("u1"), Some("u2")]),
        topic in prop::sample::select(vec!["a", "a/b", "u1/b", "a/u1", "a/u2", "$x/y", "c1/z", "u1/c1", "b"]),
    ) {
        let owner = |of: &usize| ["", "user u1\n", "user u2\n", ""][*of];
        // Those of nobody stand before the first `user`, as they must.
        let mut sorted = lines.clone();
        sorted.sort_by_key(|line| line.0);
        let word = |of: usize| if of == 3 { "pattern" } else { "topic" };
        let line = |(of, access, filter): &Line| {
            format!("{}{} {access} {filter}\n", owner(of), word(*of))
        };
        let file: String = sorted.iter().map(line).collect();
        let rights = rights(&file, user, "c1");
        prop_assert_eq!(rights.may_read(topic), judged(&lines, user, "read", topic), "{}", file);
        prop_assert_eq!(rights.may_write(topic), judged(&lines, user, "write", topic), "{}", file);
        if rights.may_read(topic) {
            prop_assert!(rights.may_subscribe(&Filter::new(topic).unwrap()), "{}", file);
            prop_assert!(rights.may_subscribe(&Filter::new(format!("{topic}/#")).unwrap()), "{}", file);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        let _ = Acl::parse(&bytes);
    }

    #[test]
    fn no_names_reach_beyond_themselves(user in "[a-z/+#$%]{0,6}", client_id in "[a-z/+#$%]{0,6}") {
        let rights = rights("pattern read user/%u/#\npattern readwrite dev/%c\n", Some(&user), &client_id);
        for other in ["bob", "", "x"] {
            let (inbox, device) = (format!("user/{other}/m"), format!("dev/{other}"));
            prop_assert!(!rights.may_read(&inbox) || user == other, "{}", inbox);
            prop_assert!(!rights.may_write(&device) || client_id == other, "{}", device);
        }
    }
}
