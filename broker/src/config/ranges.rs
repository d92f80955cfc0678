//! What types cannot say of the keys: ranges, names, and what must fit together.

use std::{net::SocketAddr, sync::Arc};

use causeway_common::{
    config::{
        self, Backend, DURATION_MAX, Invalid, ensure, ensure_directory, ensure_durations,
        ensure_link_files, ensure_shared,
    },
    id::{MEMBER_NAME, valid_member_name},
    link::CLIENT_PACKET_BYTES_MAX,
    tls::{BadFile, ClientCertificates, TlsServer, share_an_authority},
};

use super::{Config, Listener, address};
use crate::{auth::Auth, limits::Budget};

impl config::Config for Config {
    fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    fn validate(&self) -> Result<(), Invalid> {
        ensure(valid_member_name(&self.node.name), "node.name", MEMBER_NAME)?;
        for (key, at_least_one) in self.counts() {
            ensure(at_least_one, key, "at least 1")?;
        }
        let Self { connections, session, .. } = self;
        for (key, places) in [
            ("connections.max_connections", connections.max_connections),
            ("connections.refusals_max", connections.refusals_max),
            ("connections.handshakes_max", connections.handshakes_max),
        ] {
            ensure((1..=PLACES_MAX).contains(&places), key, "1 to 1,000,000")?;
        }
        let packet = (1..=CLIENT_PACKET_BYTES_MAX).contains(&session.packet_bytes_max);
        ensure(packet, "session.packet_bytes_max", "1 to 268,434,436")?;
        ensure(self.store.segment_bytes >= 4096, "store.segment_bytes", "at least 4,096")?;
        for (key, rate) in self.limits.rates() {
            ensure(rate <= RATE_MAX, key, "0 to 1,000,000,000")?;
        }
        let burst = (1..=3600).contains(&self.limits.burst_secs);
        ensure(burst, "limits.burst_secs", "1 to 3,600")?;
        let memory = self.limits.memory_bytes_max;
        let enough = memory == 0 || memory >= MEMORY_MIN;
        ensure(enough, "limits.memory_bytes_max", "0, or at least 33,554,432")?;
        ensure_durations(self.durations())?;
        let often = self.sys.sys_interval_secs <= DURATION_MAX;
        ensure(often, "sys.sys_interval_secs", "0 to 1,000,000")?;
        self.ensure_listeners()?;
        Auth::load(&self.auth, &Arc::new(Budget::new(0)), None)?;
        let directory = &self.directory;
        ensure_directory(
            directory.backend,
            &directory.url,
            directory.lease_secs,
            directory.command_timeout_ms,
        )?;
        self.ensure_reachable()?;
        self.ensure_link()?;
        ensure_shared(&self.link.secret, &directory.prefix, &self.runtime, &self.log)
    }

    fn retired(layer: &config::Table) -> Option<&'static str> {
        let is_old = layer.contains_key("listener_tls")
            || layer.get("listener").is_some_and(config::Value::is_table);
        is_old.then_some(
            "`[listener]` and `[listener_tls]` are now `[[listener]]`, once for each address \
             (`--set listener.0.address=…` for the first), and `[connections]`, with \
             max_connections, connect_timeout_secs, refusals_max, handshake_timeout_secs and \
             handshakes_max",
        )
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

    /// Every address that the node listens on, after its key; the last one is for operators.
    fn bound(&self) -> Vec<(String, SocketAddr)> {
        let listeners = self.listener.iter().enumerate();
        let clients =
            listeners.map(|(number, one)| (format!("listener.{number}.address"), one.address));
        let others = [("link.address", self.link.address), (ADMIN, self.admin.address)];
        clients.chain(others.map(|(key, address)| (key.to_owned(), address))).collect()
    }

    /// Others must find a node where the directory says that it is.
    fn ensure_reachable(&self) -> Result<(), Invalid> {
        const KEY: &str = "node.advertised_address";
        const HOST: &str = "a host name or an IP address, without a port";
        let advertised = &self.node.advertised_address;
        if !advertised.is_empty() {
            return ensure(address::valid_host(advertised), KEY, HOST);
        }
        let mut bound = self.bound().into_iter().take_while(|(key, _)| key != ADMIN);
        let anywhere = bound.find(|(_, address)| address.ip().is_unspecified());
        match (self.directory.backend, anywhere) {
            (Backend::Redis, Some((key, address))) => {
                let needed = format!("{HOST}: {key} is {address}, which tells others none");
                ensure(false, KEY, &needed)
            }
            (Backend::Redis, None) | (Backend::Memory, _) => Ok(()),
        }
    }

    /// Clients must have a door, each door an address of its own, and its files must be right.
    fn ensure_listeners(&self) -> Result<(), Invalid> {
        ensure(!self.listener.is_empty(), "listener", "at least one `[[listener]]`")?;
        let mut known: Vec<(String, SocketAddr)> = Vec::new();
        for (key, address) in self.bound() {
            let other = known.iter().find(|(_, other)| *other == address && address.port() != 0);
            if let Some((other, _)) = other {
                ensure(false, key, &format!("an address of its own, not that of {other}"))?;
            } else {
                known.push((key, address));
            }
        }
        for (number, listener) in self.listener.iter().enumerate() {
            listener.ensure_whole(number)?;
            self.ensure_files(number, listener)?;
        }
        Ok(())
    }

    /// The files of a listener. Its clients must not pass for bridges, nor bridges for clients.
    fn ensure_files(&self, number: usize, listener: &Listener) -> Result<(), Invalid> {
        if !listener.is_tls() {
            return Ok(());
        }
        let section = format!("listener.{number}");
        let blame = |bad: BadFile| bad.in_config(&section, "client_authority");
        TlsServer::load(listener.tls_files()).map_err(blame)?;
        let Some(link) = self.link.tls_files() else {
            return Ok(());
        };
        let asks = listener.client_certificates != ClientCertificates::None;
        let shared = asks
            && share_an_authority(&link.authority, &listener.client_authority).map_err(blame)?;
        let accepted = format!("an authority of its own, not that of {section}.client_authority");
        ensure(!shared, "link.authority", &accepted)
    }

    /// Links are for bridges alone: by a secret of the cluster's own, or by certificates.
    fn ensure_link(&self) -> Result<(), Invalid> {
        let link = &self.link;
        ensure_link_files((&link.certificate, &link.key, &link.authority), &link.revocation_lists)?;
        if let Some(files) = link.tls_files() {
            let blame = |bad: BadFile| bad.in_config("link", "authority");
            return TlsServer::load(files).map(drop).map_err(blame);
        }
        let private = link.address.ip().is_loopback() || !link.secret.is_known_to_all();
        let accepted = "one of your own: link.address can be reached from other machines, and \
                        everybody knows this one";
        ensure(private, "link.secret", accepted)
    }

    fn durations(&self) -> [(&'static str, u64); 10] {
        let Self { connections, link, directory, retained, .. } = self;
        [
            ("connections.connect_timeout_secs", connections.connect_timeout_secs),
            ("connections.handshake_timeout_secs", connections.handshake_timeout_secs),
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

const ADMIN: &str = "admin.address";

/// Far more than a process has file descriptors, and less than overflows anything.
const PLACES_MAX: usize = 1_000_000;

/// Twice what a node takes that does nothing.
const MEMORY_MIN: u64 = 32 * 1024 * 1024;

/// One a nanosecond.
const RATE_MAX: u64 = 1_000_000_000;
