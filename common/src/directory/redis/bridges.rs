//! The bridges with their leases, all in one hash: they are few, and who reads them wants them all.
//!
//! It leaves to others: who waits for a bridge, and for how long.

use std::time::Duration;

use redis::{ScriptInvocation, pipe};

use super::{RedisDirectory, micros};
use crate::{
    directory::DirectoryError,
    id::{BridgeId, Incarnation},
};

impl RedisDirectory {
    pub(super) async fn write_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<(), DirectoryError> {
        let mut call = self.scripts.note_bridge.key(self.keys.bridges());
        self.do_to_bridge(call.arg(bridge.as_str()).arg(incarnation.0).arg(micros(lease))).await
    }

    pub(super) async fn delete_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
    ) -> Result<(), DirectoryError> {
        let mut call = self.scripts.leave_bridge.key(self.keys.bridges());
        self.do_to_bridge(call.arg(bridge.as_str()).arg(incarnation.0)).await
    }

    async fn do_to_bridge(&self, call: &ScriptInvocation<'_>) -> Result<(), DirectoryError> {
        let mut pipeline = pipe();
        pipeline.invoke_script(call).ignore();
        self.run::<()>(&pipeline).await
    }

    pub(super) async fn read_bridges(&self) -> Result<Vec<BridgeId>, DirectoryError> {
        let mut pipeline = pipe();
        pipeline.invoke_script(&self.scripts.bridges.key(self.keys.bridges()));
        let (names,): (Vec<String>,) = self.run(&pipeline).await?;
        let mut names: Vec<BridgeId> = names.into_iter().map(BridgeId::from).collect();
        names.sort_unstable();
        Ok(names)
    }
}
