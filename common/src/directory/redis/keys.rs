//! The names of the keys in Redis, drawn in [`super`].

use crate::{
    directory::Member,
    id::{ClientId, NodeId, UserName},
};

/// Makes keys with one prefix, so that several clusters may share a Redis.
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    pub(super) fn directory_epoch(&self) -> String {
        format!("{}:epoch", self.prefix)
    }

    pub(super) fn nodes(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    pub(super) fn node(&self, node: &NodeId) -> String {
        format!("{}:node:{node}", self.prefix)
    }

    pub(super) fn client(&self, client_id: &ClientId) -> String {
        format!("{}:client:{client_id}", self.prefix)
    }

    pub(super) fn user(&self, user: &UserName) -> String {
        format!("{}:user:{user}", self.prefix)
    }

    pub(super) fn on(&self, member: &Member) -> String {
        format!("{}:on:{}:{}", self.prefix, member.node, member.incarnation)
    }

    pub(super) fn bridges(&self) -> String {
        format!("{}:bridges", self.prefix)
    }

    pub(super) fn home(&self, node: &NodeId) -> String {
        format!("{}:home:{node}", self.prefix)
    }
}
