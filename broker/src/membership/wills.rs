//! Wills that this node has taken: published, and only then settled in the directory.
//!
//! ```text
//!   taken: held for us alone ──► publish ──► arrived wherever it must be ──► settle: it is owed no more
//!      │                           │                  └ not in time ──────────► settle nevertheless
//!      └ of the dead, too late ────┴──────► nothing: the hold ends, and somebody else takes it
//! ```
//!
//! A claim of the client id waits for the end of the hold: so the will is heard before the client is let in
//! again, and a taker that dies takes no will along. Which lives have ended is left to `others.rs`, which
//! connections to `logins.rs`.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use causeway_common::{
    directory::{Directory, DirectoryError, HeldWill, Member},
    id::{Epoch, Ticket},
    mailbox::Mailbox,
};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::Membership;
use crate::{
    hub::{Hub, Routing},
    metrics::Metrics,
    session::Mail,
};

/// Who is told, and how, that wills have arrived.
pub type Told = (Arc<Mailbox<Mail>>, Ticket);

/// The wills that this node has in hand.
pub(super) struct Wills {
    directory: Arc<dyn Directory>,
    hub: Arc<Mutex<Hub>>,
    metrics: Arc<Metrics>,
    /// Lives that have ended, as the directory last said.
    ended: Mutex<Vec<Member>>,
    looked: Notify,
    /// Published, and perhaps still owed in the rows of these owners.
    unsettled: Mutex<Vec<(Member, Vec<HeldWill>)>>,
}

impl Membership {
    /// Publishes the wills of lives that have ended, after each look at the directory, until the task is
    /// aborted.
    pub async fn keep_wills(&self) {
        loop {
            self.wills.looked.notified().await;
            if let Err(error) = self.settle_lives().await {
                warn!(%error, "wills of the dead wait for the directory");
                self.metrics.directory_errors.inc();
            }
        }
    }

    async fn settle_lives(&self) -> Result<(), DirectoryError> {
        // First of all: what is left there would come twice.
        self.wills.settle_late().await?;
        let lives = self.wills.ended.lock().clone();
        for life in lives {
            while let Some(held) = self.wills.publish_some(&life).await? {
                info!(node = %life.node, wills = held.len(), "published the wills of a dead node");
                self.wills.settle(life.clone(), held).await?;
            }
            // The row of a younger life need not name it any more.
            self.directory.sweep(&life, self.terms.home_grace).await?;
        }
        Ok(())
    }

    /// Publishes wills that stand in a row of ours, and settles them when they have arrived wherever they
    /// must be. True if that is waited for: then somebody is told, at the latest when they are settled
    /// although they have not.
    pub fn publish_wills(&self, owner: &Member, wills: Vec<HeldWill>, told: Option<Told>) -> bool {
        if wills.is_empty() {
            return false;
        }
        let deadline = Instant::now() + ARRIVES_WITHIN;
        let heard = Arc::new(Mailbox::new(0));
        let awaited = publish(&mut self.hub.lock(), &wills, &heard);
        let told = told.filter(|_| !awaited.is_empty());
        let is_awaited = told.is_some();
        let (desk, owner) = (Arc::clone(&self.wills), owner.clone());
        tokio::spawn(async move {
            await_all(&heard, awaited, deadline).await;
            if let Some((mailbox, ticket)) = told {
                mailbox.push_control(Mail::Routed(ticket));
            }
            if desk.is_said_by(&owner) {
                desk.settle_or_wait(owner, wills).await;
            }
        });
        is_awaited
    }

    /// Takes the will of a claim out of those that stand in a row of ours, and settles it: it is not to be
    /// published.
    pub(super) fn void_will(&self, owner: &Member, wills: &mut Vec<HeldWill>, of: Epoch) {
        let void: Vec<HeldWill> = wills.extract_if(.., |held| held.of == of).collect();
        if !void.is_empty() {
            let (desk, owner) = (Arc::clone(&self.wills), owner.clone());
            tokio::spawn(async move { desk.settle_or_wait(owner, void).await });
        }
    }
}

impl Wills {
    pub(super) fn new(
        directory: &Arc<dyn Directory>,
        hub: &Arc<Mutex<Hub>>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            directory: Arc::clone(directory),
            hub: Arc::clone(hub),
            metrics: Arc::clone(metrics),
            ended: Mutex::default(),
            looked: Notify::new(),
            unsettled: Mutex::default(),
        }
    }

    /// The directory has been looked at: these lives have ended.
    pub(super) fn have_ended(&self, lives: Vec<Member>) {
        *self.ended.lock() = lives;
        self.looked.notify_one();
    }

    /// Settles wills; should that fail, they are among the unsettled.
    async fn settle(&self, owner: Member, wills: Vec<HeldWill>) -> Result<(), DirectoryError> {
        self.unsettled.lock().push((owner, wills));
        self.settle_late().await
    }

    async fn settle_or_wait(&self, owner: Member, wills: Vec<HeldWill>) {
        if let Err(error) = self.settle(owner, wills).await {
            warn!(%error, "wills that were published wait for the directory");
            self.metrics.directory_errors.inc();
        }
    }

    /// Settles what is not settled yet; after a failure, all of it again.
    async fn settle_late(&self) -> Result<(), DirectoryError> {
        loop {
            let next = self.unsettled.lock().pop();
            let Some((owner, wills)) = next else { return Ok(()) };
            if let Err(error) = self.directory.settle_wills(&owner, &wills).await {
                self.unsettled.lock().push((owner, wills));
                return Err(error);
            }
        }
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
        Ok(Some(held).filter(|held| self.is_said_by(&me) && !held.is_empty()))
    }

    /// This life, if what it publishes now can reach all nodes.
    fn who_may_publish(&self) -> Option<Member> {
        let hub = self.hub.lock();
        (hub.is_joined() && !hub.is_fenced()).then(|| hub.me().clone())
    }

    /// Whether what this life has published goes on: a node that was fenced meanwhile has let go of what it
    /// had on its way.
    fn is_said_by(&self, me: &Member) -> bool {
        let hub = self.hub.lock();
        hub.me() == me && !hub.is_fenced()
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
        Some(publish(&mut hub, held, heard))
    }
}

/// Publishes wills, and returns whose answers are to come.
fn publish(hub: &mut Hub, held: &[HeldWill], heard: &Arc<Mailbox<Mail>>) -> BTreeSet<u64> {
    let numbered = (0_u64..).zip(held);
    let said = numbered.filter(|(number, held)| {
        let will = held.will.clone();
        hub.publish_will_for(heard, Ticket(*number), will) == Routing::Awaited
    });
    said.map(|(number, _)| number).collect()
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

/// How long after the beginning of the call that took them wills of the dead may be published: far less than
/// they are held, should the directory's clock go faster.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(1);

/// How long after they were taken wills are settled at the latest: before anybody else can take them.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);
