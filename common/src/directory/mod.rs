//! The directory: which nodes and bridges live, and which client is logged in where (DESIGN words: node,
//! incarnation, lease, epoch, owner).
//!
//! Rules that every implementation keeps, and `tests/contract` holds them to:
//!
//! * A row is written or deleted only by the incarnation that owns it, or by [`Directory::sweep`]
//!   and [`Directory::settle_wills`] once that incarnation's lease has ended.
//! * Epochs of one client id grow for ever, also over the loss of all rows: a claim takes the
//!   greatest of (old epoch + 1, the directory's clock in microseconds).
//! * Whether a lease has ended is judged by the directory's clock alone.
//! * The will in a client's row is *owed* from the step on in which its connection is known to have ended: by
//!   the end of the connection, by a claim, or as a dead node's. Whoever took that step *holds* it for
//!   [`WILL_HELD`], publishes it, and settles it when it is heard. Until then it stays in the client's row,
//!   whosever that is; nobody else gets it meanwhile, and a claim waits. If the taker dies, the hold
//!   ends, and the will is there for the next.
//! * A clean login erases what any node keeps of a session, also a node that is down. So where a
//!   durable session was, a row that goes, whichever way, leaves a *trace* for [`TRACE_KEPT`]: nobody
//!   owns it, nothing finds it, and the next row takes from it which was the last erasure.
//! * Rows and traces say on which nodes parts of a durable session may be left: on all that have owned it,
//!   whatever became of them, but those that have said that nothing is left there. Each claim is told, so
//!   that it can ask them all.
//! * Every call ends within a bounded time; a call that failed may nevertheless have been done,
//!   and may be repeated. (A will that such a call removed does not come out again.)
//!
//! It is never asked on the path of a PUBLISH. [`memory`] serves one process, [`redis`] a cluster.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, UserName},
    topic::Filter,
};

pub mod memory;
pub mod redis;
mod rows;

pub use rows::{
    Before, Claimed, ClientRow, End, HeldWill, Joined, Member, NodeRow, NodeStatus, Owner,
    Previous, Renewal, Restored,
};

/// Who is where.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Writes this node's row with a fresh lease.
    ///
    /// An older incarnation of the same name is replaced, live or not, and its client rows are
    /// swept: its process is gone, or its next renewal tells it to fence itself. If some of these
    /// rows hold wills, they stay, and the new row names that life ([`NodeStatus::former`]) until
    /// they are settled and [`Directory::sweep`] has found nothing more of it. A younger
    /// incarnation, or another process with the
    /// same number (it has other addresses), is never replaced, not even when it is dead: numbers
    /// do not go back. The same life may join again at any time and keeps its rows.
    async fn join(&self, node: &NodeRow, lease: Duration) -> Result<Joined, DirectoryError>;

    /// Prolongs the lease of this incarnation and updates its load. [`Renewal::Lost`] if the row
    /// is gone, belongs to another incarnation, or its lease has ended: the node must fence itself
    /// or, if only the directory lost its rows, join again.
    async fn renew(
        &self,
        member: &Member,
        lease: Duration,
        connections: u64,
    ) -> Result<Renewal, DirectoryError>;

    /// Ends this incarnation's lease (a clean end), and takes away its client rows without wills.
    /// The node's row stays for [`Directory::sweep`] to delete.
    async fn leave(&self, member: &Member) -> Result<(), DirectoryError>;

    /// Every node row, live or not.
    async fn nodes(&self) -> Result<Vec<NodeStatus>, DirectoryError>;

    /// Makes this incarnation the owner of a client id that logs in now, under a new epoch, whoever owned it.
    ///
    /// While somebody holds a will of the row that stands there, it waits: after it, that will has been
    /// published, or is in the answer, and held for the caller. It gives up, as timed out, after
    /// [`CLAIM_WAITS`]. Another node's claim meanwhile is of a younger login, and stays:
    /// [`DirectoryError::Overtaken`].
    async fn claim(&self, client: &ClientRow) -> Result<Claimed, DirectoryError> {
        self.claim_late(client, Duration::ZERO).await
    }

    /// The same for a client that logged in so long ago, when the directory could not be reached: of two
    /// logins the younger one counts.
    async fn claim_late(
        &self,
        client: &ClientRow,
        ago: Duration,
    ) -> Result<Claimed, DirectoryError>;

    /// Writes a row again that the directory may have lost: done only if there is none, or one of
    /// a smaller epoch. That of a durable session is not, if a clean login has erased the session since.
    ///
    /// What stands under this epoch already is not touched, so that a will that was taken does not
    /// come back. The wills of a row of a smaller epoch go: the claim of this epoch has had them.
    async fn restore(&self, client: &ClientRow, epoch: Epoch) -> Result<Restored, DirectoryError>;

    /// Deletes a client's row if it still belongs to this incarnation and epoch; one in which wills are
    /// owed goes when they are settled. Returns the wills that are held for the caller from now on: that of
    /// the connection, unless it is void, and what else nobody holds. Nothing if the row was no longer
    /// this owner's. Whoever lost the row to another owner may call it too: what led to it is tidied up.
    async fn release(
        &self,
        client_id: &ClientId,
        user: &UserName,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Result<Option<Vec<HeldWill>>, DirectoryError>;

    /// The client has gone, its durable session stays with this owner: the row stays, marked as not
    /// connected. Returns what [`Directory::release`] does.
    async fn park(
        &self,
        client_id: &ClientId,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Result<Option<Vec<HeldWill>>, DirectoryError>;

    /// Nothing of a client's session is left on a node that had owned it: later claims need not ask there.
    /// Done only if `epoch` is still the last claim: since another one the node may keep a part again.
    async fn cleared(
        &self,
        client_id: &ClientId,
        node: &NodeId,
        epoch: Epoch,
    ) -> Result<(), DirectoryError>;

    /// Who owns a client id.
    async fn find(&self, client_id: &ClientId) -> Result<Option<Owner>, DirectoryError>;

    /// The client ids a user is logged in with.
    async fn clients_of(&self, user: &UserName) -> Result<Vec<ClientId>, DirectoryError>;

    /// The client ids that this incarnation may own rows of (a superset: some may have moved on).
    async fn clients_on(&self, member: &Member) -> Result<Vec<ClientId>, DirectoryError>;

    /// Deletes the client rows without wills of an incarnation whose lease has ended, and returns
    /// how many there were. If no row is left then, of this life or a former one of its name, its node row
    /// is deleted too; that of a node with a home only once its lease has ended for `keep_row`, since it leads
    /// others to the home. A former life without rows is taken out of the row that names it. Does nothing, and
    /// returns 0, while the lease runs. May be called by several at once and repeated after a failure.
    async fn sweep(&self, member: &Member, keep_row: Duration) -> Result<u64, DirectoryError>;

    /// Holds the wills in client rows of an incarnation whose lease has ended, of at most
    /// [`WILLS_MAX`] rows, for [`WILL_HELD`] from some moment after the call began, and returns
    /// them. The caller publishes them, well before that has passed, and then settles them. Those
    /// that somebody holds are left out. To be called until it returns none, best after a
    /// [`Directory::sweep`], which leaves few rows to look through.
    async fn take_wills(&self, member: &Member) -> Result<Vec<HeldWill>, DirectoryError>;

    /// Removes wills that were held and published, and with the last one the row, if its session has been
    /// released or its owner is dead. One whose row has gone to another owner is left alone.
    async fn settle_wills(&self, member: &Member, wills: &[HeldWill])
    -> Result<(), DirectoryError>;

    /// Notes durable filters of a node, those its parked and attached durable sessions hold:
    /// removes some, then adds some. They belong to the name and outlive incarnations and rows.
    /// Only the node itself changes them, or whoever forgets the node for good.
    async fn note_home(
        &self,
        node: &NodeId,
        add: &[Filter],
        remove: &[Filter],
    ) -> Result<(), DirectoryError>;

    /// Makes exactly these the durable filters of a node. Who reads them meanwhile finds at least
    /// those that were there before and stay.
    async fn replace_home(&self, node: &NodeId, filters: &[Filter]) -> Result<(), DirectoryError>;

    /// The durable filters of a node, in no order; none if nothing was ever noted.
    async fn home(&self, node: &NodeId) -> Result<Vec<Filter>, DirectoryError>;

    /// Writes a bridge's row with a fresh lease, or prolongs it. Does nothing while the lease of a
    /// younger life of this name runs: that one stands for the name.
    async fn note_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<(), DirectoryError>;

    /// Deletes a bridge's row (a clean end), if it is still this life's.
    async fn leave_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
    ) -> Result<(), DirectoryError>;

    /// The bridges whose lease runs, in the order of their names.
    async fn bridges(&self) -> Result<Vec<BridgeId>, DirectoryError>;
}

/// Of how many rows one [`Directory::take_wills`] returns the wills at most.
pub const WILLS_MAX: usize = 100;

/// For how long whoever takes a will has it alone.
pub const WILL_HELD: Duration = Duration::from_secs(3);

/// How long a claim waits for a will that somebody holds, at most: for one who dies with it, and for
/// another after that.
pub const CLAIM_WAITS: Duration = Duration::from_secs(7);

/// How often a claim that waits looks again.
const CLAIM_POLL: Duration = Duration::from_millis(20);

/// A claim within this time after another counts as a contest, if the client was still connected
/// there: two devices with one client id that throw each other out reconnect faster.
pub const CONTEST_WITHIN: Duration = Duration::from_secs(10);

/// How long a row that is gone leaves a trace: a node that has been down for longer may bring back a
/// session that was erased meanwhile.
pub const TRACE_KEPT: Duration = Duration::from_hours(24);

/// Why the directory gave no answer. Every one of them may be tried again.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Not connected, or the connection broke.
    #[error("directory is unreachable: {0}")]
    Unreachable(String),
    /// No answer within the time a command may take.
    #[error("directory did not answer in time")]
    TimedOut,
    /// It answered, and not as it should (a read-only replica, a foreign key, a script error).
    #[error("directory answered: {0}")]
    Refused(String),
    /// Of claims alone: a younger login on another node has been claimed since.
    #[error("client has logged in on {} since", .0.member.node)]
    Overtaken(Owner),
}
