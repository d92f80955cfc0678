//! What becomes of messages, and of clients, when all the memory that may be is used.

use super::*;
use crate::limits::Strain;

#[test]
fn what_must_be_kept_is_held_by_others_and_so_is_all_that_comes_after_it() {
    let mut set = setting();
    let (reader, (keeper, _)) = (set.client("reader"), set.durable("keeper"));
    set.subscribe(&reader, 1, "news");
    set.subscribe(&keeper, 1, "kept");
    set.hub.let_in(keeper.id, &[]);
    let bridge = set.bridge("a", true);
    let other = set.bridge("b", true);
    bridge.frames();
    set.hub.feel(Strain::Full);
    let bring = |set: &mut Setting, by: &Bridge, sequence, topic: &str| {
        let id = PacketId::new(u16::try_from(sequence).unwrap());
        set.frame(by, Frame::Forward { id, envelope: envelope(sequence, topic) });
        by.frames().contains(&Frame::Ack(id.unwrap()))
    };
    assert!(bring(&mut set, &bridge, 1, "news"), "nobody must keep it");
    assert!(!bring(&mut set, &bridge, 2, "kept"));
    assert!(!bring(&mut set, &bridge, 3, "news"), "taken, it would make the one before it late");
    set.hub.feel(Strain::Full);
    assert!(!set.hub.link_is_sick(bridge.id), "there is no room yet");
    set.hub.feel(Strain::Tight);
    assert!(set.hub.link_is_sick(bridge.id) && !set.hub.link_is_sick(other.id));
    set.hub.link_down(set.now, bridge.id);
    let again = set.bridge("a", true);
    again.frames();
    assert!(bring(&mut set, &again, 2, "kept") && bring(&mut set, &again, 3, "news"));
    let kept = keeper.mail();
    assert_eq!(kept.iter().filter(|mail| mail.starts_with("kept")).count(), 1, "{kept:?}");
}

#[test]
fn who_does_not_read_gets_nothing_more_and_who_reads_gets_what_was_promised() {
    let mut set = setting();
    let (deaf, reader) = (set.client("deaf"), set.client("reader"));
    for client in [&deaf, &reader] {
        set.subscribe(client, 1, "#");
        client.mail();
    }
    set.publish(&reader, 2, 1, "before");
    assert_eq!(reader.mail().len(), 1);
    set.hub.feel(Strain::Full);
    for qos in [0, 1] {
        set.publish(&reader, 3, qos, "since");
    }
    assert_eq!(reader.mail(), ["since 1"]);
    assert_eq!(deaf.mail(), ["before 1"]);
    assert_eq!(set.metrics.messages_dropped.memory.get(), 3);
}

#[test]
fn those_with_most_unread_are_closed_until_it_is_enough() {
    let mut set = setting();
    let (deaf, deafer) = (set.client("deaf"), set.client("deafer"));
    deaf.mailbox.count(1, 70_000);
    deafer.mailbox.count(1, 80_000);
    let is_closed = |client: &Client| {
        let mut mail = VecDeque::new();
        client.mailbox.take_all(&mut mail);
        mail.iter().any(|mail| matches!(mail, Mail::Close(CloseReason::Memory)))
    };
    set.hub.shed(75_000);
    assert!(is_closed(&deafer) && !is_closed(&deaf));
    deaf.mailbox.count(1, 60_000);
    set.hub.shed(u64::MAX);
    assert!(!is_closed(&deaf), "it has not left much");
}
