//! What becomes of the clients' rows of an incarnation that has ended: those without wills are
//! deleted, those with wills are left.
//!
//! Whether it has ended is asked first, in another step than its rows are changed: no script may
//! touch two keys. What follows from a will is left to the callers.

use std::time::Duration;

use redis::{Pipeline, pipe};

use super::{RedisDirectory, index::Entry, micros};
use crate::{
    directory::{DirectoryError, Member, TRACE_KEPT},
    id::{ClientId, UserName},
};

/// What a sweep over client rows has done.
#[derive(Default)]
pub(super) struct Swept {
    /// Rows deleted.
    pub(super) deleted: u64,
    /// Rows left because of their wills.
    pub(super) kept: u64,
}

/// What `sweep.lua` returns: its verdict and the user of the row.
type SweptRow = Option<(String, Option<String>)>;

impl RedisDirectory {
    /// Whether this incarnation has no lease any more.
    pub(super) async fn has_ended(&self, member: &Member) -> Result<bool, DirectoryError> {
        let mut call = self.scripts.ended.key(self.keys.node(&member.node));
        let mut pipeline = pipe();
        pipeline.invoke_script(call.arg(member.incarnation.0));
        let (ended,): (bool,) = self.run(&pipeline).await?;
        Ok(ended)
    }

    /// Deletes the node's row if its lease has ended for `keep_row`, or takes a former life out of it.
    pub(super) async fn forget(
        &self,
        member: &Member,
        keep_row: Duration,
    ) -> Result<(), DirectoryError> {
        let mut call = self.scripts.forget.key(self.keys.node(&member.node));
        let mut pipeline = pipe();
        pipeline.invoke_script(call.arg(member.incarnation.0).arg(micros(keep_row)));
        let (forgotten,): (bool,) = self.run(&pipeline).await?;
        if forgotten {
            let mut pipeline = pipe();
            pipeline.srem(self.keys.nodes(), member.node.as_str()).ignore();
            self.run::<()>(&pipeline).await?;
        }
        Ok(())
    }

    /// Deletes the clients' rows of an incarnation that hold no wills.
    pub(super) async fn sweep_clients(&self, member: &Member) -> Result<Swept, DirectoryError> {
        let mut swept = Swept::default();
        let mut cursor = 0;
        loop {
            let (next, page) = self.scan(member, cursor).await?;
            self.sweep_page(member, page, &mut swept).await?;
            if next == 0 {
                return Ok(swept);
            }
            cursor = next;
        }
    }

    async fn sweep_page(
        &self,
        member: &Member,
        page: Vec<ClientId>,
        swept: &mut Swept,
    ) -> Result<(), DirectoryError> {
        let mut pipeline = Pipeline::with_capacity(page.len());
        for client_id in &page {
            let mut call = self.scripts.sweep.key(self.keys.client(client_id));
            call.arg(member.node.as_str()).arg(member.incarnation.0).arg(TRACE_KEPT.as_secs());
            pipeline.invoke_script(&call);
        }
        let rows: Vec<SweptRow> = self.run(&pipeline).await?;
        let mut entries: Vec<Entry> = Vec::with_capacity(page.len());
        for (client_id, row) in page.into_iter().zip(rows) {
            match row {
                None => entries.push((client_id, None)),
                Some((verdict, _)) if verdict == "kept" => swept.kept += 1,
                Some((_, user)) => {
                    swept.deleted += 1;
                    entries.push((client_id, user.map(UserName::from)));
                }
            }
        }
        self.take_out(member, &entries).await
    }
}
