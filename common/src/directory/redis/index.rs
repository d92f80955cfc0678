//! The sets that lead to the clients' rows, by owner and by user.
//!
//! A client id is put into its sets *before* its row is written, and taken out *after* the row is
//! gone, so that a crash leaves a needless entry and never a row that nobody finds. Two that meet
//! on one client id, one releasing it and one claiming it, put right what they do to each other:
//!
//! * The claim enters the user's set again after the row is written, in case the release has
//!   taken out the first entry. (The owner's set needs no second entry: only the owner changes it,
//!   and what one connection sends is done in order.)
//! * Whoever takes an entry out looks for a new row afterwards, and puts the entry back.
//!
//! What the rows say is left to [`super`].

use redis::{Pipeline, pipe};

use super::RedisDirectory;
use crate::{
    directory::{ClientRow, DirectoryError, Member},
    id::{ClientId, UserName},
};

/// A client id and, where it is known, the user whose set it stands in.
pub(super) type Entry = (ClientId, Option<UserName>);

impl RedisDirectory {
    pub(super) async fn members(&self, key: String) -> Result<Vec<ClientId>, DirectoryError> {
        let mut pipeline = pipe();
        pipeline.smembers(key);
        let (client_ids,): (Vec<String>,) = self.run(&pipeline).await?;
        Ok(client_ids.into_iter().map(ClientId::from).collect())
    }

    /// Begins what writes a client's row: its entries in the sets come first.
    pub(super) fn enter(&self, client: &ClientRow) -> Pipeline {
        let mut pipeline = pipe();
        pipeline
            .sadd(self.keys.on(&client.owner), client.client_id.as_str())
            .ignore()
            .sadd(self.keys.user(&client.user), client.client_id.as_str())
            .ignore();
        pipeline
    }

    /// Takes client ids out of the set of this incarnation, and of the users' where they are known,
    /// unless there is a row again that they lead to.
    pub(super) async fn take_out(
        &self,
        member: &Member,
        entries: &[Entry],
    ) -> Result<(), DirectoryError> {
        let on = self.keys.on(member);
        let mut out = pipe();
        for (client_id, user) in entries {
            out.srem(&on, client_id.as_str()).ignore();
            if let Some(user) = user {
                out.srem(self.keys.user(user), client_id.as_str()).ignore();
            }
            let fields = ["node", "incarnation", "user"];
            out.hmget(self.keys.client(client_id), &fields);
        }
        let rows: Vec<(Option<String>, Option<u64>, Option<String>)> = self.run(&out).await?;

        let mut back = pipe();
        for ((client_id, user), (node, incarnation, user_now)) in entries.iter().zip(&rows) {
            let same_node = node.as_deref() == Some(member.node.as_str());
            if same_node && *incarnation == Some(member.incarnation.0) {
                back.sadd(&on, client_id.as_str()).ignore();
            }
            if let Some(user) = user
                && user_now.as_deref() == Some(user.as_str())
            {
                back.sadd(self.keys.user(user), client_id.as_str()).ignore();
            }
        }
        self.run(&back).await
    }

    /// Client ids that may have a row of this incarnation, a page at a time: where the next page
    /// begins, 0 if there is none, and the page.
    pub(super) async fn scan(
        &self,
        member: &Member,
        cursor: u64,
    ) -> Result<(u64, Vec<ClientId>), DirectoryError> {
        let mut scan = pipe();
        scan.cmd("SSCAN").arg(self.keys.on(member)).arg(cursor).arg("COUNT").arg(PAGE);
        let ((next, page),): ((u64, Vec<String>),) = self.run(&scan).await?;
        Ok((next, page.into_iter().map(ClientId::from).collect()))
    }
}

/// Client rows looked at in one go: few enough to hold nobody else up.
const PAGE: usize = 500;
