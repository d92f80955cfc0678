//! A run with messages: connect, warm up, measure, let the last ones arrive.
//!
//! It leaves to others: what is sent ([`crate::traffic`]) and over what ([`crate::pool`]).

use std::time::Duration;

use crate::{
    Failure,
    client::Phase,
    clock::Clock,
    outcome::{Figures, Messages, Meter, Outcome},
    packet::QoS,
    plan::Plan,
    pool::Pool,
    traffic::{Counts, Traffic},
    transport::Dialer,
};

/// Runs a plan whose scenario has messages.
pub fn run(plan: &Plan, dialer: Dialer) -> Result<Outcome, Failure> {
    let clock = Clock::new();
    let mut pool = Pool::new(dialer, clock)?;
    let cast = plan.cast();
    let mut traffic = plan.traffic(&cast)?;
    log_in(&mut pool, clock, &mut traffic, cast.len(), |number, pool| {
        cast.get(number).map_or(Ok(()), |part| plan.open(part, pool))
    })?;
    let mut run = Run { plan, clock, pool, traffic, counts: Counts::default(), is_sending: true };
    run.traffic.start(clock.now());
    run.until(clock.now() + seconds(plan.warm_up))?;
    let outcome = run.measure()?;
    run.part()?;
    Ok(outcome)
}

/// Opens clients, some at a time, until all have logged in.
pub(crate) fn log_in(
    pool: &mut Pool,
    clock: Clock,
    traffic: &mut Traffic,
    clients: usize,
    open: impl Fn(usize, &mut Pool) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let deadline = clock.now() + seconds(LOGIN_SECS_MAX);
    let mut ready = 0;
    while ready < clients {
        while pool.len() < clients && pool.len() < ready + LOGINS_AT_A_TIME {
            open(pool.len(), pool)?;
        }
        pool.wait(deadline, traffic)?;
        pool.flush()?;
        ready += pool.changed.drain(..).count();
        if clock.now() >= deadline {
            return Err(Failure::Slow("the logins"));
        }
    }
    Ok(())
}

struct Run<'a> {
    plan: &'a Plan,
    clock: Clock,
    pool: Pool,
    traffic: Traffic,
    /// When the measured phase began.
    counts: Counts,
    is_sending: bool,
}

impl Run<'_> {
    fn measure(&mut self) -> Result<Outcome, Failure> {
        let meter = Meter::start(&self.plan.watched)?;
        self.counts = self.traffic.counts();
        let begin = self.clock.now();
        self.traffic.measure(begin..u64::MAX);
        self.until(begin + seconds(self.plan.seconds))?;
        let end = self.clock.now();
        self.traffic.measure(begin..end);
        let counts = self.traffic.counts();
        let delivered = counts.delivered - self.counts.delivered;
        let processes = meter.stop(delivered)?;
        self.drain()?;
        let figures = Figures::Messages(Messages {
            sent: counts.sent - self.counts.sent,
            delivered,
            latency: self.traffic.latency().into(),
            sender_late: self.traffic.lateness().into(),
            lost: self.traffic.lost(),
            disordered: self.traffic.counts().disordered,
            given_up: self.traffic.given_up(),
        });
        let taken = Duration::from_nanos(end - begin);
        Ok(Outcome::new(self.plan, taken, delivered, processes, figures))
    }

    /// Sends and hears until a time has come, or the count of deliveries is full.
    fn until(&mut self, end_ns: u64) -> Result<(), Failure> {
        let mut look_ns = 0;
        loop {
            let now = self.clock.now();
            let counted = self.traffic.counts().delivered - self.counts.delivered;
            if now >= end_ns || counted >= self.plan.count_max {
                return Ok(());
            }
            if now >= look_ns {
                self.traffic.lose_patience(now, self.patience());
                look_ns = now + LOOK_NS;
            }
            self.turn(now, end_ns.min(look_ns))?;
        }
    }

    fn turn(&mut self, now_ns: u64, until_ns: u64) -> Result<(), Failure> {
        let mut until_ns = until_ns;
        if self.is_sending {
            if let Some(due) = self.traffic.next_due(now_ns) {
                until_ns = until_ns.min(due);
            }
            while let Some((stream, publisher)) = self.traffic.next_ripe() {
                if let Some(out) = self.pool.out(publisher) {
                    self.traffic.send(stream, now_ns, out);
                }
            }
        }
        self.pool.flush()?;
        self.pool.wait(until_ns, &mut self.traffic)
    }

    fn drain(&mut self) -> Result<(), Failure> {
        self.is_sending = false;
        let end = self.clock.now() + seconds(DRAIN_SECS_MAX);
        while self.clock.now() < end && !self.traffic.is_complete() {
            let now = self.clock.now();
            self.turn(now, now + LOOK_NS)?;
        }
        Ok(())
    }

    /// A broker may drop QoS 0, and shall answer for the rest.
    fn patience(&self) -> u64 {
        seconds(if self.plan.qos == QoS::AtMostOnce { 1 } else { 10 })
    }

    fn part(&mut self) -> Result<(), Failure> {
        for number in 0..self.pool.len() {
            self.pool.leave(number);
        }
        self.pool.flush()?;
        let end = self.clock.now() + seconds(2);
        let mut here = self.pool.len();
        while here > 0 && self.clock.now() < end {
            self.pool.wait(end, &mut self.traffic)?;
            let pool = &mut self.pool;
            let changed = std::mem::take(&mut pool.changed);
            here -= changed.iter().filter(|&&n| pool.phase(n) == Some(Phase::Gone)).count();
        }
        Ok(())
    }
}

/// Nanoseconds.
pub(crate) fn seconds(count: u64) -> u64 {
    count.saturating_mul(1_000_000_000)
}

/// No broker's backlog of connections should overflow.
const LOGINS_AT_A_TIME: usize = 64;

/// All of them together.
const LOGIN_SECS_MAX: u64 = 60;

/// For what is under way at the end.
const DRAIN_SECS_MAX: u64 = 10;

/// Time between two looks for what does not move.
const LOOK_NS: u64 = 200_000_000;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpListener},
        thread,
    };

    use clap::Parser as _;

    use super::*;

    /// A broker that reads one CONNECT, answers with these bytes and closes.
    fn broker_that_says(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 256]).unwrap();
            stream.write_all(answer).unwrap();
        });
        address
    }

    fn failure(answer: &'static [u8]) -> Failure {
        let at = broker_that_says(answer).to_string();
        let plan = Plan::parse_from(["load", "idle", "--clients", "1", "--at", &at]);
        crate::run(&plan).unwrap_err()
    }

    #[test]
    fn a_broker_that_closes_a_connection_ends_the_run() {
        assert!(matches!(failure(b""), Failure::Closed(Phase::Greeting)));
        assert!(matches!(failure(&[0x20, 2, 0, 0]), Failure::Closed(Phase::Ready)));
    }

    #[test]
    fn a_broker_that_refuses_a_client_ends_the_run() {
        assert!(matches!(failure(&[0x20, 2, 0, 5]), Failure::Refused(5)));
    }
}
