//! What the processes under load cost, as /proc tells it.

use std::{fs, str::FromStr, time::Duration};

use crate::Failure;

/// A process that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What to call it in the outcome.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

impl FromStr for Watched {
    type Err = String;

    /// `name=pid`, or a number alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').unwrap_or(("broker", text));
        let pid = pid.parse().map_err(|_| format!("`{pid}` is no number of a process"))?;
        Ok(Self { name: name.to_owned(), pid })
    }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its threads, in user and in system mode.
    pub cpu: Duration,
    /// Resident memory.
    pub rss_kib: u64,
}

impl Usage {
    /// Of a process that lives.
    pub fn of(pid: u32) -> Result<Self, Failure> {
        let gone = |_| Failure::Process(pid);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(gone)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(gone)?;
        let cpu = cpu(&stat, rustix::param::clock_ticks_per_second());
        cpu.zip(rss_kib(&status))
            .map(|(cpu, rss_kib)| Self { cpu, rss_kib })
            .ok_or(Failure::Process(pid))
    }
}

fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The name in brackets may contain anything; the state after it is the third field.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_nanos((user + system) * (1_000_000_000 / ticks_per_second)))
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_user_and_system_time_whatever_the_name() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 9 9 9";
        assert_eq!(cpu(stat, 100), Some(Duration::from_secs(2)));
    }

    #[test]
    fn the_process_itself_can_be_watched() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss_kib > 100, "{usage:?}");
        assert!("x=y".parse::<Watched>().is_err());
        let named = Watched { name: "node-1".into(), pid: 12 };
        assert_eq!("node-1=12".parse(), Ok(named));
    }
}
