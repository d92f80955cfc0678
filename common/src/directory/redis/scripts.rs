//! The scripts that Redis runs for the directory: what must be read and written in one step.
//!
//! Each touches one key, so that one slot of a Redis Cluster can run it; what spans keys is done
//! in [`super`]. Each is described in its own file.

use redis::{Pipeline, Script};

/// One field a script, named after its file.
pub(super) struct Scripts {
    pub(super) bridges: Script,
    pub(super) claim: Script,
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
    pub(super) status: Script,
    pub(super) sweep: Script,
    pub(super) take: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            bridges: Script::new(include_str!("bridges.lua")),
            claim: Script::new(include_str!("claim.lua")),
            directory_epoch: Script::new(include_str!("directory_epoch.lua")),
            ended: Script::new(include_str!("ended.lua")),
            forget: Script::new(include_str!("forget.lua")),
            join: Script::new(include_str!("join.lua")),
            leave_bridge: Script::new(include_str!("leave_bridge.lua")),
            note_bridge: Script::new(include_str!("note_bridge.lua")),
            park: Script::new(include_str!("park.lua")),
            release: Script::new(concat!(include_str!("let_go.lua"), include_str!("release.lua"))),
            renew: Script::new(include_str!("renew.lua")),
            restore: Script::new(include_str!("restore.lua")),
            status: Script::new(include_str!("status.lua")),
            sweep: Script::new(concat!(include_str!("let_go.lua"), include_str!("sweep.lua"))),
            take: Script::new(concat!(include_str!("let_go.lua"), include_str!("take.lua"))),
        }
    }

    /// What makes them all known to a server that has forgotten them, or never had them.
    pub(super) fn load(&self) -> Pipeline {
        let all = [
            &self.bridges,
            &self.claim,
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
