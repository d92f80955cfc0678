//! Runs without messages: connections that do nothing, and logins one after the other.
//!
//! It leaves to others: how a login goes ([`crate::client`]).

use std::{collections::HashMap, time::Duration};

use hdrhistogram::Histogram;

use crate::{
    Failure,
    client::Phase,
    clock::Clock,
    outcome::{Figures, Meter, Outcome},
    plan::Plan,
    pool::Pool,
    process::Usage,
    run::{log_in, seconds},
    traffic::Traffic,
    transport::Dialer,
};

/// Opens connections and tells what memory they take.
pub fn idle(plan: &Plan, dialer: Dialer) -> Result<Outcome, Failure> {
    let clock = Clock::new();
    let mut pool = Pool::new(dialer, clock)?;
    let mut nothing = Traffic::new()?;
    let clients = usize::try_from(plan.clients).unwrap_or(usize::MAX);
    let before = resident(plan)?;
    log_in(&mut pool, clock, &mut nothing, clients, |_, pool| plan.open_idle(pool))?;
    rest(&mut pool, clock, &mut nothing, plan.warm_up)?;
    let after = resident(plan)?;
    let meter = Meter::start(&plan.watched)?;
    let begin = clock.now();
    rest(&mut pool, clock, &mut nothing, plan.seconds)?;
    let taken = Duration::from_nanos(clock.now() - begin);
    let bytes_per_connection = (after.saturating_sub(before) << 10) / u64::from(plan.clients);
    let figures = Figures::Idle { connections: plan.clients, bytes_per_connection };
    Ok(Outcome::new(plan, taken, 0, meter.stop(0)?, figures))
}

fn resident(plan: &Plan) -> Result<u64, Failure> {
    plan.watched.iter().map(|watched| Ok(Usage::of(watched.pid)?.rss_kib)).sum()
}

fn rest(pool: &mut Pool, clock: Clock, nothing: &mut Traffic, secs: u64) -> Result<(), Failure> {
    let end = clock.now() + seconds(secs);
    while clock.now() < end {
        pool.wait(end, nothing)?;
    }
    Ok(())
}

/// Logs in and out again, as often as it can.
pub fn connect(plan: &Plan, dialer: Dialer) -> Result<Outcome, Failure> {
    let clock = Clock::new();
    let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3);
    let mut run = Connect {
        plan,
        clock,
        pool: Pool::new(dialer, clock)?,
        nothing: Traffic::new()?,
        began: HashMap::new(),
        count: 0,
        latency: latency.map_err(|_| Failure::Histogram)?,
    };
    for number in 0..usize::try_from(plan.clients).unwrap_or(usize::MAX) {
        run.began.insert(number, clock.now());
        plan.open_idle(&mut run.pool)?;
    }
    run.until(clock.now() + seconds(plan.warm_up))?;
    (run.count, run.latency) = (0, run.latency.clone());
    run.latency.reset();
    let meter = Meter::start(&plan.watched)?;
    let begin = clock.now();
    run.until(begin + seconds(plan.seconds))?;
    let taken = Duration::from_nanos(clock.now() - begin);
    let processes = meter.stop(run.count)?;
    let figures = Figures::Connect { logins: run.count, latency: (&run.latency).into() };
    Ok(Outcome::new(plan, taken, run.count, processes, figures))
}

struct Connect<'a> {
    plan: &'a Plan,
    clock: Clock,
    pool: Pool,
    nothing: Traffic,
    /// When each client began to connect.
    began: HashMap<usize, u64>,
    count: u64,
    latency: Histogram<u64>,
}

impl Connect<'_> {
    fn until(&mut self, end_ns: u64) -> Result<(), Failure> {
        let mut last_ns = self.clock.now();
        while self.clock.now() < end_ns && self.count < self.plan.count_max {
            self.pool.wait(end_ns.min(last_ns + seconds(SILENCE_SECS_MAX)), &mut self.nothing)?;
            let now = self.clock.now();
            let changed = std::mem::take(&mut self.pool.changed);
            if !changed.is_empty() {
                last_ns = now;
            }
            for number in changed {
                self.next(number, now)?;
            }
            self.pool.flush()?;
            if now - last_ns >= seconds(SILENCE_SECS_MAX) {
                return Err(Failure::Slow("a login"));
            }
        }
        Ok(())
    }

    fn next(&mut self, number: usize, now_ns: u64) -> Result<(), Failure> {
        match self.pool.phase(number) {
            Some(Phase::Ready) => {
                self.count += 1;
                let began = self.began.get(&number).copied().unwrap_or(now_ns);
                self.latency.saturating_record(now_ns - began);
                self.pool.leave(number);
            }
            Some(Phase::Gone) => {
                self.began.insert(number, now_ns);
                self.plan.reopen(number, &mut self.pool)?;
            }
            Some(Phase::Opening | Phase::Greeting | Phase::Subscribing | Phase::Leaving) | None => {
            }
        }
        Ok(())
    }
}

/// A broker that lets nobody in or out for so long is stuck.
const SILENCE_SECS_MAX: u64 = 10;
