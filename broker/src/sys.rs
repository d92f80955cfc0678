//! The task that lets the hub say under `$SYS` how this node is, and what the system adds to that.
//!
//! It leaves to others: what is said, and to whom ([`crate::hub::sys`]).

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::hub::{Hub, sys::Memory};

/// Lets the hub speak at once, and then every so often, until the task is aborted; an interval of 0 is
/// silence.
pub async fn say(hub: Arc<Mutex<Hub>>, interval_secs: u64) {
    if interval_secs == 0 {
        return;
    }
    let mut ticks = interval(Duration::from_secs(interval_secs));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let memory = memory();
        hub.lock().say_sys(Instant::now().into_std(), memory);
    }
}

/// The memory of this process; none where the system does not tell it (`/proc` is Linux's).
pub(crate) fn memory() -> Option<Memory> {
    read_memory(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn read_memory(status: &str) -> Option<Memory> {
    let bytes = |name| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory { bytes: bytes("VmRSS")?, bytes_max: bytes("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tbroker\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        let memory = Memory { bytes: 1_048_576, bytes_max: 2_097_152 };
        assert_eq!(read_memory(status), Some(memory));
        assert_eq!(read_memory("Name:\tbroker\nVmRSS:\t1024 kB\n"), None);
        assert_eq!(read_memory("VmRSS:\t1024\nVmHWM:\t2048\n"), None);
    }

    #[test]
    fn this_process_has_some() {
        let now = memory().unwrap();
        assert!(now.bytes > 0 && now.bytes_max >= now.bytes, "{now:?}");
    }
}
