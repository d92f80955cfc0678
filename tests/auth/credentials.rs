//! A node and mosquitto let the same clients in, by the same password file.
//!
//! The one difference: mosquitto 2 answers wrong credentials with CONNACK 5, a node with 4, which is what
//! 3.1.1 has for them.

use causeway_common::packet::{Connect, ConnectCode};
use causeway_tests::{client::connect, cluster::Cluster};

use crate::stage::{Files, Mosquitto, code, named};

const USERS: [(&str, &str, &str); 8] = [
    ("old", "secret", "sha512"),
    ("new", "geheim", "sha512-pbkdf2"),
    ("carol smith", "with blanks ", "sha512"),
    ("d/e", "slash", "sha512-pbkdf2"),
    ("wild+#", "cards", "sha512-pbkdf2"),
    ("Zoë", "motörhead ✓", "sha512"),
    (
        "long",
        "0123456789012345678901234567890123456789012345678901234567890123456789",
        "sha512-pbkdf2",
    ),
    ("$dollar", "$7$101$", "sha512-pbkdf2"),
];

/// Who says what of themselves.
fn attempts() -> Vec<Connect> {
    let mut logins = vec![("", None), ("", Some("")), ("", Some("secret")), ("nobody", None)];
    logins.extend([("nobody", Some("secret")), ("OLD", Some("secret")), ("old ", Some("secret"))]);
    logins.extend([("Zoe", Some("motörhead ✓")), ("old:", Some("secret")), ("#", Some("x"))]);
    for (user, password, _) in USERS {
        logins.extend([(user, Some(password)), (user, None), (user, Some(""))]);
        let others = USERS.iter().filter(|(other, ..)| *other != user);
        logins.extend(others.map(|(_, password, _)| (user, Some(*password))));
    }
    let upper: Vec<(&str, String)> =
        USERS.iter().map(|(user, password, _)| (*user, password.to_uppercase())).collect();
    let longer: Vec<(&str, String)> =
        USERS.iter().map(|(user, password, _)| (*user, format!("{password}x"))).collect();
    let upper = upper.iter().filter(|(user, upper)| {
        USERS.iter().all(|(other, password, _)| other != user || password != upper)
    });
    let more = upper.chain(&longer).map(|(user, password)| (*user, Some(&**password)));
    let mut all = vec![connect("c")];
    all.extend(logins.into_iter().chain(more).map(|(user, password)| named("c", user, password)));
    all
}

/// What a node answers where mosquitto answers so.
fn expected(theirs: ConnectCode, connect: &Connect) -> ConnectCode {
    match (theirs, &connect.login) {
        (ConnectCode::NotAuthorized, Some(login)) if !login.user.is_empty() => {
            ConnectCode::BadUserNameOrPassword
        }
        (same, _) => same,
    }
}

#[tokio::test]
async fn a_node_lets_in_whom_mosquitto_lets_in() {
    let files = Files::new();
    for (user, password, hash) in USERS {
        files.add(user, password, hash);
    }
    let mut compared = 0;
    for anonymous in [false, true] {
        let mosquitto = Mosquitto::start(&files, anonymous).await;
        let cluster = Cluster::builder()
            .nodes(1)
            .bridges(0)
            .set_nodes(&files.password_setting())
            .set_nodes(&format!("auth.allow_anonymous={anonymous}"))
            .start()
            .await;
        let port = cluster.node(1).mqtt_port();
        let mut admitted = 0;
        for connect in attempts() {
            let theirs = code(mosquitto.port, connect.clone()).await;
            let ours = code(port, connect.clone()).await;
            let password = connect.login.as_ref().map(|login| login.password.clone());
            assert_eq!(ours, expected(theirs, &connect), "{connect:?} {password:?}");
            admitted += usize::from(ours == ConnectCode::Accepted);
            compared += 1;
        }
        // Without a name: one that says nothing of it, three that say it is empty.
        assert_eq!(admitted, USERS.len() + if anonymous { 4 } else { 0 });
        let metrics = cluster.node(1).metrics().await;
        let refused =
            metrics.sum_where("causeway_connects_refused_total", "bad_user_name_or_password");
        assert!(refused > 50.0, "{refused}");
        let log = cluster.node(1).process.log();
        assert!(!log.contains("geheim") && !log.contains("$7$"), "{log}");
    }
    println!("{compared} CONNECTs compared with mosquitto's answers");
}

#[tokio::test]
async fn without_a_name_only_this_machine_may_come_and_only_where_no_passwords_are() {
    let files = Files::new();
    files.add("bob", "pw", "sha512-pbkdf2");
    let open = ConnectCode::Accepted;
    for (settings, nameless, named_well) in [
        (vec![], open, open),
        (
            vec![
                "listener.0.address=0.0.0.0:0".to_owned(),
                "node.advertised_address=127.0.0.1".to_owned(),
            ],
            ConnectCode::NotAuthorized,
            ConnectCode::BadUserNameOrPassword,
        ),
        (vec![files.password_setting()], ConnectCode::NotAuthorized, open),
    ] {
        let mut builder = Cluster::builder().nodes(1).bridges(0);
        for setting in &settings {
            builder = builder.set_nodes(setting);
        }
        let cluster = builder.start().await;
        let port = cluster.node(1).mqtt_port();
        assert_eq!(code(port, connect("c")).await, nameless, "{settings:?}");
        assert_eq!(code(port, named("c", "bob", Some("pw"))).await, named_well, "{settings:?}");
    }
}
