//! The scripts that Redis runs for the directory: what must be read and written in one step.
//!
//! Each touches one key, so that one slot of a Redis Cluster can run it; what spans keys is done
//! in [`super`]. Each is described in its own file.

use redis::{Pipeline, Script};

use super::micros;
use crate::directory::WILL_HELD;

/// One field a script, named after its file.
pub(super) struct Scripts {
    pub(super) bridges: Script,
    pub(super) claim: Script,
    pub(super) cleared: Script,
    pub(super) directory_epoch: Script,
    pub(super) ended: Script,
    pub(super) forget: Script,
    pub(super) join: Script,
    pub(super) leave_bridge: Script,
    pub(super) note_bridge: Script,
    pub(super) park: Script,
    pub(super) release: Script,
    pub(super) renew: Script,
    pub(super) restore: Script,
    pub(super) settle: Script,
    pub(super) status: Script,
    pub(super) sweep: Script,
    pub(super) take: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let held = format!("local held_us = {}\n{}", micros(WILL_HELD), include_str!("held.lua"));
        let (held, let_go) = (held.as_str(), include_str!("let_go.lua"));
        let left_on = include_str!("left_on.lua");
        Self {
            bridges: Script::new(include_str!("bridges.lua")),
            claim: Script::new(&[held, left_on, include_str!("claim.lua")].concat()),
            cleared: Script::new(&[left_on, include_str!("cleared.lua")].concat()),
            directory_epoch: Script::new(include_str!("directory_epoch.lua")),
            ended: Script::new(include_str!("ended.lua")),
            forget: Script::new(include_str!("forget.lua")),
            join: Script::new(include_str!("join.lua")),
            leave_bridge: Script::new(include_str!("leave_bridge.lua")),
            note_bridge: Script::new(include_str!("note_bridge.lua")),
            park: Script::new(&[held, include_str!("park.lua")].concat()),
            release: Script::new(&[held, left_on, let_go, include_str!("release.lua")].concat()),
            renew: Script::new(include_str!("renew.lua")),
            restore: Script::new(&[left_on, include_str!("restore.lua")].concat()),
            settle: Script::new(&[held, left_on, let_go, include_str!("settle.lua")].concat()),
            status: Script::new(include_str!("status.lua")),
            sweep: Script::new(&[left_on, let_go, include_str!("sweep.lua")].concat()),
            take: Script::new(&[held, include_str!("take.lua")].concat()),
        }
    }

    /// What makes them all known to a server that has forgotten them, or never had them.
    pub(super) fn load(&self) -> Pipeline {
        let all = [
            &self.bridges,
            &self.claim,
            &self.cleared,
            &self.directory_epoch,
            &self.ended,
            &self.forget,
            &self.join,
            &self.leave_bridge,
            &self.note_bridge,
            &self.park,
            &self.release,
            &self.renew,
            &self.restore,
            &self.settle,
            &self.status,
            &self.sweep,
            &self.take,
        ];
        let mut pipeline = Pipeline::with_capacity(all.len());
        for script in all {
            pipeline.load_script(script).ignore();
        }
        pipeline
    }
}
