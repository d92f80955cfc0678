//! Who connects from where: how many at a time, and how many a second.
//!
//! An IPv6 address counts by its first 64 bits, which is what one customer is given. It leaves to
//! `listener` what becomes of one too many.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use ahash::AHashMap;
use parking_lot::Mutex;
use thiserror::Error;

use super::{Bucket, Rate};

/// The connections of every address.
#[derive(Debug)]
pub struct Addresses {
    /// At a time; 0: any number.
    connections_max: usize,
    rate: Option<Rate>,
    known: Mutex<Known>,
}

/// A connection that counts, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Crowded {
    /// As many as there may be are there.
    #[error("too many connections of its address")]
    Number,
    /// They come too fast.
    #[error("too many connections of its address a second")]
    Rate,
}

#[derive(Debug, Default)]
struct Known {
    callers: AHashMap<IpAddr, Caller>,
    /// After so many more, those are looked for of whom nothing need be known.
    until_sweep: usize,
}

#[derive(Debug)]
struct Caller {
    connections: usize,
    bucket: Option<Bucket>,
}

impl Addresses {
    /// `connections_max` at a time from one address, 0 for any number, and no faster than `rate`.
    pub fn new(connections_max: usize, rate: Option<Rate>) -> Self {
        let known = Mutex::new(Known { callers: AHashMap::new(), until_sweep: SWEEP_MIN });
        Self { connections_max, rate, known }
    }

    /// Takes a connection, or says why not. Without limits nothing is remembered.
    pub fn admit(self: &Arc<Self>, now: Instant, from: IpAddr) -> Result<Option<Seat>, Crowded> {
        if self.connections_max == 0 && self.rate.is_none() {
            return Ok(None);
        }
        let address = counted_as(from);
        let mut known = self.known.lock();
        known.sweep(now);
        let caller = known.callers.entry(address).or_insert_with(|| Caller {
            connections: 0,
            bucket: self.rate.map(|rate| Bucket::new(rate, now)),
        });
        if self.connections_max > 0 && caller.connections >= self.connections_max {
            return Err(Crowded::Number);
        }
        if let Some(bucket) = &mut caller.bucket {
            if !bucket.wait(now).is_zero() {
                return Err(Crowded::Rate);
            }
            bucket.take(now, 1);
        }
        caller.connections += 1;
        Ok(Some(Seat { addresses: Arc::clone(self), address }))
    }
}

impl Known {
    /// Forgets who is not there and has not been lately, as seldom as there are many.
    fn sweep(&mut self, now: Instant) {
        if self.until_sweep > 0 {
            self.until_sweep -= 1;
            return;
        }
        self.callers.retain(|_, caller| {
            caller.connections > 0 || caller.bucket.as_ref().is_some_and(|one| !one.is_full(now))
        });
        self.until_sweep = SWEEP_MIN.max(self.callers.len());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut known = self.addresses.known.lock();
        let Some(caller) = known.callers.get_mut(&self.address) else {
            return;
        };
        caller.connections = caller.connections.saturating_sub(1);
        if caller.connections == 0 && caller.bucket.is_none() {
            known.callers.remove(&self.address);
        }
    }
}

fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

const SWEEP_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_so_many_seats() {
        let now = Instant::now();
        let addresses = Arc::new(Addresses::new(2, None));
        // what comes, and whether it is the same caller as ::ffff:10.0.0.1 or 2001:db8::1
        let table = [
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ];
        for (first, second, same) in table {
            let admit = |text| addresses.admit(now, address(text));
            let seats = [admit(first).unwrap(), admit(first).unwrap()];
            let other = admit(second);
            assert_eq!(other.as_ref().err(), same.then_some(&Crowded::Number), "{second}");
            drop((seats, other));
            assert!(admit(first).is_ok(), "seats are given back");
            assert!(addresses.known.lock().callers.is_empty());
        }
    }

    #[test]
    fn each_address_has_a_rate_that_outlives_its_connections() {
        let start = Instant::now();
        let addresses = Arc::new(Addresses::new(0, Rate::new(2, 1)));
        // ms, address, refused
        for (at, from, refused) in [
            (0, "10.0.0.1", None),
            (0, "10.0.0.1", None),
            (0, "10.0.0.1", Some(Crowded::Rate)),
            (0, "10.0.0.2", None),
            (499, "10.0.0.1", Some(Crowded::Rate)),
            (500, "10.0.0.1", None),
            (501, "10.0.0.1", Some(Crowded::Rate)),
        ] {
            let now = start + Duration::from_millis(at);
            assert_eq!(addresses.admit(now, address(from)).err(), refused, "{from} at {at}");
        }
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let start = Instant::now();
        let addresses = Arc::new(Addresses::new(1, Rate::new(1, 1)));
        for second in 0..10 {
            let now = start + Duration::from_secs(10 * second);
            for number in 0..5000_u32 {
                let from = IpAddr::V4((number + 1).into());
                assert!(addresses.admit(now, from).is_ok());
            }
        }
        let later = start + Duration::from_hours(1);
        for number in 0..5000_u32 {
            drop(
                addresses
                    .admit(later + Duration::from_secs(number.into()), IpAddr::V4(number.into())),
            );
        }
        let left = addresses.known.lock().callers.len();
        assert!(left <= 2 * SWEEP_MIN, "{left}");
    }

    #[test]
    fn without_limits_nothing_is_remembered() {
        let addresses = Arc::new(Addresses::new(0, None));
        let seat = addresses.admit(Instant::now(), address("::1")).unwrap();
        assert!(seat.is_none() && addresses.known.lock().callers.is_empty());
    }
}
