//! The one cluster that all tests share: two nodes and a bridge.
//!
//! Each test has names and topics of its own on it, so that all may run at once.

use std::sync::atomic::{AtomicU32, Ordering};

use causeway_tests::{cluster::Cluster, keeper::Keeper};
use tokio::sync::OnceCell;

/// The cluster; it ends with the program.
pub(crate) async fn cluster() -> &'static Cluster {
    static STAGE: OnceCell<(Cluster, Keeper)> = OnceCell::const_new();
    let start = async || {
        // What nodes say under `$SYS` is waited for.
        let cluster = Cluster::builder().set_nodes("sys.sys_interval_secs=1");
        cluster.start().await.until_exit()
    };
    &STAGE.get_or_init(start).await.0
}

/// Where a client connects that needs no second one.
pub(crate) async fn port() -> u16 {
    cluster().await.node(1).mqtt_port()
}

/// A client id, user name or topic level of which no other test has heard.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Two places for clients: the same node, or two.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// The port for the first client.
    pub(crate) here: u16,
    /// The port for the second.
    pub(crate) there: u16,
    root: String,
}

impl Way {
    fn new(here: u16, there: u16) -> Self {
        Self { here, there, root: unique("way") }
    }

    /// A client id of this run.
    #[expect(clippy::unused_self, reason = "reads as what it is: a name of this way")]
    pub(crate) fn id(&self, name: &str) -> String {
        unique(name)
    }

    /// A topic of this run, or a filter that other runs' topics do not match.
    pub(crate) fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.root)
    }
}

/// Runs a test with both clients on one node, and once more with each on its own.
pub(crate) async fn both_ways(test: impl AsyncFn(Way)) {
    let cluster = cluster().await;
    let (first, second) = (cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port());
    println!("both clients on one node");
    test(Way::new(first, first)).await;
    println!("the clients on two nodes");
    test(Way::new(first, second)).await;
}
