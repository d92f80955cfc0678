//! Verdicts, as tables; and what a new file changes.

use std::{fs, num::NonZeroU32, path::PathBuf};

use causeway_common::packet::Login;
use tempfile::TempDir;

use super::{entry::Kind, *};

const KIND: Kind = Kind::Pbkdf2 { rounds: NonZeroU32::new(10).unwrap() };

fn line(user: &str, password: &str) -> String {
    format!("{user}:{}\n", Entry::new(KIND, password.as_bytes()).unwrap())
}

fn connect(login: Option<(&str, Option<&str>)>) -> Connect {
    let login = login.map(|(user, password)| Login {
        user: user.to_owned(),
        password: password.map(|password| password.as_bytes().to_vec().into()),
    });
    Connect {
        level: 4,
        client_id: "a".into(),
        clean_session: true,
        keep_alive_secs: 0,
        will: None,
        login,
    }
}

fn with_files(passwords: &str, acl: &str) -> (Auth, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let config = config::Auth {
        password_file: write("passwords", passwords),
        acl_file: write("acl", acl),
        ..config::Auth::default()
    };
    (Auth::load(&config, &Arc::new(Budget::new(0)), None).unwrap(), folder)
}

#[test]
fn nameless_clients_may_come_from_this_machine_unless_more_is_said() {
    let (local, six, mapped) = ("127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1");
    for (setting, has_passwords, listener, expected) in [
        (None, false, local, true),
        (None, false, "127.5.0.1:1", true),
        (None, false, six, true),
        (None, false, mapped, true),
        (None, true, local, false),
        (None, false, "0.0.0.0:1", false),
        (None, false, "[::]:1", false),
        (None, false, "192.168.0.1:1", false),
        (Some(true), true, "0.0.0.0:1", true),
        (Some(false), false, local, false),
    ] {
        let found = anonymous_allowed(setting, has_passwords, is_local(listener.parse().unwrap()));
        assert_eq!(found, expected, "{setting:?} {has_passwords} {listener}");
    }
}

#[tokio::test]
async fn credentials_are_judged_with_a_file_and_without() {
    use Verdict::{Admitted, BadCredentials, NotAuthorized};
    let open = Auth::open();
    let (strict, _folder) = with_files(&line("bob", "pw"), "");
    for (auth, anonymous, login, expected) in [
        (&open, true, None, Admitted),
        (&open, true, Some(("bob", None)), Admitted),
        (&open, true, Some(("", Some("x"))), Admitted),
        (&open, false, None, NotAuthorized),
        (&open, false, Some(("bob", Some("pw"))), BadCredentials),
        (&strict, false, None, NotAuthorized),
        (&strict, true, None, Admitted),
        (&strict, true, Some(("bob", Some("pw"))), Admitted),
        (&strict, false, Some(("bob", Some("pw"))), Admitted),
        // A name is judged also where none is needed.
        (&strict, true, Some(("bob", Some("wp"))), BadCredentials),
        (&strict, true, Some(("bob", None)), BadCredentials),
        (&strict, true, Some(("carol", Some("pw"))), BadCredentials),
        (&strict, true, Some(("", Some("x"))), Admitted),
        (&strict, false, Some(("", Some("x"))), NotAuthorized),
    ] {
        let judged = auth.judge(&connect(login), anonymous).await;
        assert_eq!(judged.verdict, expected, "{anonymous} {login:?}");
    }
}

#[tokio::test]
async fn a_new_password_file_names_those_whose_line_has_changed() {
    let kept = line("kept", "1");
    let (auth, folder) =
        with_files(&format!("{kept}{}{}", line("gone", "2"), line("new", "3")), "");
    let judged = auth.judge(&connect(Some(("gone", Some("2")))), false).await;
    let user = UserName::from("gone");
    assert!(auth.vouches(&user, judged.proof.as_ref()));
    let path = folder.path().join("passwords");
    fs::write(&path, format!("{kept}{}{}", line("new", "4"), line("more", "5"))).unwrap();
    let changed = auth.reload_passwords().unwrap();
    assert_eq!(changed, ["gone", "new"].map(str::to_owned).into_iter().collect());
    assert!(!auth.vouches(&user, judged.proof.as_ref()), "he logged in just before");

    fs::write(&path, "new:plain\n").unwrap();
    let error = auth.reload_passwords().unwrap_err().to_string();
    assert!(error.starts_with("line 1: ") && !error.contains("plain\n"), "{error}");
    let judged = auth.judge(&connect(Some(("new", Some("4")))), false).await;
    assert_eq!(judged.verdict, Verdict::Admitted, "a bad file changes nothing");
}

#[test]
fn a_new_access_file_reaches_every_connection() {
    let (auth, folder) = with_files("", "user bob\ntopic read a\n");
    let mut permission = auth.permission(UserName::from("bob"), ClientId::from("c"));
    assert!(permission.rights().unwrap().may_read("a"));
    assert_eq!(permission.changed(), None);
    let path = folder.path().join("acl");
    fs::write(&path, "user bob\ntopic read b\n").unwrap();
    auth.reload_acl().unwrap();
    let rights = permission.changed().unwrap().unwrap();
    assert!(!rights.may_read("a") && rights.may_read("b"));
    fs::write(&path, "user bob\n\ntopic wrote b\n").unwrap();
    let error = auth.reload_acl().unwrap_err().to_string();
    assert!(error.starts_with("line 3: "), "{error}");
    assert_eq!(permission.changed(), None, "a bad file changes nothing");
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let path = folder.path().join("bad");
    fs::write(&path, "\nnonsense\n").unwrap();
    for (passwords, acl, key, word) in [
        (&missing, None, "auth.password_file", "missing is none: No such file"),
        (&path, None, "auth.password_file", "bad is none: line 2: "),
        (&PathBuf::new(), Some(&missing), "auth.acl_file", "missing is none: No such file"),
        (&PathBuf::new(), Some(&path), "auth.acl_file", "bad is none: line 2: "),
    ] {
        let config = config::Auth {
            password_file: passwords.clone(),
            acl_file: acl.cloned().unwrap_or_default(),
            ..config::Auth::default()
        };
        let invalid = Auth::load(&config, &Arc::new(Budget::new(0)), None).unwrap_err();
        assert_eq!(invalid.key, key);
        assert!(invalid.accepted.contains(word), "{}", invalid.accepted);
    }
}
