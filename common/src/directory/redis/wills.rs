//! The wills of connections that have ended: held while somebody publishes them, then settled.
//!
//! Whether a life has ended is asked before, in another step: no script may touch two keys. Publishing is left
//! to the callers.

use redis::{Pipeline, Script, pipe};

use super::{
    RedisDirectory,
    answers::{Parted, Taken, held_wills},
    index::Entry,
};
use crate::{
    directory::{DirectoryError, End, HeldWill, Member, TRACE_KEPT, WILLS_MAX},
    id::{ClientId, Epoch, UserName},
};

impl RedisDirectory {
    /// Runs a script that ends a client's connection: its will, and whether its row is gone.
    pub(super) async fn part(
        &self,
        script: &Script,
        (client_id, owner, epoch): (&ClientId, &Member, Epoch),
        end: End,
    ) -> Result<Option<(Vec<HeldWill>, bool)>, DirectoryError> {
        let mut call = script.key(self.keys.client(client_id));
        call.arg(owner.node.as_str()).arg(owner.incarnation.0).arg(epoch.0);
        call.arg(u8::from(end == End::Abnormal)).arg(TRACE_KEPT.as_secs());
        let mut pipeline = pipe();
        pipeline.invoke_script(&call);
        let (parted,): (Parted,) = self.run(&pipeline).await?;
        Ok(parted.map(|(owed, is_gone)| (held_wills(client_id, epoch, owed), is_gone)))
    }

    /// Holds the wills in up to [`WILLS_MAX`] rows of an incarnation. What is held before a failure is free again
    /// when its time has passed.
    pub(super) async fn take_some_wills(
        &self,
        member: &Member,
    ) -> Result<Vec<HeldWill>, DirectoryError> {
        let (mut taken, mut rows) = (Vec::new(), 0);
        let mut cursor = 0;
        loop {
            let (next, page) = self.scan(member, cursor).await?;
            let with_wills = self.with_wills(page).await?;
            for piece in with_wills.chunks(WILLS_MAX) {
                let piece = piece.get(..piece.len().min(WILLS_MAX - rows)).unwrap_or_default();
                let held = self.take(member, piece).await?;
                rows += held.iter().filter(|held| !held.is_empty()).count();
                taken.extend(held.into_iter().flatten());
            }
            if next == 0 || rows >= WILLS_MAX {
                return Ok(taken);
            }
            cursor = next;
        }
    }

    /// Those of the clients whose rows hold wills.
    async fn with_wills(&self, page: Vec<ClientId>) -> Result<Vec<ClientId>, DirectoryError> {
        let mut pipeline = Pipeline::with_capacity(page.len());
        for client_id in &page {
            pipeline.hmget(self.keys.client(client_id), &["will_qos", "held_until_us"]);
        }
        let found: Vec<[Option<String>; 2]> = self.run(&pipeline).await?;
        let found = page.into_iter().zip(found);
        let with_wills = found.filter(|(_, fields)| fields.iter().any(Option::is_some));
        Ok(with_wills.map(|(client_id, _)| client_id).collect())
    }

    async fn take(
        &self,
        member: &Member,
        client_ids: &[ClientId],
    ) -> Result<Vec<Vec<HeldWill>>, DirectoryError> {
        let mut pipeline = Pipeline::with_capacity(client_ids.len());
        for client_id in client_ids {
            let mut call = self.scripts.take.key(self.keys.client(client_id));
            call.arg(member.node.as_str()).arg(member.incarnation.0);
            pipeline.invoke_script(&call);
        }
        let taken: Vec<Taken> = self.run(&pipeline).await?;
        let taken = client_ids.iter().zip(taken);
        let held = taken.filter_map(|(client_id, taken)| {
            taken.map(|(epoch, owed)| held_wills(client_id, Epoch(epoch), owed))
        });
        Ok(held.collect())
    }

    /// Removes wills that were held and published, and the rows that go with them.
    pub(super) async fn settle(
        &self,
        member: &Member,
        wills: &[HeldWill],
    ) -> Result<(), DirectoryError> {
        let mut pipeline = Pipeline::with_capacity(wills.len());
        for HeldWill { client_id, epoch, of, .. } in wills {
            let mut call = self.scripts.settle.key(self.keys.client(client_id));
            call.arg(member.node.as_str()).arg(member.incarnation.0).arg(epoch.0).arg(of.0);
            pipeline.invoke_script(call.arg(TRACE_KEPT.as_secs()));
        }
        let users: Vec<Option<String>> = self.run(&pipeline).await?;
        let gone = wills
            .iter()
            .zip(users)
            .filter_map(|(held, user)| Some((held.client_id.clone(), Some(UserName::from(user?)))));
        let entries: Vec<Entry> = gone.collect();
        if !entries.is_empty() {
            // The rows are gone, whatever becomes of entries that lead nowhere.
            let _ = self.take_out(member, &entries).await;
        }
        Ok(())
    }
}
