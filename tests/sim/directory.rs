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
        Claimed, ClientRow, Directory, DirectoryError, HeldWill, Joined, Member, NodeRow,
        NodeStatus, Owner, Released, Renewal, Restored, memory::MemoryDirectory,
    },
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, UserName},
    message::Message,
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

    /// A will is taken out; if the answer gets lost, nobody knows.
    fn taken(&self, will: Option<&Message>, how: How) -> Option<usize> {
        let will = number(&will?.payload);
        self.tell(News::Taken(will, self.life, how));
        Some(will)
    }

    /// Settles wills that were held, and tells which that has taken out.
    async fn settle(&self, member: &Member, wills: &[HeldWill]) -> Result<(), DirectoryError> {
        for held in wills {
            let owner = Owner { member: member.clone(), epoch: held.epoch };
            let stood = self.directory.find(&held.client_id).await?.as_ref() == Some(&owner);
            self.directory.settle_wills(member, std::slice::from_ref(held)).await?;
            let stands = self.directory.find(&held.client_id).await?.as_ref() == Some(&owner);
            self.taken(Some(&held.will).filter(|_| stood && !stands), How::Death);
        }
        Ok(())
    }

    /// The end of a connection is told; on the way there it may get lost.
    async fn go_to_end(&self, epoch: Epoch) -> Result<(), DirectoryError> {
        let gone = self.go().await;
        if let (Err(_), Some(will)) = (&gone, self.wills.lock().get(&epoch)) {
            self.tell(News::Left(*will));
        }
        gone
    }

    /// The way back with wills.
    async fn go_back(&self, wills: impl IntoIterator<Item = usize>) -> Result<(), DirectoryError> {
        let gone = self.go().await;
        if gone.is_err() {
            wills.into_iter().for_each(|will| self.tell(News::Lost(will)));
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

    async fn claim(&self, client: &ClientRow) -> Result<Claimed, DirectoryError> {
        let will = client.will.as_ref().map(|will| number(&will.payload));
        self.go().await?;
        let mut claimed = self.directory.claim(client).await?;
        self.wills.lock().extend(will.map(|will| (claimed.epoch, will)));
        self.entered(client);
        let previous = claimed.previous.as_ref().and_then(|previous| previous.will.as_ref());
        let taken = self.taken(previous, How::Claim);
        let back = self.go_back(taken).await;
        if let (Err(_), Some(will)) = (&back, will) {
            self.tell(News::Left(will));
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
    ) -> Result<Option<Released>, DirectoryError> {
        self.go_to_end(epoch).await?;
        let released = self.directory.release(client_id, user, owner, epoch).await?;
        let will = released.as_ref().and_then(|released| released.will.as_ref());
        self.taken(will, How::End);
        self.go().await?;
        Ok(released)
    }

    async fn park(
        &self,
        client_id: &ClientId,
        owner: &Member,
        epoch: Epoch,
    ) -> Result<Option<Released>, DirectoryError> {
        self.go_to_end(epoch).await?;
        let parked = self.directory.park(client_id, owner, epoch).await?;
        let will = parked.as_ref().and_then(|parked| parked.will.as_ref());
        self.taken(will, How::End);
        self.go().await?;
        Ok(parked)
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
        for held in &wills {
            self.tell(News::Held(number(&held.will.payload), self.life));
        }
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
