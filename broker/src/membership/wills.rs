//! The wills of clients whose node is dead: taken, published, and only then settled in the directory.
//!
//! ```text
//!   take: held for us alone ──► publish ──► arrived wherever it must be ──► settle: the row goes
//!      │                          │                  └ not in time ──────────► settle nevertheless
//!      └ too late, or fenced ─────┴──────► nothing: the hold ends, and somebody else takes it
//! ```
//!
//! A claim of the client id waits for the end of the hold: so the will is heard before the client is let in
//! again. Which lives have ended is left to `others.rs`, wills of connections that end here to `logins.rs`.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use causeway_common::{
    directory::{DirectoryError, HeldWill, Member},
    id::Ticket,
    mailbox::Mailbox,
};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::Membership;
use crate::{hub::Routing, session::Mail};

/// Lives that have ended, as the directory last said.
#[derive(Debug, Default)]
pub(super) struct Ended {
    lives: Mutex<Vec<Member>>,
    looked: Notify,
}

impl Ended {
    pub(super) fn are(&self, lives: Vec<Member>) {
        *self.lives.lock() = lives;
        self.looked.notify_one();
    }
}

/// Wills of one life that were published, and whose rows may still be there.
type Unsettled = Vec<(Member, Vec<HeldWill>)>;

impl Membership {
    /// Publishes the wills of lives that have ended, after each look at the directory, until the task is
    /// aborted.
    pub async fn keep_wills(&self) {
        let mut unsettled = Unsettled::new();
        loop {
            self.ended.looked.notified().await;
            if let Err(error) = self.settle_lives(&mut unsettled).await {
                warn!(%error, "wills of the dead wait for the directory");
                self.metrics.directory_errors.inc();
            }
        }
    }

    async fn settle_lives(&self, unsettled: &mut Unsettled) -> Result<(), DirectoryError> {
        // First of all: what is left there would come twice.
        self.settle(unsettled).await?;
        let lives = self.ended.lives.lock().clone();
        for life in lives {
            while let Some(held) = self.publish_some(&life).await? {
                info!(node = %life.node, wills = held.len(), "published the wills of a dead node");
                unsettled.push((life.clone(), held));
                self.settle(unsettled).await?;
            }
            // The row of a younger life need not name it any more.
            self.directory.sweep(&life, self.terms.home_grace).await?;
        }
        Ok(())
    }

    async fn settle(&self, unsettled: &mut Unsettled) -> Result<(), DirectoryError> {
        while let Some((life, held)) = unsettled.first() {
            self.directory.settle_wills(life, held).await?;
            unsettled.remove(0);
        }
        Ok(())
    }

    /// Takes wills of a life and publishes them. None if there are none, or if they are left to others.
    async fn publish_some(&self, life: &Member) -> Result<Option<Vec<HeldWill>>, DirectoryError> {
        let Some(me) = self.who_may_publish() else {
            return Ok(None);
        };
        let started = Instant::now();
        let held = self.directory.take_wills(life).await?;
        let heard = Arc::new(Mailbox::new(0));
        let Some(awaited) = self.publish_in_time(&me, started, &held, &heard) else {
            return Ok(None);
        };
        await_all(&heard, awaited, started + ARRIVES_WITHIN).await;
        // A node that was fenced meanwhile has let go of what it had on its way.
        let hub = self.hub.lock();
        let is_said = *hub.me() == me && !hub.is_fenced();
        Ok(Some(held).filter(|held| is_said && !held.is_empty()))
    }

    /// This life, if what it publishes now can reach all nodes.
    fn who_may_publish(&self) -> Option<Member> {
        let hub = self.hub.lock();
        (hub.is_joined() && !hub.is_fenced()).then(|| hub.me().clone())
    }

    /// Publishes wills while nobody else can have them, and returns whose answers are to come.
    fn publish_in_time(
        &self,
        me: &Member,
        started: Instant,
        held: &[HeldWill],
        heard: &Arc<Mailbox<Mail>>,
    ) -> Option<BTreeSet<u64>> {
        let mut hub = self.hub.lock();
        if started.elapsed() > PUBLISHED_WITHIN || hub.me() != me || hub.is_fenced() {
            warn!(wills = held.len(), "too late for wills that were taken");
            return None;
        }
        let numbered = (0_u64..).zip(held);
        let said = numbered.filter(|(number, held)| {
            let will = held.will.clone();
            hub.publish_will_for(heard, Ticket(*number), will) == Routing::Awaited
        });
        Some(said.map(|(number, _)| number).collect())
    }
}

/// Waits until all have been answered; not for longer than wills are held.
async fn await_all(heard: &Mailbox<Mail>, mut awaited: BTreeSet<u64>, deadline: Instant) {
    let mut mail = VecDeque::new();
    while !awaited.is_empty() {
        if timeout_at(deadline, heard.wait()).await.is_err() {
            warn!(wills = awaited.len(), "wills have not arrived everywhere in time");
            return;
        }
        heard.take_all(&mut mail);
        for mail in mail.drain(..) {
            if let Mail::Routed(Ticket(number)) = mail {
                awaited.remove(&number);
            }
        }
    }
}

/// How long after the beginning of the call that took them wills may be published: far less than they
/// are held, should the directory's clock go faster.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(1);

/// How long after that beginning they are settled at the latest: before anybody else can take them.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);
