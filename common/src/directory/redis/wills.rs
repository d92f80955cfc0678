//! The wills of dead nodes' clients: held while somebody publishes them, then settled; and the claims that
//! wait for that.
//!
//! Whether a life has ended is asked before, in another step: no script may touch two keys. Publishing is left
//! to the callers.

use redis::{Pipeline, ScriptInvocation, pipe};
use tokio::time::{Instant, sleep};

use super::{
    RedisDirectory,
    answers::{Claim, Taken, WillFields, held_will, will},
    index::Entry,
};
use crate::{
    directory::{
        CLAIM_POLL, CLAIM_WAITS, DirectoryError, HeldWill, Member, Released, TRACE_KEPT, WILLS_MAX,
    },
    id::{ClientId, UserName},
};

impl RedisDirectory {
    /// Runs a script that lets a client's row go, or its will.
    pub(super) async fn let_go(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<Option<Released>, DirectoryError> {
        let mut pipeline = pipe();
        pipeline.invoke_script(call);
        let (fields,): (Option<WillFields>,) = self.run(&pipeline).await?;
        Ok(fields.map(|fields| Released { will: will(fields) }))
    }

    /// Claims as soon as nobody holds the will of the row that stands there.
    pub(super) async fn claim_when_free(&self, claim: &Pipeline) -> Result<Claim, DirectoryError> {
        let started = Instant::now();
        loop {
            let (claimed,): (Option<Claim>,) = self.run(claim).await?;
            match claimed {
                Some(claimed) => return Ok(claimed),
                None if started.elapsed() >= CLAIM_WAITS => return Err(DirectoryError::TimedOut),
                None => sleep(CLAIM_POLL).await,
            }
        }
    }

    /// Holds up to [`WILLS_MAX`] wills of an incarnation. What is held before a failure is free again
    /// when its time has passed.
    pub(super) async fn take_some_wills(
        &self,
        member: &Member,
    ) -> Result<Vec<HeldWill>, DirectoryError> {
        let mut taken = Vec::new();
        let mut cursor = 0;
        loop {
            let (next, page) = self.scan(member, cursor).await?;
            let with_wills = self.with_wills(page).await?;
            for piece in with_wills.chunks(WILLS_MAX) {
                let room = piece.len().min(WILLS_MAX - taken.len());
                taken.extend(self.take(member, piece.get(..room).unwrap_or_default()).await?);
            }
            if next == 0 || taken.len() >= WILLS_MAX {
                return Ok(taken);
            }
            cursor = next;
        }
    }

    /// Those of the clients whose rows hold wills.
    async fn with_wills(&self, page: Vec<ClientId>) -> Result<Vec<ClientId>, DirectoryError> {
        let mut pipeline = Pipeline::with_capacity(page.len());
        for client_id in &page {
            pipeline.hexists(self.keys.client(client_id), "will_qos");
        }
        let found: Vec<bool> = self.run(&pipeline).await?;
        Ok(page.into_iter().zip(found).filter_map(|(id, found)| found.then_some(id)).collect())
    }

    async fn take(
        &self,
        member: &Member,
        client_ids: &[ClientId],
    ) -> Result<Vec<HeldWill>, DirectoryError> {
        let mut pipeline = Pipeline::with_capacity(client_ids.len());
        for client_id in client_ids {
            let mut call = self.scripts.take.key(self.keys.client(client_id));
            call.arg(member.node.as_str()).arg(member.incarnation.0);
            pipeline.invoke_script(&call);
        }
        let taken: Vec<Taken> = self.run(&pipeline).await?;
        let taken = client_ids.iter().cloned().zip(taken);
        Ok(taken.filter_map(|(client_id, taken)| held_will(client_id, taken)).collect())
    }

    /// Deletes the rows of wills that were held and published.
    pub(super) async fn settle(
        &self,
        member: &Member,
        wills: &[HeldWill],
    ) -> Result<(), DirectoryError> {
        let mut pipeline = Pipeline::with_capacity(wills.len());
        for HeldWill { client_id, epoch, until_us, .. } in wills {
            let mut call = self.scripts.settle.key(self.keys.client(client_id));
            call.arg(member.node.as_str()).arg(member.incarnation.0).arg(epoch.0).arg(until_us);
            pipeline.invoke_script(call.arg(TRACE_KEPT.as_secs()));
        }
        let users: Vec<Option<String>> = self.run(&pipeline).await?;
        let users = users.into_iter().map(|user| user.map(UserName::from));
        let client_ids = wills.iter().map(|held| held.client_id.clone());
        let entries: Vec<Entry> = client_ids.zip(users).collect();
        // The rows are gone, whatever becomes of entries that lead nowhere.
        let _ = self.take_out(member, &entries).await;
        Ok(())
    }
}
