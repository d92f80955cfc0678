//! The judgement of a CONNECT (MQTT 3.1): who is let in, and as whom.

use std::time::Duration;

use causeway_common::{
    id::{ClientId, UserName},
    message::Message,
    packet::{Connect, ConnectCode, Subscription, Will},
    qos::QoS,
    topic::Filter,
};
use thiserror::Error;

/// What the node knows when somebody knocks.
#[derive(Clone, Debug)]
pub struct Door {
    /// What authentication says of the credentials.
    pub verdict: Verdict,
    /// The id of a client that brings none; unique in the cluster. None for any other.
    pub assigned_id: Option<ClientId>,
    /// Whether a login subscribes to the user's inbox.
    pub inbox: bool,
    /// Seconds; a client that asks for more, or for none, gets this; 0 sets no limit.
    pub keep_alive_secs_max: u16,
}

/// What authentication says of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is who it says it is.
    Admitted,
    /// It is not.
    BadCredentials,
    /// It did not say, or may not connect.
    NotAuthorized,
    /// That could not be found out.
    Unknown,
}

/// A client that may log in, if there is room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its own, or the assigned one [MQTT-3.1.3-6].
    pub client_id: ClientId,
    /// Its user name, or its client id where none is given.
    pub user: UserName,
    /// Whether earlier state is to be forgotten, and none to be left [MQTT-3.1.2-6].
    pub clean: bool,
    /// To be published unless the client says DISCONNECT [MQTT-3.1.2-8].
    pub will: Option<Message>,
    /// None: no limit on silence.
    pub keep_alive: Option<Duration>,
    /// The inbox to subscribe it to, if that is wanted and the user's name can be a topic level.
    pub inbox: Option<Subscription>,
}

/// Why a client is not let in: the CONNACK code says it, then the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// 1
    #[error("protocol level is not spoken here")]
    UnacceptableProtocol,
    /// 2
    #[error("client id is not allowed")]
    IdentifierRejected,
    /// 3
    #[error("node is full, fenced or stopping, or cannot compare passwords")]
    ServerUnavailable,
    /// 4
    #[error("user name or password are wrong")]
    BadUserNameOrPassword,
    /// 5
    #[error("client may not connect")]
    NotAuthorized,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::UnacceptableProtocol,
        Self::IdentifierRejected,
        Self::ServerUnavailable,
        Self::BadUserNameOrPassword,
        Self::NotAuthorized,
    ];

    /// The code of the CONNACK [MQTT-3.2.2-4].
    pub fn code(self) -> ConnectCode {
        match self {
            Self::UnacceptableProtocol => ConnectCode::UnacceptableProtocol,
            Self::IdentifierRejected => ConnectCode::IdentifierRejected,
            Self::ServerUnavailable => ConnectCode::ServerUnavailable,
            Self::BadUserNameOrPassword => ConnectCode::BadUserNameOrPassword,
            Self::NotAuthorized => ConnectCode::NotAuthorized,
        }
    }

    /// A short word of a bounded set: the metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::UnacceptableProtocol => "unacceptable_protocol",
            Self::IdentifierRejected => "identifier_rejected",
            Self::ServerUnavailable => "server_unavailable",
            Self::BadUserNameOrPassword => "bad_user_name_or_password",
            Self::NotAuthorized => "not_authorized",
        }
    }
}

/// Judges a CONNECT. Whether there is room is the hub's to say, later.
pub fn judge(connect: &Connect, door: &Door) -> Result<Accepted, Refusal> {
    let client_id = choose_id(connect, door)?;
    match door.verdict {
        Verdict::Admitted => {}
        Verdict::BadCredentials => return Err(Refusal::BadUserNameOrPassword),
        Verdict::NotAuthorized => return Err(Refusal::NotAuthorized),
        Verdict::Unknown => return Err(Refusal::ServerUnavailable),
    }
    let named = connect.login.as_ref().map(|login| login.user.as_str());
    let user = match named.filter(|user| !user.is_empty()) {
        Some(user) => UserName::from(user),
        None => UserName::nameless(&client_id),
    };
    let inbox = if door.inbox { inbox_of(&user) } else { None };
    let keep_alive = keep_alive(connect.keep_alive_secs, door.keep_alive_secs_max);
    let clean = connect.clean_session;
    let will = connect.will.clone().map(Will::into_message);
    Ok(Accepted { client_id, user, clean, will, keep_alive, inbox })
}

/// The subscription by which a user is reached: `user/<user>/#`. A name that would reach into
/// other users' inboxes, or is no level, has none.
fn inbox_of(user: &UserName) -> Option<Subscription> {
    let name = user.as_str();
    if name.contains(['+', '#', '/', '\0']) {
        return None;
    }
    let filter = Filter::new(["user/", name, "/#"].concat()).ok()?;
    Some(Subscription { filter, qos: QoS::AtLeastOnce })
}

fn choose_id(connect: &Connect, door: &Door) -> Result<ClientId, Refusal> {
    if !connect.client_id.is_empty() {
        return Ok(ClientId::from(connect.client_id.as_str()));
    }
    // No id is allowed only to a client that leaves nothing behind [MQTT-3.1.3-8], and was not
    // before 3.1.1.
    if connect.clean_session
        && connect.level >= 4
        && let Some(assigned) = &door.assigned_id
    {
        return Ok(assigned.clone());
    }
    Err(Refusal::IdentifierRejected) // [MQTT-3.1.3-9]
}

fn keep_alive(wanted_secs: u16, secs_max: u16) -> Option<Duration> {
    let secs = match (wanted_secs, secs_max) {
        (0, 0) => return None,
        (0, max) => max,
        (wanted, 0) => wanted,
        (wanted, max) => wanted.min(max),
    };
    Some(Duration::from_secs(u64::from(secs)))
}

#[cfg(test)]
mod tests {
    use causeway_common::packet::Login;

    use super::*;

    fn door() -> Door {
        Door {
            verdict: Verdict::Admitted,
            assigned_id: Some(ClientId::from("auto-1")),
            inbox: true,
            keep_alive_secs_max: 0,
        }
    }

    fn connect(client_id: &str, clean_session: bool) -> Connect {
        Connect {
            level: 4,
            client_id: client_id.into(),
            clean_session,
            keep_alive_secs: 60,
            will: None,
            login: None,
        }
    }

    fn with_user(client_id: &str, user: &str) -> Connect {
        let login = Some(Login { user: user.into(), password: None });
        Connect { login, ..connect(client_id, true) }
    }

    #[test]
    fn a_client_without_an_id_gets_one_only_for_a_clean_session() {
        let accepted = judge(&connect("", true), &door()).unwrap();
        assert_eq!(accepted.client_id.as_str(), "auto-1");
        let refused = Err(Refusal::IdentifierRejected);
        assert_eq!(judge(&connect("", false), &door()), refused);
        let old = Connect { level: 3, ..connect("", true) };
        assert_eq!(judge(&old, &door()), refused);
    }

    #[test]
    fn the_verdict_chooses_the_refusal() {
        for (verdict, expected) in [
            (Verdict::BadCredentials, Refusal::BadUserNameOrPassword),
            (Verdict::NotAuthorized, Refusal::NotAuthorized),
            (Verdict::Unknown, Refusal::ServerUnavailable),
        ] {
            let door = Door { verdict, ..door() };
            assert_eq!(judge(&connect("a", true), &door), Err(expected));
        }
    }

    #[test]
    fn the_user_is_the_user_name_or_else_the_client_id() {
        for (connect, user) in [
            (connect("phone", true), "phone"),
            (with_user("phone", "bob"), "bob"),
            (with_user("phone", ""), "phone"),
        ] {
            assert_eq!(judge(&connect, &door()).unwrap().user.as_str(), user);
        }
    }

    #[test]
    fn a_name_that_reaches_further_has_no_inbox() {
        let inbox = |user: &str| {
            let accepted = judge(&with_user("c", user), &door()).unwrap();
            accepted.inbox.map(|inbox| inbox.filter.to_string())
        };
        assert_eq!(inbox("bob").as_deref(), Some("user/bob/#"));
        for user in ["+", "#", "bob/alice", "b+b"] {
            assert_eq!(inbox(user), None, "{user}");
        }
        let closed = Door { inbox: false, ..door() };
        assert_eq!(judge(&connect("c", true), &closed).unwrap().inbox, None);
    }

    #[test]
    fn the_keep_alive_is_the_clients_within_the_nodes_limit() {
        for (wanted, max, expected) in
            [(0, 0, None), (0, 9, Some(9)), (5, 9, Some(5)), (10, 9, Some(9)), (10, 0, Some(10))]
        {
            assert_eq!(keep_alive(wanted, max), expected.map(Duration::from_secs));
        }
    }

    #[test]
    fn every_refusal_has_its_own_code() {
        let codes: Vec<u8> = Refusal::ALL.iter().map(|refusal| refusal.code() as u8).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5]);
    }
}
