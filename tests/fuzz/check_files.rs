//! What holds for any file at all; shared by the fuzz targets and the test of their corpus.

use causeway_broker::{acl::Acl, auth::passwords::Passwords};
use causeway_common::{
    id::{ClientId, UserName},
    topic::Filter,
};

/// Reads the bytes as a password file: nothing panics, a fault names a line that is there and quotes no
/// password, and what is taken is taken again when it is written out.
pub(crate) fn check_passwords(bytes: &[u8]) {
    match Passwords::parse(bytes) {
        Ok(passwords) => {
            let line = |(user, entry)| format!("{user}:{entry}\n");
            let written: String = passwords.users().map(line).collect();
            let again = Passwords::parse(written.as_bytes()).map(|again| again.len());
            assert_eq!(again, Ok(passwords.len()), "{written}");
        }
        Err(fault) => assert!(is_line(fault.line, bytes), "{fault}"),
    }
}

/// Reads the bytes as an access file: nothing panics, whoever asks, and what may be read may be
/// subscribed to.
pub(crate) fn check_acl(bytes: &[u8]) {
    let acl = match Acl::parse(bytes) {
        Ok(acl) => acl,
        Err(fault) => return assert!(is_line(fault.line, bytes), "{fault}"),
    };
    for name in ["u", "a/b", "+", "#", "", "%c", "$SYS"] {
        let client_id = ClientId::from(name);
        for user in [UserName::from(name), UserName::nameless(&client_id)] {
            let rights = acl.rights_of(&user, &client_id);
            for topic in ["u", "a/b", "$SYS/x", "user/u/m", "/"] {
                let filter = Filter::new(topic);
                let may_hold = filter.is_ok_and(|filter| rights.may_subscribe(&filter));
                assert_eq!(rights.may_read(topic), may_hold, "{name} {topic}");
                let _ = rights.may_write(topic);
            }
        }
    }
}

fn is_line(line: usize, bytes: &[u8]) -> bool {
    (1..=bytes.split(|byte| *byte == b'\n').count()).contains(&line)
}
