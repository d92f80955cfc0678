//! Claims: what is asked of `claim.lua`, again and again while somebody holds wills of the old row, and what
//! it found.
//!
//! It leaves to others: what stands in a row, and which claim it yields to (`claim.lua`).

use std::time::Duration;

use redis::Pipeline;
use tokio::time::{Instant, sleep};

use super::{
    RedisDirectory,
    answers::{Claim, add_will, before, held_wills, left_on, previous},
    micros,
};
use crate::{
    directory::{CLAIM_POLL, CLAIM_WAITS, CONTEST_WITHIN, Claimed, ClientRow, DirectoryError},
    id::{Epoch, UserName},
};

impl RedisDirectory {
    /// Claims for a login so long ago, as soon as nobody holds a will of the row that stands there.
    pub(super) async fn claim_when_free(
        &self,
        client: &ClientRow,
        ago: Duration,
    ) -> Result<Claim, DirectoryError> {
        let (started, mut waited) = (Instant::now(), Duration::ZERO);
        loop {
            let claim = self.claim_call(client, ago + waited);
            let (claimed,): (Option<Claim>,) = self.run(&claim).await?;
            match claimed {
                Some(claimed) => return Ok(claimed),
                None if waited >= CLAIM_WAITS => return Err(DirectoryError::TimedOut),
                None => sleep(CLAIM_POLL).await,
            }
            waited = started.elapsed();
        }
    }

    fn claim_call(&self, client: &ClientRow, ago: Duration) -> Pipeline {
        let mut claim = self.scripts.claim.key(self.keys.client(&client.client_id));
        claim.arg(client.owner.node.as_str()).arg(client.owner.incarnation.0);
        claim.arg(client.user.as_str()).arg(&client.address).arg(u8::from(client.connected));
        claim.arg(u8::from(client.durable)).arg(micros(CONTEST_WITHIN)).arg(micros(ago));
        add_will(&mut claim, client);
        let mut pipeline = self.enter(client);
        pipeline
            .invoke_script(&claim)
            .sadd(self.keys.user(&client.user), client.client_id.as_str())
            .ignore();
        pipeline
    }

    /// What became of a claim.
    pub(super) async fn claimed(
        &self,
        client: &ClientRow,
        claim: Claim,
    ) -> Result<Claimed, DirectoryError> {
        let (epoch, contests, old, owed, erased, names, elsewhere) = claim;
        let is_made = epoch != NOT_MADE;
        let now = Some(client.user.as_str()).filter(|_| is_made);
        // Who may no longer find the client. The claim is done, whatever becomes of an entry that leads nowhere.
        let gone = if is_made { old.3.as_deref() } else { Some(client.user.as_str()) };
        if let Some(user) = gone.filter(|user| Some(*user) != now) {
            let entry = (client.client_id.clone(), Some(UserName::from(user)));
            let _ = self.take_out(&client.owner, &[entry]).await;
        }
        let (epoch, erased) = (Epoch(epoch), erased.map(Epoch));
        let (before, left_on) = (before(&elsewhere), left_on(&names));
        let wills = held_wills(&client.client_id, epoch, owed);
        match previous(old) {
            Some(younger) if !is_made => Err(DirectoryError::Overtaken(younger.owner)),
            previous => Ok(Claimed { epoch, before, previous, wills, contests, erased, left_on }),
        }
    }
}

/// The epoch of a late claim that was not made.
const NOT_MADE: u64 = 0;
