//! A node's way to the directory in memory: it takes a while, breaks, and ends with the node.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use causeway_common::{
    directory::{
        Claimed, ClientRow, Directory, DirectoryError, End, HeldWill, Joined, Member, NodeRow,
        NodeStatus, Owner, Renewal, Restored, memory::MemoryDirectory,
    },
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, UserName},
    topic::Filter,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    Fault,
    net::Chance,
    wills::{How, News},
    words::number,
};

/// What becomes of wills there, until the ledger hears of it.
pub(crate) type Diary = Arc<Mutex<Vec<News>>>;

/// The way of one process.
pub(crate) struct Reach {
    directory: MemoryDirectory,
    diary: Diary,
    /// Which process that is.
    life: u64,
    fault: Option<Fault>,
    /// The will that was claimed with a client id, by its epoch.
    wills: Mutex<BTreeMap<Epoch, usize>>,
    chance: Mutex<Chance>,
    blind_until: Mutex<Instant>,
    /// Wills that are settled and not published yet, by the fault that does so.
    kept_back: Mutex<Vec<(Instant, HeldWill)>>,
    is_dead: AtomicBool,
}

impl Reach {
    pub(crate) fn new(
        (directory, diary): (&MemoryDirectory, &Diary),
        (life, fault): (u64, Option<Fault>),
        chance: Chance,
    ) -> Arc<Self> {
        Arc::new(Self {
            directory: directory.clone(),
            diary: Arc::clone(diary),
            life,
            fault,
            wills: Mutex::new(BTreeMap::new()),
            chance: Mutex::new(chance),
            blind_until: Mutex::new(Instant::now()),
            kept_back: Mutex::new(Vec::new()),
            is_dead: AtomicBool::new(false),
        })
    }

    pub(crate) fn blind_for(&self, time: Duration) {
        *self.blind_until.lock() = Instant::now() + time;
    }

    /// The process is gone, and with it whatever was under way.
    pub(crate) fn die(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    fn tell(&self, news: News) {
        self.diary.lock().push(news);
    }

    /// A row with a will is there.
    fn entered(&self, client: &ClientRow) {
        let will = client.will.as_ref().map(|will| number(&will.payload));
        if let Some(will) = will {
            self.tell(News::Entered(will));
        }
    }

    /// This process holds wills.
    fn hold(&self, wills: &[HeldWill], how: How) {
        for held in wills {
            self.tell(News::Held(number(&held.will.payload), self.life, how));
        }
    }

    /// Settles wills that were held, and tells of it.
    async fn settle(&self, member: &Member, wills: &[HeldWill]) -> Result<(), DirectoryError> {
        self.directory.settle_wills(member, wills).await?;
        for held in wills {
            self.tell(News::Settled(number(&held.will.payload), self.life));
        }
        Ok(())
    }

    /// The end of a connection is told; on the way there or back it may get lost.
    async fn go_to_end(&self, epoch: Epoch) -> Result<(), DirectoryError> {
        let gone = self.go().await;
        if let (Err(_), Some(will)) = (&gone, self.wills.lock().get(&epoch)) {
            self.tell(News::Left(*will));
        }
        gone
    }

    /// One half of the way. What fails on the way back has been done nevertheless.
    async fn go(&self) -> Result<(), DirectoryError> {
        let late = self.chance.lock().one_in(20);
        let delay_ms = self.chance.lock().below(if late { 200 } else { 4 });
        sleep(Duration::from_millis(delay_ms)).await; // pacing: by the simulated clock
        if self.is_dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if Instant::now() < *self.blind_until.lock() {
            return Err(DirectoryError::Unreachable("it is out".to_owned()));
        }
        Ok(())
    }
}

/// There, what is to be done, and back.
macro_rules! far {
    ($self:ident . $call:ident ( $($argument:expr),* )) => {{
        $self.go().await?;
        let answer = $self.directory.$call($($argument),*).await;
        $self.go().await?;
        answer
    }};
}

#[async_trait]
impl Directory for Reach {
    async fn join(&self, node: &NodeRow, lease: Duration) -> Result<Joined, DirectoryError> {
        far!(self.join(node, lease))
    }

    async fn renew(
        &self,
        member: &Member,
        lease: Duration,
        connections: u64,
    ) -> Result<Renewal, DirectoryError> {
        far!(self.renew(member, lease, connections))
    }

    async fn leave(&self, member: &Member) -> Result<(), DirectoryError> {
        far!(self.leave(member))
    }

    async fn nodes(&self) -> Result<Vec<NodeStatus>, DirectoryError> {
        far!(self.nodes())
    }

    async fn claim_late(
        &self,
        client: &ClientRow,
        ago: Duration,
    ) -> Result<Claimed, DirectoryError> {
        let will = client.will.as_ref().map(|will| number(&will.payload));
        self.go().await?;
        let mut claimed = self.directory.claim_late(client, ago).await?;
        self.wills.lock().extend(will.map(|will| (claimed.epoch, will)));
        self.entered(client);
        self.hold(&claimed.wills, How::Claim);
        let back = self.go().await;
        if back.is_err() {
            // Nobody knows what was taken, before the client comes again or the node is dead.
            let wills = claimed.wills.iter().map(|held| number(&held.will.payload));
            wills.for_each(|will| self.tell(News::Lost(will)));
            if let Some(will) = will {
                self.tell(News::Left(will));
            }
        }
        if self.fault == Some(Fault::StalePresent) {
            claimed.before = None; // as if nobody had been let in elsewhere
        }
        back.map(|()| claimed)
    }

    async fn restore(&self, client: &ClientRow, epoch: Epoch) -> Result<Restored, DirectoryError> {
        self.go().await?;
        let known = self.directory.find(&client.client_id).await?;
        let restored = self.directory.restore(client, epoch).await?;
        if known.is_none_or(|known| known.epoch < epoch) {
            self.entered(client);
        }
        self.go().await?;
        Ok(restored)
    }

    async fn release(
        &self,
        client_id: &ClientId,
        user: &UserName,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Result<Option<Vec<HeldWill>>, DirectoryError> {
        self.go_to_end(epoch).await?;
        let wills = self.directory.release(client_id, user, owner, epoch, end).await?;
        self.hold(wills.as_deref().unwrap_or_default(), How::End);
        self.go_to_end(epoch).await?;
        Ok(wills)
    }

    async fn park(
        &self,
        client_id: &ClientId,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Result<Option<Vec<HeldWill>>, DirectoryError> {
        self.go_to_end(epoch).await?;
        let wills = self.directory.park(client_id, owner, epoch, end).await?;
        self.hold(wills.as_deref().unwrap_or_default(), How::End);
        self.go_to_end(epoch).await?;
        Ok(wills)
    }

    async fn cleared(
        &self,
        client_id: &ClientId,
        node: &NodeId,
        epoch: Epoch,
    ) -> Result<(), DirectoryError> {
        far!(self.cleared(client_id, node, epoch))
    }

    async fn find(&self, client_id: &ClientId) -> Result<Option<Owner>, DirectoryError> {
        far!(self.find(client_id))
    }

    async fn clients_of(&self, user: &UserName) -> Result<Vec<ClientId>, DirectoryError> {
        far!(self.clients_of(user))
    }

    async fn clients_on(&self, member: &Member) -> Result<Vec<ClientId>, DirectoryError> {
        far!(self.clients_on(member))
    }

    async fn sweep(&self, member: &Member, keep_row: Duration) -> Result<u64, DirectoryError> {
        far!(self.sweep(member, keep_row))
    }

    async fn take_wills(&self, member: &Member) -> Result<Vec<HeldWill>, DirectoryError> {
        self.go().await?;
        let wills = self.directory.take_wills(member).await?;
        self.hold(&wills, How::Death);
        match self.fault {
            Some(Fault::WillOfTheDead) => {
                self.settle(member, &wills).await?;
                return Ok(Vec::new());
            }
            Some(Fault::SettleEarly) => {
                self.settle(member, &wills).await?;
                let mut kept_back = self.kept_back.lock();
                kept_back.extend(wills.into_iter().map(|held| (Instant::now(), held)));
                let over = kept_back.extract_if(.., |(since, _)| since.elapsed() > KEPT_BACK);
                return Ok(over.map(|(_, held)| held).collect());
            }
            Some(_) | None => {}
        }
        self.go().await?;
        Ok(wills)
    }

    async fn settle_wills(
        &self,
        member: &Member,
        wills: &[HeldWill],
    ) -> Result<(), DirectoryError> {
        let gone = self.go().await;
        if gone.is_err() {
            // It tries again, perhaps after somebody else has taken them.
            let left = wills.iter().map(|held| number(&held.will.payload));
            left.for_each(|will| self.tell(News::Left(will)));
        }
        gone?;
        self.settle(member, wills).await?;
        self.go().await
    }

    async fn note_home(
        &self,
        node: &NodeId,
        add: &[Filter],
        remove: &[Filter],
    ) -> Result<(), DirectoryError> {
        far!(self.note_home(node, add, remove))
    }

    async fn replace_home(&self, node: &NodeId, filters: &[Filter]) -> Result<(), DirectoryError> {
        far!(self.replace_home(node, filters))
    }

    async fn home(&self, node: &NodeId) -> Result<Vec<Filter>, DirectoryError> {
        far!(self.home(node))
    }

    async fn note_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<(), DirectoryError> {
        far!(self.note_bridge(bridge, incarnation, lease))
    }

    async fn leave_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
    ) -> Result<(), DirectoryError> {
        far!(self.leave_bridge(bridge, incarnation))
    }

    async fn bridges(&self) -> Result<Vec<BridgeId>, DirectoryError> {
        far!(self.bridges())
    }
}

/// For how long wills are kept back, by the fault that does so.
const KEPT_BACK: Duration = Duration::from_secs(2);
