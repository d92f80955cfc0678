//! The durable filters of nodes, one set a node.
//!
//! A node may hold thousands of them: they are sent in pieces, so that no command is long.

use redis::{Cmd, pipe};

use super::RedisDirectory;
use crate::{directory::DirectoryError, id::NodeId, topic::Filter};

impl RedisDirectory {
    pub(super) async fn read_home(&self, node: &NodeId) -> Result<Vec<Filter>, DirectoryError> {
        let mut pipeline = pipe();
        pipeline.smembers(self.keys.home(node));
        let (texts,): (Vec<String>,) = self.run(&pipeline).await?;
        // What is no filter matches nothing.
        Ok(texts.into_iter().filter_map(|text| Filter::new(text).ok()).collect())
    }

    /// Whether a node has durable filters.
    pub(super) async fn has_home(&self, node: &NodeId) -> Result<bool, DirectoryError> {
        let mut pipeline = pipe();
        pipeline.exists(self.keys.home(node));
        let (found,): (bool,) = self.run(&pipeline).await?;
        Ok(found)
    }

    pub(super) async fn remove_from_home(
        &self,
        node: &NodeId,
        filters: &[Filter],
    ) -> Result<(), DirectoryError> {
        self.change_home(node, filters, Cmd::srem).await
    }

    pub(super) async fn add_to_home(
        &self,
        node: &NodeId,
        filters: &[Filter],
    ) -> Result<(), DirectoryError> {
        self.change_home(node, filters, Cmd::sadd).await
    }

    async fn change_home<'f>(
        &self,
        node: &NodeId,
        filters: &'f [Filter],
        command: fn(String, Vec<&'f str>) -> Cmd,
    ) -> Result<(), DirectoryError> {
        for piece in filters.chunks(PIECE) {
            let texts = piece.iter().map(Filter::as_str).collect();
            let mut pipeline = pipe();
            pipeline.add_command(command(self.keys.home(node), texts)).ignore();
            self.run::<()>(&pipeline).await?;
        }
        Ok(())
    }
}

/// Filters in one command.
const PIECE: usize = 500;
