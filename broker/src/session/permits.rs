//! What the session's client may publish and subscribe to: by its rights, and within its limits.
//!
//! It leaves to others: the rules ([`crate::acl`]), and what the client may be sent (`hub`).

use std::sync::Arc;

use causeway_common::{
    keyed::KeyedMap,
    link,
    message::Message,
    topic::{self, Filter, Topic},
};

use super::{Action, DropReason, Session, Violation};
use crate::acl::Rights;

/// The rights of a client, and what they have said of the topics it used last.
#[derive(Debug, Default)]
pub(super) struct Permits {
    /// None: everything.
    rights: Option<Arc<Rights>>,
    writable: KeyedMap<Box<str>, bool>,
}

impl Permits {
    pub(super) fn replace(&mut self, rights: Option<Arc<Rights>>) {
        *self = Self { rights, writable: KeyedMap::default() };
    }

    pub(super) fn may_write(&mut self, topic: &Topic) -> bool {
        let Some(rights) = &self.rights else {
            return true;
        };
        let topic = topic.as_str();
        if let Some(known) = self.writable.get(topic) {
            return *known;
        }
        let may = rights.may_write(topic);
        if topic.len() <= TOPIC_BYTES_MAX {
            if self.writable.len() >= TOPICS_MAX {
                self.writable.clear();
            }
            self.writable.insert(topic.into(), may);
        }
        may
    }

    pub(super) fn may_subscribe(&self, filter: &Filter) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.may_subscribe(filter))
    }
}

impl Session {
    /// What becomes of a message that goes nowhere.
    pub(super) fn refuse(&mut self, message: &Message) -> Option<Action> {
        if topic::is_reserved(message.topic.as_str()) {
            // Topics under `$` are the server's own.
            let reason = DropReason::ReservedTopic;
            return Some(Action::Dropped { reason, qos: message.qos });
        }
        let may = self.permits.may_write(&message.topic);
        (!may).then(|| Action::Denied { topic: message.topic.clone() })
    }

    pub(super) fn judge_topic(&self, message: &Message) -> Result<(), Violation> {
        let topic = &message.topic;
        if topic.level_count() > self.limits.topic_levels_max {
            return Err(Violation::TooManyLevels(self.limits.topic_levels_max));
        }
        if topic.as_str().len() > link::TOPIC_BYTES_MAX {
            return Err(Violation::TopicTooLong(link::TOPIC_BYTES_MAX));
        }
        Ok(())
    }

    pub(super) fn may_hold(&self, filter: &Filter) -> bool {
        let text = filter.as_str();
        let takes_more = self.room.filters && self.filters.len() < self.limits.filters_max;
        let has_room = takes_more || self.filters.contains_key(filter);
        has_room
            && filter.levels().count() <= self.limits.topic_levels_max
            && text.len() <= link::TOPIC_BYTES_MAX
            && !text.starts_with(link::PREFIX)
            && self.permits.may_subscribe(filter)
    }
}

/// Topics that are remembered; clients that publish to more are few.
const TOPICS_MAX: usize = 64;

/// Longer ones are judged each time: what is remembered takes 16 KiB at most.
const TOPIC_BYTES_MAX: usize = 256;
