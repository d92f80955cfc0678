//! How the other brokers are started: all without persistence, with `TCP_NODELAY`, and with limits
//! that no scene reaches, where they have such settings.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    broker::Running,
    process::{Process, free_address},
};

/// A program of Debian; some are in a folder that is not in every path.
pub(crate) fn debian(name: &str) -> PathBuf {
    let in_sbin = Path::new("/usr/sbin").join(name);
    if in_sbin.exists() { in_sbin } else { Path::new("/usr/bin").join(name) }
}

/// One mosquitto, and where it listens.
pub(crate) fn mosquitto(
    program: &Path,
    name: &'static str,
    bridge: &str,
    folder: &Path,
) -> anyhow::Result<(Process, SocketAddr)> {
    let at = free_address()?;
    let file = folder.join(format!("{name}.conf"));
    // Started by root, it would give that up, and its log with it.
    let settings = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence false\n\
         set_tcp_nodelay true\nmax_inflight_messages 0\nmax_queued_messages 0\n\
         log_dest file {log}\nlog_type error\nlog_type warning\n{bridge}",
        port = at.port(),
        log = folder.join(format!("{name}.file.log")).display(),
    );
    fs::write(&file, settings)?;
    let mut command = Command::new(program);
    let process = Process::start(name, command.arg("-c").arg(&file), folder)?;
    Ok((process.listens(at, folder)?, at))
}

/// Two, of which the first forwards everything to the second by its own bridge.
pub(crate) fn mosquittos(program: &Path, folder: &Path) -> anyhow::Result<Running> {
    let (second, subscribe_at) = mosquitto(program, "mosquitto-2", "", folder)?;
    let bridge = format!(
        "connection second\naddress {subscribe_at}\ntopic load/# out 2\ncleansession true\n\
         notifications false\nbridge_max_packet_size 0\n"
    );
    let (first, publish_at) = mosquitto(program, "mosquitto-1", &bridge, folder)?;
    Ok(Running::joined(vec![first, second], publish_at, subscribe_at))
}

/// Its MQTT stands on `JetStream`, which keeps QoS 1 in files: the folder should be in memory.
pub(crate) fn nats(program: &Path, folder: &Path) -> anyhow::Result<Running> {
    let (at, own) = (free_address()?, free_address()?);
    let file = folder.join("nats.conf");
    let settings = format!(
        "listen: \"{own}\"\nserver_name: compare\njetstream {{ store_dir: \"{store}\" }}\n\
         mqtt {{ host: \"127.0.0.1\", port: {port}, max_ack_pending: 65535 }}\n",
        store = folder.join("store").display(),
        port = at.port(),
    );
    fs::write(&file, settings)?;
    let mut command = Command::new(program);
    let process = Process::start("nats-server", command.arg("-c").arg(&file), folder)?;
    Ok(Running::alone(process.listens(at, folder)?, at))
}

/// Its log of messages is in memory.
pub(crate) fn rumqttd(program: &Path, folder: &Path) -> anyhow::Result<Running> {
    let at = free_address()?;
    let file = folder.join("rumqttd.toml");
    let settings = format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 10010\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         [v4.1]\nname = \"v4-1\"\nlisten = \"{at}\"\nnext_connection_delay_ms = 0\n\
         [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\n\
         max_inflight_count = 65535\ndynamic_filters = true\n"
    );
    fs::write(&file, settings)?;
    let mut command = Command::new(program);
    let process = Process::start("rumqttd", command.arg("-c").arg(&file), folder)?;
    Ok(Running::alone(process.listens(at, folder)?, at))
}

/// Its plugins for retained messages and rules stay at their defaults.
pub(crate) fn rmqttd(program: &Path, folder: &Path) -> anyhow::Result<Running> {
    let (at, rpc) = (free_address()?, free_address()?);
    let file = folder.join("rmqtt.toml");
    let settings = format!(
        "node.id = 1\nnode.busy.check_enable = false\nrpc.server_addr = \"{rpc}\"\n\
         log.to = \"console\"\nlog.level = \"warn\"\nplugins.dir = \"{plugins}\"\n\
         [listener.tcp.external]\naddr = \"{at}\"\nnodelay = true\nallow_anonymous = true\n\
         max_connections = 20000\nmax_handshaking_limit = 5000\nmin_keepalive = 0\n\
         max_inflight = 65535\nmax_mqueue_len = 1000000\nmax_packet_size = \"1m\"\n",
        plugins = folder.display(),
    );
    fs::write(&file, settings)?;
    let mut command = Command::new(program);
    let process = Process::start("rmqttd", command.arg("-f").arg(&file), folder)?;
    Ok(Running::alone(process.listens(at, folder)?, at))
}
