//! Runs without messages: connections that do nothing, and logins one after the other.
//!
//! It leaves to others: how a login goes ([`crate::client`]).

use std::{collections::HashMap, ops::Range, thread, time::Duration};

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
pub fn connect(plan: &Plan, dialer: &Dialer) -> Result<Outcome, Failure> {
    let clock = Clock::new();
    let begin_ns = clock.now() + seconds(plan.warm_up);
    let phase = begin_ns..begin_ns + seconds(plan.seconds);
    thread::scope(|scope| {
        let thread = |part| {
            let phase = phase.clone();
            scope.spawn(move || {
                Connect::begin(plan, dialer, clock, part)?.measure(&phase, || Ok(()))
            })
        };
        let others: Vec<_> = (1..plan.threads).map(thread).collect();
        let run = Connect::begin(plan, dialer, clock, 0)?;
        let (mut meter, mut since_ns) = (None, begin_ns);
        let (mut count, mut latency) = run.measure(&phase, || {
            // Earlier, if as many as are wanted have logged in by then.
            since_ns = clock.now();
            meter = Some(Meter::start(&plan.watched)?);
            Ok(())
        })?;
        let taken = Duration::from_nanos(clock.now() - since_ns);
        for other in others {
            let (more, theirs) = other.join().map_err(|_| Failure::Thread)??;
            count += more;
            latency.add(theirs).map_err(|_| Failure::Histogram)?;
        }
        let processes = meter.map_or(Ok(Vec::new()), |meter| meter.stop(count))?;
        let figures = Figures::Connect { logins: count, latency: (&latency).into() };
        Ok(Outcome::new(plan, taken, count, processes, figures))
    })
}

/// The logins of one thread.
struct Connect<'a> {
    plan: &'a Plan,
    /// Which of the threads.
    part: usize,
    clock: Clock,
    pool: Pool,
    nothing: Traffic,
    /// When each client began to connect.
    began: HashMap<usize, u64>,
    count: u64,
    latency: Histogram<u64>,
}

impl<'a> Connect<'a> {
    /// Every thread has its share of the clients.
    fn begin(plan: &'a Plan, dialer: &Dialer, clock: Clock, part: u32) -> Result<Self, Failure> {
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3);
        let mut run = Self {
            plan,
            part: index(part),
            clock,
            pool: Pool::new(dialer.clone(), clock)?,
            nothing: Traffic::new()?,
            began: HashMap::new(),
            count: 0,
            latency: latency.map_err(|_| Failure::Histogram)?,
        };
        let share = (part..plan.clients).step_by(index(plan.threads)).count();
        for number in 0..share {
            run.began.insert(number, clock.now());
            plan.open_named(run.name(number), &mut run.pool)?;
        }
        Ok(run)
    }

    /// What a client is called among those of all threads.
    fn name(&self, number: usize) -> usize {
        number * index(self.plan.threads) + self.part
    }

    /// Counts the logins of a time, and how long they took; `begins` is called when that begins.
    fn measure(
        mut self,
        phase: &Range<u64>,
        begins: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(u64, Histogram<u64>), Failure> {
        self.until(phase.start)?;
        self.count = 0;
        self.latency.reset();
        begins()?;
        self.until(phase.end)?;
        Ok((self.count, self.latency))
    }

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
                self.plan.reopen((number, self.name(number)), &mut self.pool)?;
            }
            Some(Phase::Opening | Phase::Greeting | Phase::Subscribing | Phase::Leaving) | None => {
            }
        }
        Ok(())
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A broker that lets nobody in or out for so long is stuck.
const SILENCE_SECS_MAX: u64 = 10;
