//! The session as scripts: `<` is given, `>` must come, in order, and nothing else.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use causeway_common::{
    id::{ClientId, PacketId, Ticket, UserName},
    link,
    message::Message,
    packet::{Connect, Packet, Publish, SubscribeCode, Subscription},
    qos::QoS,
    topic::{Filter, Topic},
};

use super::{Action, Change, Delivery, Input, Limits, Mail, Place, Said, Session, Stored};
use crate::{
    acl::{Acl, Rights},
    store::Position,
};

fn limits() -> Limits {
    Limits {
        max_inflight: 2,
        queue_messages_max: 3,
        queue_bytes_max: 1000,
        topic_levels_max: 4,
        filters_max: 2,
        owed_messages_max: 3,
        owed_bytes_max: 1000,
    }
}

struct Script {
    session: Session,
    start: Instant,
    now: Instant,
    /// Tickets of subscriptions in the order they were asked for.
    subscriptions: Vec<Ticket>,
    said: Vec<String>,
}

/// Runs a script with a keep-alive of 10 s.
#[track_caller]
fn check(script: &str) {
    let now = Instant::now();
    let session = Session::new(now, Some(Duration::from_secs(10)), Arc::new(limits()));
    let mut run = Script { session, start: now, now, subscriptions: Vec::new(), said: Vec::new() };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_at(2) {
            ("< ", given) => run.give(given, script),
            ("> ", expected) => {
                let said = if run.said.is_empty() { "nothing".into() } else { run.said.remove(0) };
                assert_eq!(said, expected, "in{script}");
            }
            _ => panic!("no script line: {line}"),
        }
    }
    assert!(run.said.is_empty(), "also said: {:?} in{script}", run.said);
}

impl Script {
    #[track_caller]
    fn give(&mut self, given: &str, script: &str) {
        assert!(self.said.is_empty(), "before `{given}` also said: {:?} in{script}", self.said);
        let words: Vec<&str> = given.split(' ').collect();
        let input = match *words.as_slice() {
            ["publish", qos, id, topic] => publish(qos, id, topic, 4),
            ["publish", qos, id, topic, bytes] => publish(qos, id, topic, bytes.parse().unwrap()),
            ["deliver", qos, topic] => Input::Mail(Mail::Deliver(delivery(qos, topic, 4))),
            ["deliver", qos, topic, bytes] => {
                Input::Mail(Mail::Deliver(delivery(qos, topic, bytes.parse().unwrap())))
            }
            ["routed", ticket] => Input::Mail(Mail::Routed(Ticket(ticket.parse().unwrap()))),
            ["effective", index] => {
                let index: usize = index.parse().unwrap();
                Input::Mail(Mail::Subscribed(self.subscriptions[index]))
            }
            ["puback", id] => Input::Packet(Packet::PubAck(packet_id(id))),
            ["pubrec", id] => Input::Packet(Packet::PubRec(packet_id(id))),
            ["pubrel", id] => Input::Packet(Packet::PubRel(packet_id(id))),
            ["pubcomp", id] => Input::Packet(Packet::PubComp(packet_id(id))),
            ["subscribe", id, ref filters @ ..] => subscribe(id, filters),
            ["unsubscribe", id, ref filters @ ..] => {
                let filters = filters.iter().map(|text| Filter::new(*text).unwrap()).collect();
                Input::Packet(Packet::Unsubscribe { id: packet_id(id), filters })
            }
            ["rights", ref rules @ ..] => return self.session.set_rights(rights(rules)),
            ["ping"] => Input::Packet(Packet::PingReq),
            ["disconnect"] => Input::Packet(Packet::Disconnect),
            ["connect"] => Input::Packet(connect()),
            ["at", secs] => {
                self.now = self.start + Duration::from_millis(secs.parse().unwrap());
                let due = self.session.deadline().is_some_and(|deadline| deadline <= self.now);
                if !due {
                    return;
                }
                Input::Tick
            }
            ["park"] => return self.session.park([]),
            ["away", place] => {
                self.session.give_away(Place(place.parse().unwrap())).unwrap();
                return;
            }
            ["back", qos, topic, place] => {
                let (place, position) = (Place(place.parse().unwrap()), Position::default());
                let stored = Some(Stored { place, position });
                return self.session.keep(Delivery { stored, ..delivery(qos, topic, 4) });
            }
            ["resume"] => return self.resume(),
            ["doubtful?"] => {
                self.said.push(self.session.doubtful().0.to_string());
                return;
            }
            ["reads?"] => {
                self.said.push(self.session.wants_input().to_string());
                return;
            }
            _ => panic!("unknown input `{given}`"),
        };
        let mut actions = Vec::new();
        let result = self.session.handle(self.now, input, &mut actions);
        for action in actions {
            self.hear(action);
        }
        if let Err(violation) = result {
            self.said.push(format!("violation {violation:?}"));
        }
    }

    fn resume(&mut self) {
        let mut actions = Vec::new();
        self.session.resume(self.now, None, &mut actions);
        for action in actions {
            self.hear(action);
        }
    }

    fn hear(&mut self, action: Action) {
        let said = match action {
            Action::Send(packet) => packet_text(&packet),
            Action::Deliver { delivery, id, dup } => {
                let id = id.map_or(0, PacketId::get);
                let dup = if dup { " dup" } else { "" };
                format!("publish {} {id} {}{dup}", delivery.qos, delivery.message.topic)
            }
            Action::Persist(change) => change_text(&change),
            Action::Route { ticket: Some(ticket), message, .. } => {
                format!("route {} as {ticket}", message.topic)
            }
            Action::Route { ticket: None, message, .. } => format!("route {}", message.topic),
            Action::Subscribe { ticket, subscriptions } => {
                self.subscriptions.push(ticket);
                let held =
                    subscriptions.iter().map(|held| format!(" {}:{}", held.filter, held.qos));
                format!("hold{}", held.collect::<String>())
            }
            Action::Unsubscribe { filters } => {
                let gone = filters.iter().map(|filter| format!(" {filter}"));
                format!("let go{}", gone.collect::<String>())
            }
            Action::Dropped { reason, qos } => format!("drop {} {qos}", reason.label()),
            Action::Denied { topic } => format!("denied {topic}"),
            Action::Close(reason) => format!("close {}", reason.label()),
        };
        self.said.push(said);
    }
}

fn packet_text(packet: &Packet) -> String {
    match packet {
        Packet::PubAck(id) => format!("puback {}", id.get()),
        Packet::PubRec(id) => format!("pubrec {}", id.get()),
        Packet::PubRel(id) => format!("pubrel {}", id.get()),
        Packet::PubComp(id) => format!("pubcomp {}", id.get()),
        Packet::UnsubAck(id) => format!("unsuback {}", id.get()),
        Packet::SubAck { id, codes } => {
            let codes = codes.iter().map(|code| match code {
                SubscribeCode::Granted(qos) => format!(" {qos}"),
                SubscribeCode::Failure => " failure".to_owned(),
            });
            format!("suback {}{}", id.get(), codes.collect::<String>())
        }
        Packet::PingResp => "pong".to_owned(),
        other => format!("{other:?}"),
    }
}

fn packet_id(text: &str) -> PacketId {
    PacketId::new(text.parse().unwrap()).unwrap()
}

fn message(qos: &str, topic: &str, bytes: usize) -> Message {
    let topic = Topic::new(topic).unwrap();
    let qos = QoS::from_bits(qos.parse().unwrap()).unwrap();
    Message { topic, payload: Bytes::from(vec![b'x'; bytes]), qos, retain: false }
}

fn publish(qos: &str, id: &str, topic: &str, bytes: usize) -> Input {
    let id = PacketId::new(id.parse().unwrap());
    let message = message(qos, topic, bytes);
    Input::Packet(Packet::Publish(Publish { message, id, dup: false }))
}

fn change_text(change: &Change) -> String {
    match change {
        Change::Taken { place, .. } => format!("taken {}", place.0),
        Change::Released { place, .. } => format!("released {}", place.0),
        Change::Completed { place } => format!("completed {}", place.0),
        Change::Forgotten { id } => format!("forgotten {}", id.get()),
    }
}

fn delivery(qos: &str, topic: &str, bytes: usize) -> Delivery {
    let message = message(qos, topic, bytes);
    let qos = message.qos;
    let message = Arc::new(Said { message, origin: None });
    Delivery { qos, message, retain: false, stored: None }
}

fn subscribe(id: &str, filters: &[&str]) -> Input {
    let subscriptions = filters.iter().map(|text| {
        let (filter, qos) = text.split_once(':').unwrap();
        Subscription {
            filter: Filter::new(filter).unwrap(),
            qos: QoS::from_bits(qos.parse().unwrap()).unwrap(),
        }
    });
    let subscriptions = subscriptions.collect();
    Input::Packet(Packet::Subscribe { id: packet_id(id), subscriptions })
}

fn connect() -> Packet {
    Packet::Connect(Box::new(Connect {
        level: 4,
        client_id: "again".into(),
        clean_session: true,
        keep_alive_secs: 0,
        will: None,
        login: None,
    }))
}

#[test]
fn a_qos_0_message_is_routed_and_not_answered() {
    check(
        "< publish 0 0 a
         > route a",
    );
}

#[test]
fn answers_leave_in_the_order_of_the_questions() {
    check(
        "< publish 1 10 a
         > route a as 0
         < publish 2 11 b
         > route b as 1
         < publish 1 12 c
         > route c as 2
         < routed 1
         < routed 0
         > puback 10
         > pubrec 11
         < routed 2
         > puback 12
         < routed 2",
    );
}

#[test]
fn a_qos_2_message_is_routed_once_until_it_is_released() {
    check(
        "< publish 2 7 a
         > route a as 0
         < publish 2 7 a
         < routed 0
         > pubrec 7
         < publish 2 7 a
         > pubrec 7
         < pubrel 7
         > pubcomp 7
         < pubrel 7
         > pubcomp 7
         < publish 2 7 b
         > route b as 2",
    );
}

#[test]
fn after_a_break_a_qos_2_message_is_answered_once_when_it_is_asked_for_and_in_order() {
    // Routed before the client asks again, and after.
    check(
        "< publish 2 7 a
         > route a as 0
         < publish 2 8 b
         > route b as 1
         < park
         < routed 0
         < publish 2 7 a
         < publish 2 8 b
         < publish 2 9 c
         > route c as 4
         < routed 1
         > pubrec 7
         > pubrec 8
         < routed 4
         > pubrec 9",
    );
    // The first has been answered, and was lost on the way; the second is still on its way.
    check(
        "< publish 2 7 a
         > route a as 0
         < routed 0
         > pubrec 7
         < publish 2 8 b
         > route b as 1
         < park
         < publish 2 7 a
         < publish 2 8 b
         < routed 1
         > pubrec 7
         > pubrec 8",
    );
}

#[test]
fn the_two_identifier_spaces_never_meet() {
    check(
        "< deliver 1 a
         > publish 1 1 a
         < publish 1 1 b
         > route b as 0
         < puback 1
         < routed 0
         > puback 1",
    );
}

#[test]
fn a_full_window_holds_later_messages_back_but_not_qos_0() {
    check(
        "< deliver 1 a
         > publish 1 1 a
         < deliver 2 b
         > publish 2 2 b
         < deliver 1 c
         < deliver 0 d
         > publish 0 0 d
         < puback 1
         > publish 1 3 c",
    );
}

#[test]
fn a_qos_2_delivery_frees_its_slot_only_when_it_is_complete() {
    check(
        "< deliver 2 a
         > publish 2 1 a
         < deliver 2 b
         > publish 2 2 b
         < deliver 2 c
         < puback 1
         < pubcomp 1
         < pubrec 1
         > pubrel 1
         < pubrec 1
         > pubrel 1
         < pubcomp 1
         > publish 2 3 c
         < pubrec 99
         > pubrel 99",
    );
}

/// Its client turned round while it moved.
#[test]
fn what_was_elsewhere_meanwhile_is_sent_again_in_the_order_it_was_first_sent() {
    check(
        "< deliver 1 a
         > publish 1 1 a
         < deliver 1 b
         > publish 1 2 b
         < deliver 1 c
         < park
         < away 0
         < doubtful?
         > 2
         < back 1 a 0
         < doubtful?
         > 2
         < resume
         > publish 1 1 a dup
         > publish 1 2 b dup
         < puback 1
         > taken 0
         > publish 1 3 c",
    );
    // Also behind one that is the client's already.
    check(
        "< deliver 2 a
         > publish 2 1 a
         < deliver 1 b
         > publish 1 2 b
         < pubrec 1
         > pubrel 1
         < park
         < away 1
         < back 1 b 1
         < resume
         > pubrel 1
         > publish 1 2 b dup",
    );
    // What was never sent was not, wherever it has been.
    check(
        "< deliver 1 a
         > publish 1 1 a
         < deliver 1 b
         > publish 1 2 b
         < deliver 1 c
         < deliver 1 d
         < park
         < away 0
         < away 1
         < away 2
         < doubtful?
         > 2
         < back 1 c 2
         < resume
         > publish 1 3 c
         > publish 1 4 d",
    );
}

#[test]
fn a_full_queue_drops_the_newest_by_count_and_by_bytes() {
    check(
        "< deliver 1 a
         > publish 1 1 a
         < deliver 1 b
         > publish 1 2 b
         < deliver 1 c
         < deliver 1 d 2000
         > drop queue_full 1
         < deliver 1 e
         < deliver 2 f
         < deliver 1 g
         > drop queue_full 1
         < puback 1
         > publish 1 3 c",
    );
}

#[test]
fn a_suback_waits_until_the_subscription_is_effective() {
    check(
        "< subscribe 5 a:1 b:2
         > hold a:1 b:2
         < deliver 0 a
         > publish 0 0 a
         < effective 0
         > suback 5 1 2
         < effective 0",
    );
}

#[test]
fn filters_that_may_not_be_held_fail_one_by_one() {
    check(
        "< subscribe 5 $link/x:0 a/b/c/d/e:0 a:0 b:0 c:0
         > hold a:0 b:0
         < effective 0
         > suback 5 failure failure 0 0 failure
         < subscribe 6 a:2
         > hold a:2
         < effective 1
         > suback 6 2",
    );
}

#[test]
fn a_filter_longer_than_any_topic_fails() {
    let longest = "x".repeat(link::TOPIC_BYTES_MAX);
    check(&format!(
        "< subscribe 5 {longest}x:0 {longest}:1
         > hold {longest}:1
         < effective 0
         > suback 5 failure 1",
    ));
}

#[test]
fn an_unsubscribe_is_answered_exactly_once_whatever_was_held() {
    check(
        "< unsubscribe 3 a
         > unsuback 3
         < subscribe 5 a:1 b:1
         > hold a:1 b:1
         < unsubscribe 4 a b c
         > let go a b
         > unsuback 4",
    );
}

#[test]
fn silence_beyond_one_and_a_half_times_the_keep_alive_ends_the_connection() {
    check(
        "< at 14900
         < ping
         > pong
         < at 29800
         < deliver 0 a
         > publish 0 0 a
         < at 29900
         > close keep_alive",
    );
}

#[test]
fn a_client_is_not_read_while_too_much_is_owed_and_not_blamed_for_it() {
    check(
        "< publish 1 1 a
         > route a as 0
         < publish 1 2 a
         > route a as 1
         < reads?
         > true
         < publish 1 3 a
         > route a as 2
         < reads?
         > false
         < at 20000
         < at 34000
         < routed 0
         > puback 1
         < reads?
         > true
         < at 35000
         > close keep_alive",
    );
}

#[test]
fn bytes_owed_are_bounded_too() {
    check(
        "< publish 1 1 a 5000
         > route a as 0
         < reads?
         > false",
    );
}

#[test]
fn what_a_client_publishes_under_dollar_is_answered_and_goes_nowhere() {
    check(
        "< publish 1 1 $SYS/x
         > drop reserved_topic 1
         > puback 1
         < publish 0 0 $link/hello
         > drop reserved_topic 0
         < publish 2 2 $x
         > drop reserved_topic 2
         > pubrec 2",
    );
}

/// Rules such as `read=a/#`; none: everything is allowed.
fn rights(rules: &[&str]) -> Option<Arc<Rights>> {
    let rule = |rule: &&str| format!("topic {}\n", rule.replace('=', " "));
    let file: String = rules.iter().map(rule).collect();
    let client_id = ClientId::from("c");
    let acl = Acl::parse(file.as_bytes()).unwrap();
    let rights = acl.rights_of(&UserName::nameless(&client_id), &client_id);
    (!rules.is_empty()).then(|| Arc::new(rights))
}

#[test]
fn what_a_client_may_not_publish_is_answered_and_goes_nowhere() {
    check(
        "< rights write=w/# read=x
         < publish 0 0 x
         > denied x
         < publish 1 1 x
         > denied x
         > puback 1
         < publish 2 2 x
         > denied x
         > pubrec 2
         < pubrel 2
         > pubcomp 2
         < publish 0 0 w/a
         > route w/a
         < rights write=x
         < publish 0 0 w/a
         > denied w/a
         < publish 0 0 x
         > route x
         < rights
         < publish 0 0 w/a
         > route w/a",
    );
}

#[test]
fn a_client_with_more_topics_than_are_remembered_is_judged_alike() {
    let mut script = "< rights write=w/#\n".to_owned();
    for number in (0..200).chain(0..200) {
        let topic = if number % 3 == 0 { format!("w/{number}") } else { format!("x/{number}") };
        let answer = if number % 3 == 0 { "route" } else { "denied" };
        script = script + "< publish 0 0 " + &topic + "\n> " + answer + " " + &topic + "\n";
    }
    check(&script);
}

#[test]
fn a_filter_under_which_nothing_may_be_read_fails() {
    check(
        "< rights read=a/+ write=b
         < subscribe 5 a/b:1 b:1 a/b/c:0
         > hold a/b:1
         < effective 0
         > suback 5 1 failure failure
         < rights read=b
         < unsubscribe 6 a/b
         > let go a/b
         > unsuback 6",
    );
}

#[test]
fn violations_end_the_connection() {
    check(
        "< connect
         > violation SecondConnect",
    );
    check(
        "< publish 0 0 a/b/c/d/e
         > violation TooManyLevels(4)",
    );
    check(
        "< disconnect
         > close client_disconnect",
    );
}
