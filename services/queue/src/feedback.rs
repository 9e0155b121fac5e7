//! How many connections a site gets: concurrency that follows the site's answers.
//!
//! The rule is the one Postfix describes in its SCHEDULER_README: a success gives back a part of a
//! connection, so that a cohort (as many deliveries as there are connections) of successes adds
//! one, and a cohort of failures takes one. A whole cohort of failures without a success between
//! means that the site is dead for now. "Failure" is of the connection or the greeting; a refusal
//! of a letter says nothing about the site.

use std::time::Duration;

use tokio::time::Instant;

/// Limits of a site's concurrency.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Where a site that nothing is known about begins.
    pub initial: u32,
    /// Never more.
    pub most: u32,
    /// How many cohorts may fail in a row before the site counts as dead.
    pub failed_cohorts: u32,
    /// How long a dead site is left alone the first time; doubles while it stays dead.
    pub min_pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
}

/// How a delivery to the site went, as far as the site is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The site answered and took part, whatever it said of the letter.
    Answered,
    /// No connection, a greeting that refuses, or a connection that broke.
    Failed,
}

/// The concurrency of one site.
#[derive(Debug, Clone)]
pub struct Concurrency {
    limits: Limits,
    window: u32,
    successes: f64,
    failures: f64,
    failed_cohorts: f64,
    pauses: u32,
    dead_until: Option<Instant>,
    /// When the last pause began.
    paused_at: Option<Instant>,
}

impl Concurrency {
    /// Nothing is known yet.
    pub fn new(limits: Limits) -> Self {
        let most = limits.most.max(1);
        Self {
            limits: Limits { most, ..limits },
            window: limits.initial.clamp(1, most),
            successes: 0.0,
            failures: 0.0,
            failed_cohorts: 0.0,
            pauses: 0,
            dead_until: None,
            paused_at: None,
        }
    }

    /// Deliveries that may run at once at `now`. After a pause one delivery finds out first.
    pub fn window(&self, now: Instant) -> u32 {
        match self.dead_until {
            Some(until) if now < until => 0,
            Some(_) => 1,
            None => self.window,
        }
    }

    /// How long the site is left alone, if it is dead at `now`.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let left = self.dead_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// An operator asked at a time for a delivery: a pause that began before that is over, and one
    /// delivery finds out. A later one stands, since the site was tried in between.
    pub fn ask(&mut self, asked: Instant, now: Instant) {
        if self.pause(now).is_some() && self.paused_at.is_some_and(|began| began < asked) {
            self.dead_until = Some(now);
            self.pauses = 0;
        }
    }

    /// Learns from a delivery that ended at `now`; `running` counts the deliveries that ran,
    /// this one included. The window only grows while it is used.
    pub fn learn(&mut self, signal: Signal, running: u32, now: Instant) {
        match signal {
            Signal::Answered => self.answered(running),
            Signal::Failed => self.failed(now),
        }
    }

    fn answered(&mut self, running: u32) {
        if self.dead_until.take().is_some() {
            self.window = self.limits.initial.clamp(1, self.limits.most);
        }
        (self.failed_cohorts, self.failures, self.pauses) = (0.0, 0.0, 0);
        if running < self.window || self.window >= self.limits.most {
            return;
        }
        self.successes += 1.0 / f64::from(self.window);
        // Sums of thirds must count as one.
        if self.successes > 1.0 - 1e-6 {
            self.successes = 0.0;
            self.window += 1;
        }
    }

    fn failed(&mut self, now: Instant) {
        if self.pause(now).is_some() {
            // Deliveries that were under way when the site died say nothing new.
            return;
        }
        let part = 1.0 / f64::from(self.window);
        self.successes = 0.0;
        self.failures += part;
        self.failed_cohorts += part;
        let probed = self.dead_until.is_some();
        if probed || self.failed_cohorts > f64::from(self.limits.failed_cohorts) - 1e-6 {
            self.dead_until = Some(now + self.next_pause());
            self.paused_at = Some(now);
            (self.failed_cohorts, self.failures) = (0.0, 0.0);
        } else if self.failures > 1.0 - 1e-6 {
            self.failures = 0.0;
            self.window = (self.window - 1).max(1);
        }
    }

    fn next_pause(&mut self) -> Duration {
        let factor = 1u32 << self.pauses.min(16);
        self.pauses += 1;
        self.limits
            .min_pause
            .saturating_mul(factor)
            .min(self.limits.max_pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            initial: 3,
            most: 5,
            failed_cohorts: 1,
            min_pause: Duration::from_secs(10),
            max_pause: Duration::from_secs(30),
        }
    }

    fn feed(site: &mut Concurrency, signal: Signal, times: u32, now: Instant) {
        for _ in 0..times {
            site.learn(signal, site.window(now), now);
        }
    }

    #[test]
    fn a_cohort_of_answers_adds_one_up_to_the_limit() {
        let now = Instant::now();
        let mut site = Concurrency::new(limits());
        feed(&mut site, Signal::Answered, 2, now);
        assert_eq!(site.window(now), 3);
        feed(&mut site, Signal::Answered, 1, now);
        assert_eq!(site.window(now), 4);
        feed(&mut site, Signal::Answered, 100, now);
        assert_eq!(site.window(now), 5);
    }

    #[test]
    fn an_idle_site_does_not_grow() {
        let now = Instant::now();
        let mut site = Concurrency::new(limits());
        for _ in 0..100 {
            site.learn(Signal::Answered, 1, now);
        }
        assert_eq!(site.window(now), 3);
    }

    #[test]
    fn a_failed_cohort_is_a_dead_site() {
        let now = Instant::now();
        let mut site = Concurrency::new(limits());
        feed(&mut site, Signal::Failed, 2, now);
        assert_eq!((site.window(now), site.pause(now)), (3, None));
        feed(&mut site, Signal::Answered, 1, now);
        feed(&mut site, Signal::Failed, 2, now);
        assert_eq!(
            site.pause(now),
            None,
            "an answer between starts a new cohort"
        );
        feed(&mut site, Signal::Failed, 1, now);
        assert_eq!(site.window(now), 0);
        assert_eq!(site.pause(now), Some(Duration::from_secs(10)));
    }

    #[test]
    fn failures_take_one_before_they_kill_where_more_cohorts_may_fail() {
        let now = Instant::now();
        let mut site = Concurrency::new(Limits {
            failed_cohorts: 3,
            ..limits()
        });
        feed(&mut site, Signal::Failed, 3, now);
        assert_eq!(site.window(now), 2);
        feed(&mut site, Signal::Failed, 2, now);
        assert_eq!(site.window(now), 1);
        feed(&mut site, Signal::Failed, 1, now);
        assert_eq!(site.window(now), 0);
    }

    #[test]
    fn an_operator_ends_a_pause_that_began_before() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut site = Concurrency::new(limits());
        site.ask(start, start);
        assert_eq!((site.window(start), site.pause(start)), (3, None));
        feed(&mut site, Signal::Failed, 3, start);
        site.ask(start, start + second);
        assert_eq!(
            site.pause(start + second),
            Some(9 * second),
            "a later pause"
        );
        site.ask(start + second, start + second);
        let now = start + second;
        assert_eq!((site.window(now), site.pause(now)), (1, None), "one probe");
        site.learn(Signal::Failed, 1, now);
        site.ask(start + second, now + second);
        assert_eq!(site.pause(now + second), Some(9 * second), "it was tried");
    }

    #[test]
    fn one_probe_decides_after_a_pause_and_pauses_grow() {
        let start = Instant::now();
        let mut site = Concurrency::new(limits());
        feed(&mut site, Signal::Failed, 3, start);
        // Stragglers do not prolong it.
        feed(&mut site, Signal::Failed, 3, start);
        let mut now = start;
        for seconds in [10, 20, 30, 30] {
            assert_eq!(site.pause(now), Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert_eq!((site.window(now), site.pause(now)), (1, None));
            site.learn(Signal::Failed, 1, now);
        }
        now += Duration::from_secs(30);
        site.learn(Signal::Answered, 1, now);
        assert_eq!((site.window(now), site.pause(now)), (3, None));
    }
}
