//! A membership on a directory in memory: whose name it takes, and what earlier lives have left.

use std::{collections::VecDeque, time::Duration};

use causeway_common::{
    directory::{ClientRow, NodeStatus, Owner, memory::MemoryDirectory},
    id::{ClientId, SessionId, Ticket, UserName},
    link::{Frame, Status},
    mailbox::Mailbox,
    message::Message,
    packet::Subscription,
    qos::QoS,
    topic::{Filter, Topic},
};
use prometheus::Registry;
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::{
    hub::{Attach, Attached, Knock, tests::hub_limits},
    session::{CloseReason, Kept, Mail, Session},
    store::memory::MemoryStore,
};

/// A lease that outlasts every test, so that only the joining is seen.
const LONG: Duration = Duration::from_mins(10);
const DEADLINE: Duration = Duration::from_secs(20);

struct Setting {
    directory: MemoryDirectory,
    hub: Arc<Mutex<Hub>>,
    metrics: Arc<Metrics>,
    row: NodeRow,
    keeper: Option<JoinHandle<()>>,
}

impl Setting {
    /// A node that has yet to join.
    fn new() -> Self {
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let member = Member { node: NodeId::from("node-1"), incarnation: first_incarnation() };
        let limits = hub_limits();
        let row = row(&member);
        let store = Arc::new(MemoryStore::default());
        let hub =
            Hub::new(Instant::now().into_std(), member, limits, (Arc::clone(&metrics), store));
        let hub = Arc::new(Mutex::new(hub));
        Self { directory: MemoryDirectory::new(), hub, metrics, row, keeper: None }
    }

    /// Another life of this name, so much older or younger.
    async fn other_life(&self, apart_ms: i64, lease: Duration) -> Member {
        let incarnation = Incarnation(self.row.incarnation.0.saturating_add_signed(apart_ms));
        let member = Member { node: self.row.node.clone(), incarnation };
        self.directory.join(&row(&member), lease).await.unwrap();
        member
    }

    fn start(&mut self) {
        self.start_with(terms());
    }

    fn start_with(&mut self, terms: Terms) {
        let (hub, metrics) = (Arc::clone(&self.hub), Arc::clone(&self.metrics));
        let membership = Membership::new(Arc::new(self.directory.clone()), hub, metrics, terms);
        let row = self.row.clone();
        self.keeper = Some(tokio::spawn(async move {
            tokio::join!(membership.keep(row), membership.keep_wills());
        }));
    }

    /// Waits until the only row is one that lives, and returns it.
    async fn joined(&self) -> NodeStatus {
        let joined = async {
            loop {
                if self.hub.lock().is_opening() && self.hub.lock().is_joined() {
                    self.hub.lock().open(); // what the node does
                }
                let rows = self.directory.nodes().await.unwrap();
                if let [status] = &rows[..]
                    && status.live
                    && !self.hub.lock().is_fenced()
                    && self.hub.lock().me().incarnation == status.row.incarnation
                {
                    return status.clone();
                }
                sleep(Duration::from_millis(1)).await; // pacing: of the looks at the rows
            }
        };
        timeout(DEADLINE, joined).await.unwrap()
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

fn terms() -> Terms {
    Terms {
        lease: LONG,
        when_lost: WhenLost::Serve,
        takeover_timeout: Duration::ZERO,
        home_grace: Duration::ZERO,
    }
}

fn row(member: &Member) -> NodeRow {
    NodeRow {
        node: member.node.clone(),
        incarnation: member.incarnation,
        link_address: format!("10.0.0.{}:2883", member.incarnation.0 % 256),
        client_address: "10.0.0.1:1883".to_owned(),
    }
}

#[tokio::test]
async fn a_dead_younger_life_is_outbid_at_once() {
    let mut setting = Setting::new();
    let younger = setting.other_life(3_600_000, LONG).await;
    setting.directory.leave(&younger).await.unwrap();
    setting.start();
    let status = setting.joined().await;
    assert!(status.row.incarnation > younger.incarnation, "{status:?}");
}

#[tokio::test]
async fn the_wills_of_an_earlier_life_are_published() {
    let mut setting = Setting::new();
    let older = setting.other_life(-1000, LONG).await;
    for number in 0..150 {
        let topic = Topic::new(format!("last/{number}")).unwrap();
        let will = Message { topic, payload: "x".into(), qos: QoS::AtMostOnce, retain: false };
        let client = ClientRow {
            client_id: ClientId::from(format!("client-{number}")),
            user: UserName::from("alice"),
            owner: older.clone(),
            address: "10.0.0.5:5555".to_owned(),
            connected: true,
            durable: false,
            will: Some(will),
        };
        setting.directory.claim(&client).await.unwrap();
    }
    let (client_id, user) = (ClientId::from("bob"), UserName::from("bob"));
    let knock = Knock { client_id, user, clean: true };
    let attach = setting.hub.lock().attach(&knock, &Arc::new(Mailbox::new(0))).unwrap();
    let Attach::In(attached) = attach else { panic!("the id is free") };
    let (session, mailbox) = (attached.session, attached.mailbox);
    let filters = [Subscription { filter: Filter::new("last/+").unwrap(), qos: QoS::AtMostOnce }];
    let now = Instant::now().into_std();
    setting.hub.lock().subscribe(now, session, Ticket(1), &filters);
    setting.start();
    setting.joined().await;

    let mut mail = VecDeque::new();
    let delivered =
        |mail: &VecDeque<Mail>| mail.iter().filter(|mail| matches!(mail, Mail::Deliver(_))).count();
    let all = async {
        while delivered(&mail) < 150 {
            mailbox.wait().await;
            mailbox.take_counted(&mut mail);
        }
    };
    timeout(DEADLINE, all).await.unwrap();
    let settled = async {
        while !setting.directory.nodes().await.unwrap()[0].former.is_empty() {
            sleep(Duration::from_millis(1)).await; // pacing: of the looks at the rows
        }
    };
    timeout(DEADLINE, settled).await.unwrap();
    mailbox.take_counted(&mut mail);
    assert_eq!(delivered(&mail), 150);
    assert!(setting.directory.clients_on(&older).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_bridge_that_is_linked_here_lives_though_it_cannot_say_so_itself() {
    let mut setting = Setting::new();
    let bridge = BridgeId::from("bridge-1");
    let status = Status {
        bridge: bridge.clone(),
        incarnation: Incarnation(1),
        ready: false,
        directory_reachable: false,
    };
    let now = Instant::now().into_std();
    let link = setting.hub.lock().link_up(&Arc::new(Mailbox::new(0)));
    setting.hub.lock().link_frame(now, link, Frame::Status(status)).unwrap();
    setting.start();
    let listed = async {
        while setting.directory.bridges().await.unwrap() != [bridge.clone()] {
            sleep(Duration::from_millis(1)).await; // pacing: of the looks at the rows
        }
    };
    timeout(DEADLINE, listed).await.unwrap();
}

/// A bridge may find the directory again a moment before the node does.
#[tokio::test(start_paused = true)]
async fn a_node_has_time_to_find_the_directory_that_is_back_for_a_bridge() {
    let setting = Setting::new();
    let lease = Duration::from_secs(6);
    let membership = Membership { terms: Terms { lease, ..terms() }, ..setting.membership() };
    let link = setting.hub.lock().link_up(&Arc::new(Mailbox::new(0)));
    let witness = |directory_reachable| {
        let bridge = BridgeId::from("bridge-1");
        let status =
            Status { bridge, incarnation: Incarnation(1), ready: false, directory_reachable };
        let now = Instant::now().into_std();
        setting.hub.lock().link_frame(now, link, Frame::Status(status)).unwrap();
    };
    let mut keeper = Keeper { renewed: Some(Instant::now()), ..Keeper::new(setting.row.clone()) };
    let mut is_fenced_after = async |time| {
        sleep(time).await; // pacing: by a clock that goes by itself
        membership.fence_in_time(&mut keeper);
        setting.hub.lock().is_fenced()
    };
    witness(false);
    assert!(!is_fenced_after(10 * lease).await, "it is gone for all");
    witness(true);
    assert!(!is_fenced_after(lease / 2).await, "and back just now");
    assert!(is_fenced_after(lease / 3).await, "but not for this node");
}

#[tokio::test]
async fn a_node_that_is_about_to_open_again_is_fenced_like_any_other() {
    let mut setting = Setting::new();
    let me = setting.hub.lock().me().clone();
    setting.hub.lock().fence();
    setting.hub.lock().rejoin(me);
    assert!(setting.hub.lock().is_opening());
    setting.other_life(3_600_000, LONG).await; // has the name, and lives
    setting.start();
    let fenced = async {
        while setting.hub.lock().is_opening() {
            sleep(Duration::from_millis(1)).await; // pacing: of the looks at the hub
        }
    };
    timeout(DEADLINE, fenced).await.unwrap();
    assert!(setting.hub.lock().is_fenced());
}

/// Bob with a will.
fn bob(setting: &Setting) -> ClientRow {
    let topic = Topic::new("last/word").unwrap();
    ClientRow {
        client_id: ClientId::from("bob"),
        user: UserName::from("bob"),
        owner: setting.hub.lock().me().clone(),
        address: "10.0.0.5:5555".to_owned(),
        connected: true,
        durable: false,
        will: Some(Message { topic, payload: "x".into(), qos: QoS::AtLeastOnce, retain: false }),
    }
}

impl Setting {
    fn membership(&self) -> Membership {
        let (hub, metrics) = (Arc::clone(&self.hub), Arc::clone(&self.metrics));
        Membership::new(Arc::new(self.directory.clone()), hub, metrics, terms())
    }

    async fn come(&self, membership: &Membership, clean: bool) -> Attached {
        let row = ClientRow { durable: !clean, ..bob(self) };
        let knock = Knock { client_id: row.client_id.clone(), user: row.user.clone(), clean };
        let attach = self.hub.lock().attach(&knock, &Arc::new(Mailbox::new(0))).unwrap();
        let Attach::In(attached) = attach else { panic!("the id is free") };
        membership.log_in(attached.session, row).await;
        attached
    }

    /// Bob logs in, and is lost or says good-bye.
    async fn come_and_go(&self, membership: &Membership, clean: bool, end: CloseReason) {
        let attached = self.come(membership, clean).await;
        self.leave(membership, (attached.session, attached.resumed), clean, end).await;
    }

    async fn leave(
        &self,
        membership: &Membership,
        (session, resumed): (SessionId, Option<Box<Session>>),
        clean: bool,
        end: CloseReason,
    ) {
        let (now, limits) = (Instant::now().into_std(), hub_limits().session);
        let fresh = || {
            if clean {
                Session::new(now, None, limits)
            } else {
                Session::durable(now, limits, Kept::default())
            }
        };
        let state = resumed.unwrap_or_else(|| Box::new(fresh()));
        membership.log_out(session, (state, VecDeque::new()), end).await;
    }
}

/// A client that logs in while the directory is gone has its will nowhere but here.
#[tokio::test]
async fn a_will_that_never_stood_in_the_directory_is_published_nevertheless() {
    for clean in [true, false] {
        for (end, published) in [(CloseReason::ClientClosed, 1), (CloseReason::ClientDisconnect, 0)]
        {
            let setting = Setting::new();
            let membership = setting.membership();
            membership.note_reached(true);
            setting.come_and_go(&membership, clean, CloseReason::ClientDisconnect).await;
            membership.note_reached(false);
            setting.come_and_go(&membership, clean, end).await;
            assert_eq!(setting.metrics.wills_published.get(), published, "{clean} {end:?}");
            membership.note_reached(true);
            membership.claim_late().await.unwrap();
            assert_eq!(setting.metrics.wills_published.get(), published, "{clean} {end:?}");
        }
    }
}

/// Of two logins the younger one counts, though the directory hears of the older one last.
#[tokio::test(start_paused = true)]
async fn a_login_that_the_directory_hears_of_late_gives_way_to_a_younger_one_elsewhere() {
    for clean in [true, false] {
        let setting = Setting::new();
        let membership = setting.membership();
        membership.note_reached(false);
        let attached = setting.come(&membership, clean).await;
        tokio::time::advance(Duration::from_millis(1)).await;
        let member = Member { node: NodeId::from("node-2"), incarnation: first_incarnation() };
        let younger = ClientRow { owner: member.clone(), will: None, ..bob(&setting) };
        let epoch = setting.directory.claim(&younger).await.unwrap().epoch;
        membership.note_reached(true);
        membership.claim_late().await.unwrap();
        let owner = setting.directory.find(&younger.client_id).await.unwrap();
        assert_eq!(owner, Some(Owner { member, epoch }), "{clean}");
        let mut mail = VecDeque::new();
        attached.mailbox.take_all(&mut mail);
        let is_put_out = |mail: &Mail| matches!(mail, Mail::Close(CloseReason::TakenOver));
        assert!(mail.iter().any(is_put_out), "{clean} {mail:?}");
        let of = (attached.session, attached.resumed);
        setting.leave(&membership, of, clean, CloseReason::TakenOver).await;
        assert_eq!(setting.metrics.wills_published.get(), 1, "nobody else knows of it; {clean}");
    }
}

/// While the directory was gone for all, no lease could be renewed.
#[tokio::test]
async fn the_wills_of_a_node_that_may_have_had_no_chance_to_renew_its_lease_are_left_for_one_lease()
{
    let mut setting = Setting::new();
    let other = Member { node: NodeId::from("node-2"), incarnation: first_incarnation() };
    setting.directory.join(&row(&other), Duration::ZERO).await.unwrap();
    let client = ClientRow { owner: other.clone(), ..bob(&setting) };
    setting.directory.claim(&client).await.unwrap();
    let (lease, started) = (Duration::from_millis(400), Instant::now());
    setting.start_with(Terms { lease, ..terms() });
    let taken = async {
        while !setting.directory.clients_on(&other).await.unwrap().is_empty() {
            sleep(Duration::from_millis(1)).await; // pacing: of the looks at the rows
        }
    };
    timeout(DEADLINE, taken).await.unwrap();
    assert!(started.elapsed() >= lease, "{:?}", started.elapsed());
}
