//! What a client may not read does not reach it, on whatever way.

use super::*;
use crate::{acl::Acl, session::Kept};

const FILE: &str = "user alice\ntopic read open/#\nuser bob\ntopic read #\ntopic deny secret\n";

impl Setting {
    fn rules(&mut self, file: &str) {
        let acl = Acl::parse(file.as_bytes()).unwrap();
        self.hub.set_acl(Some(Arc::new(acl)));
    }

    /// A durable session and what it is from now on.
    pub(super) fn durable(&mut self, name: &str) -> (Client, Option<Box<Session>>) {
        let waiting = Arc::new(Mailbox::new(0));
        let attach = self.hub.attach(&knock(name, false), &waiting).unwrap();
        let Attach::In(attached) = attach else { panic!("{name} has to wait") };
        (Client { id: attached.session, mailbox: attached.mailbox }, attached.resumed)
    }

    fn retain(&mut self, client: &Client, topic: &str) {
        let message = Message { retain: true, ..message(QoS::AtMostOnce, topic) };
        self.hub.publish(&client.mailbox, None, message, None);
    }

    fn denied(&self) -> u64 {
        self.metrics.deliveries_denied.get()
    }
}

#[test]
fn only_what_may_be_read_is_delivered() {
    let mut setting = setting();
    setting.rules(FILE);
    let (alice, bob) = (setting.client("alice"), setting.client("bob"));
    for client in [&alice, &bob] {
        setting.subscribe(client, 1, "#");
        client.mail();
    }
    for topic in ["open/a", "secret", "other"] {
        setting.publish(&bob, 2, 0, topic);
    }
    assert_eq!(alice.mail(), ["open/a 0"]);
    assert_eq!(bob.mail(), ["open/a 0", "other 0"]);
    assert_eq!(setting.denied(), 3);
}

#[test]
fn only_what_may_be_read_is_found_among_the_retained() {
    let mut setting = setting();
    setting.rules(FILE);
    let (alice, bob) = (setting.client("alice"), setting.client("bob"));
    setting.retain(&bob, "open/a");
    setting.retain(&bob, "secret");
    setting.subscribe(&alice, 1, "#");
    setting.subscribe(&bob, 1, "#");
    let got = |client: &Client| {
        let mut mail = client.mail();
        mail.retain(|mail| !mail.starts_with("subscribed"));
        mail
    };
    assert_eq!(got(&alice), ["open/a 0"]);
    assert_eq!(got(&bob), ["open/a 0"]);
}

#[test]
fn new_rules_hold_for_subscriptions_that_are_there() {
    let mut setting = setting();
    let alice = setting.client("alice");
    setting.subscribe(&alice, 1, "#");
    alice.mail();
    setting.publish(&alice, 2, 0, "secret");
    assert_eq!(alice.mail(), ["secret 0"], "without rules");
    setting.rules(FILE);
    setting.publish(&alice, 2, 0, "secret");
    setting.publish(&alice, 2, 0, "open/a");
    assert_eq!(alice.mail(), ["open/a 0"]);
    setting.rules("user alice\ntopic read secret\n");
    setting.publish(&alice, 2, 0, "secret");
    setting.publish(&alice, 2, 0, "open/a");
    assert_eq!(alice.mail(), ["secret 0"]);
    setting.hub.set_acl(None);
    setting.publish(&alice, 2, 0, "open/a");
    assert_eq!(alice.mail(), ["open/a 0"]);
}

#[test]
fn a_session_without_its_client_queues_what_its_user_may_read() {
    let mut setting = setting();
    setting.rules(FILE);
    let (alice, _) = setting.durable("alice");
    setting.subscribe(&alice, 1, "#");
    setting.hub.let_in(alice.id, &[]);
    alice.mail();
    let state = Session::durable(setting.now, Arc::new(session_limits()), Kept::default());
    setting.hub.leave(alice.id, Box::new(state), VecDeque::new()).unwrap();
    let bob = setting.client("bob");
    for topic in ["open/1", "secret", "open/2"] {
        setting.publish(&bob, 2, 1, topic);
    }
    // One of them she may not read any more when she comes back.
    setting.rules("user alice\ntopic read #\ntopic deny open/1\n");
    let (_, resumed) = setting.durable("alice");
    let resumed = resumed.unwrap();
    let topics = resumed.deliveries().map(|(delivery, _)| delivery.message.topic.to_string());
    assert_eq!(topics.collect::<Vec<_>>(), ["open/2"]);
    assert_eq!(setting.metrics.messages_dropped.not_authorized.get(), 1);
}

#[test]
fn connections_of_changed_users_are_closed_and_no_others() {
    let mut setting = setting();
    let (alice, bob) = (setting.client("alice"), setting.client("bob"));
    assert_eq!(setting.hub.close_users(|user| user == "alice"), 1);
    assert_eq!(alice.mail(), ["close credentials_changed"]);
    assert_eq!(bob.mail(), [""; 0]);
    assert_eq!(setting.hub.close_users(|user| user == "carol"), 0);
}
