//! Fights, with a clock that is told.

use causeway_common::{
    directory::{Member, Owner, Previous},
    id::{Epoch, Incarnation, NodeId},
};

use super::*;

#[test]
fn whoever_is_in_stays_in_for_longer_each_time() {
    let (mut fights, mut now) = (Fights::default(), Instant::now());
    let mut pauses = Vec::new();
    for _ in 0..10 {
        fights.put_out(now, &alice(), "there");
        let hold = fights.hold_back(now, &alice(), "here");
        pauses.push(hold.map_or(0, |hold| (hold.until - now).as_millis()));
        now = hold.map_or(now, |hold| hold.until);
        assert_eq!(fights.hold_back(now, &alice(), "here"), None, "it has waited");
    }
    assert_eq!(pauses, [0, 0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
}

#[test]
fn what_the_directory_counts_is_known_too() {
    let (mut fights, now) = (Fights::default(), Instant::now());
    fights.let_in(now, (&alice(), "here"), &claimed(5));
    let until = fights.hold_back(now, &alice(), "there").unwrap().until;
    assert_eq!(until, now + PAUSE * 4);
    // It is one fight: the next contest is the sixth.
    assert!(fights.put_out(now, &alice(), "here"));
    let until = fights.hold_back(now, &alice(), "there").unwrap().until;
    assert_eq!(until, now + PAUSE * 8);
}

#[test]
fn a_fight_that_is_over_is_forgotten() {
    let (mut fights, now) = (fight(9), Instant::now());
    assert!(fights.hold_back(now, &alice(), "here").is_some());
    let later = now + REMEMBERED * 2;
    assert!(!fights.put_out(later, &alice(), "here"), "it is the first of a new one");
    assert_eq!(fights.hold_back(later, &alice(), "here"), None);
    fights.put_out(later + REMEMBERED, &ClientId::from("bob"), "here");
    fights.put_out(later + REMEMBERED * 2, &ClientId::from("carol"), "here");
    assert_eq!(fights.young.len() + fights.old.len(), 2, "{fights:?}");
}

#[test]
fn a_fight_that_goes_on_is_remembered_over_a_change_of_generations() {
    let (mut fights, mut now) = (fight(9), Instant::now());
    for _ in 0..20 {
        now += PAUSE_MAX * 2;
        assert!(fights.put_out(now, &alice(), "here"), "{fights:?}");
    }
}

#[test]
fn others_are_not_held_back() {
    let (mut fights, now) = (fight(9), Instant::now());
    assert_eq!(fights.hold_back(now, &ClientId::from("bob"), "here"), None);
}

#[test]
fn of_logins_that_wait_only_the_youngest_goes_on() {
    let (mut fights, now) = (fight(9), Instant::now());
    let [first, second] = [1, 2].map(|_| fights.hold_back(now, &alice(), "here").unwrap());
    assert!(!fights.may_go_on(now, &alice(), first));
    assert!(fights.may_go_on(now, &alice(), second));
    assert!(fights.may_go_on(now + REMEMBERED * 2, &alice(), first), "nobody fights any more");
}

#[test]
fn more_than_so_many_are_not_noted() {
    let (mut fights, now) = (Fights::default(), Instant::now());
    for number in 0..FIGHTS_MAX + 10 {
        fights.put_out(now, &ClientId::from(number.to_string()), "here");
    }
    assert_eq!(fights.young.len(), FIGHTS_MAX);
}

/// So many contests for alice.
fn fight(contests: u32) -> Fights {
    let mut fights = Fights::default();
    for _ in 0..contests {
        fights.put_out(Instant::now(), &alice(), "there");
    }
    fights
}

fn alice() -> ClientId {
    ClientId::from("alice")
}

fn claimed(contests: u32) -> Claimed {
    let member = Member { node: NodeId::from("node-2"), incarnation: Incarnation(1) };
    let previous = Previous {
        owner: Owner { member, epoch: Epoch(1) },
        address: "there".to_owned(),
        connected: true,
        durable: false,
    };
    Claimed { epoch: Epoch(2), previous: Some(previous), contests, ..Claimed::default() }
}
