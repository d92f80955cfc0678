//! What types cannot say of the keys: ranges, names, and what must fit together.

use causeway_common::{
    config::{
        self, Backend, DURATION_MAX, Invalid, ensure, ensure_directory, ensure_durations,
        ensure_shared,
    },
    id::{MEMBER_NAME, valid_member_name},
    link::CLIENT_PACKET_BYTES_MAX,
};

use super::{Config, address};
use crate::listener::tls::Identity;

impl config::Config for Config {
    fn validate(&self) -> Result<(), Invalid> {
        ensure(valid_member_name(&self.node.name), "node.name", MEMBER_NAME)?;
        for (key, at_least_one) in self.counts() {
            ensure(at_least_one, key, "at least 1")?;
        }
        let Self { listener, listener_tls: tls, session, .. } = self;
        for (key, places) in [
            ("listener.max_connections", listener.max_connections),
            ("listener.refusals_max", listener.refusals_max),
            ("listener_tls.handshakes_max", tls.handshakes_max),
        ] {
            ensure((1..=PLACES_MAX).contains(&places), key, "1 to 1,000,000")?;
        }
        let packet = (1..=CLIENT_PACKET_BYTES_MAX).contains(&session.packet_bytes_max);
        ensure(packet, "session.packet_bytes_max", "1 to 268,434,436")?;
        ensure(self.store.segment_bytes >= 4096, "store.segment_bytes", "at least 4,096")?;
        ensure_durations(self.durations())?;
        let often = self.sys.sys_interval_secs <= DURATION_MAX;
        ensure(often, "sys.sys_interval_secs", "0 to 1,000,000")?;
        if tls.address.is_some() {
            Identity::load(&tls.certificate, &tls.key)?;
        }
        let directory = &self.directory;
        ensure_directory(
            directory.backend,
            &directory.url,
            directory.lease_secs,
            directory.command_timeout_ms,
        )?;
        self.ensure_reachable()?;
        ensure_shared(&self.link.secret, &directory.prefix, &self.log)
    }
}

impl Config {
    fn counts(&self) -> [(&'static str, bool); 8] {
        let session = &self.session;
        [
            ("session.max_inflight", session.max_inflight > 0),
            ("session.queue_messages_max", session.queue_messages_max > 0),
            ("session.queue_bytes_max", session.queue_bytes_max > 0),
            ("session.topic_levels_max", session.topic_levels_max > 0),
            ("session.filters_max", session.filters_max > 0),
            ("session.owed_messages_max", session.owed_messages_max > 0),
            ("session.owed_bytes_max", session.owed_bytes_max > 0),
            ("session.keep_alive_secs_max", session.keep_alive_secs_max > 0),
        ]
    }

    /// Others must find a node where the directory says that it is.
    fn ensure_reachable(&self) -> Result<(), Invalid> {
        const KEY: &str = "node.advertised_address";
        const HOST: &str = "a host name or an IP address, without a port";
        let advertised = &self.node.advertised_address;
        if !advertised.is_empty() {
            return ensure(address::valid_host(advertised), KEY, HOST);
        }
        let bound = [self.listener.address, self.link.address];
        let anywhere = bound.iter().any(|address| address.ip().is_unspecified());
        let shared = self.directory.backend == Backend::Redis;
        let needed = format!("{HOST}: listener.address or link.address tells others none");
        ensure(!(anywhere && shared), KEY, &needed)
    }

    fn durations(&self) -> [(&'static str, u64); 10] {
        let Self { listener, listener_tls: tls, link, directory, retained, .. } = self;
        [
            ("listener.connect_timeout_secs", listener.connect_timeout_secs),
            ("listener_tls.handshake_timeout_secs", tls.handshake_timeout_secs),
            ("link.route_timeout_secs", link.route_timeout_secs),
            ("link.takeover_timeout_secs", link.takeover_timeout_secs),
            ("link.probe_interval_secs", link.probe_interval_secs),
            ("link.home_grace_secs", link.home_grace_secs),
            ("retained.tombstone_secs", retained.tombstone_secs),
            ("retained.sync_interval_secs", retained.sync_interval_secs),
            ("directory.lease_secs", directory.lease_secs),
            ("directory.command_timeout_ms", directory.command_timeout_ms),
        ]
    }
}

/// Far more than a process has file descriptors, and less than overflows anything.
const PLACES_MAX: usize = 1_000_000;
