//! When a deferred recipient is tried again, and when it is given up: pure functions of the
//! number of attempts, the time of acceptance and now.
//!
//! A time is drawn once, when an attempt fails, and kept in the store; loading a letter never
//! draws again, so a restart changes neither the number of attempts nor the next time.

use std::time::Duration;

/// The schedule of retries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Wait after the first failed attempt; it doubles with each further one.
    pub min_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// Each wait is stretched by a random part of up to this fraction (0.0..=1.0), so that letters
    /// that failed together do not come back together.
    pub jitter: f64,
    /// After this time since acceptance a recipient is given up (RFC 5321 section 4.5.4.1 asks for
    /// 4 to 5 days).
    pub lifetime: Duration,
    /// When the sender is told that a letter is delayed; `None` never tells.
    pub delay_notice: Option<Duration>,
}

/// What follows from a temporary failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again at this time, Unix milliseconds.
    Again {
        /// When.
        next_attempt_ms: u64,
        /// Whether the sender is told now.
        notice: Notice,
    },
    /// The letter is too old: it bounces.
    Expired,
}

/// Whether a delay is reported to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Report it with this outcome.
    Due,
    /// Too early, switched off, or done already.
    NotDue,
}

/// What the store knows of a recipient whose attempt has just failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Attempts that ended, this one included; at least 1.
    pub attempts: u32,
    /// When the letter was accepted, Unix milliseconds.
    pub accepted_ms: u64,
    /// A delay was reported with an earlier outcome.
    pub delay_notified: bool,
}

impl Schedule {
    /// What follows from a temporary failure at `now_ms`.
    pub fn after_failure(&self, history: History, now_ms: u64, rng: &mut fastrand::Rng) -> Verdict {
        let expiry_ms = self.expiry_ms(history.accepted_ms);
        if now_ms >= expiry_ms {
            return Verdict::Expired;
        }
        let wait = self.backoff(history.attempts);
        let stretched = wait.mul_f64(1.0 + rng.f64() * self.jitter.clamp(0.0, 1.0));
        // The last attempt is made at the very end: a letter is not given up without one.
        let next_attempt_ms = now_ms.saturating_add(millis(stretched)).min(expiry_ms);
        let due = |after| now_ms >= history.accepted_ms.saturating_add(millis(after));
        let notice = match self.delay_notice {
            Some(after) if !history.delay_notified && due(after) => Notice::Due,
            _ => Notice::NotDue,
        };
        Verdict::Again {
            next_attempt_ms,
            notice,
        }
    }

    /// The wait after so many failed attempts, without jitter.
    pub fn backoff(&self, attempts: u32) -> Duration {
        // 2^32 times a millisecond is longer than any lifetime.
        let doublings = attempts.saturating_sub(1).min(32);
        let factor = 1u64 << doublings;
        let wait = millis(self.min_backoff).saturating_mul(factor);
        Duration::from_millis(wait.min(millis(self.max_backoff)).max(1))
    }

    /// When a letter is given up, Unix milliseconds.
    pub fn expiry_ms(&self, accepted_ms: u64) -> u64 {
        accepted_ms.saturating_add(millis(self.lifetime))
    }
}

/// Milliseconds of a duration; the longest ones are cut.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = 3_600_000;

    fn schedule() -> Schedule {
        Schedule {
            min_backoff: Duration::from_secs(300),
            max_backoff: Duration::from_secs(4000),
            jitter: 0.2,
            lifetime: Duration::from_secs(5 * 86_400),
            delay_notice: Some(Duration::from_secs(4 * 3600)),
        }
    }

    fn history(attempts: u32) -> History {
        History {
            attempts,
            accepted_ms: 1_000,
            delay_notified: false,
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<u64> = (1..=6).map(|n| schedule().backoff(n).as_secs()).collect();
        assert_eq!(waits, [300, 600, 1200, 2400, 4000, 4000]);
        assert_eq!(schedule().backoff(u32::MAX).as_secs(), 4000);
        assert_eq!(schedule().backoff(0).as_secs(), 300);
    }

    #[test]
    fn the_last_attempt_is_at_expiry_and_then_it_is_over() {
        let mut rng = fastrand::Rng::with_seed(7);
        let expiry = schedule().expiry_ms(1_000);
        let late = schedule().after_failure(history(90), expiry - 10, &mut rng);
        assert!(
            matches!(late, Verdict::Again { next_attempt_ms, .. } if next_attempt_ms == expiry)
        );
        assert_eq!(
            schedule().after_failure(history(91), expiry, &mut rng),
            Verdict::Expired
        );
    }

    #[test]
    fn a_delay_is_reported_once() {
        let mut rng = fastrand::Rng::with_seed(7);
        let notice = |schedule: Schedule, history, now, rng: &mut _| match schedule
            .after_failure(history, now, rng)
        {
            Verdict::Again { notice, .. } => notice,
            Verdict::Expired => panic!("not that old"),
        };
        let four = 1_000 + 4 * HOUR;
        assert_eq!(
            notice(schedule(), history(9), four - 1, &mut rng),
            Notice::NotDue
        );
        assert_eq!(notice(schedule(), history(9), four, &mut rng), Notice::Due);
        let told = History {
            delay_notified: true,
            ..history(9)
        };
        assert_eq!(notice(schedule(), told, four, &mut rng), Notice::NotDue);
        let off = Schedule {
            delay_notice: None,
            ..schedule()
        };
        assert_eq!(notice(off, history(9), four, &mut rng), Notice::NotDue);
    }

    proptest! {
        #[test]
        fn a_next_time_is_later_and_within_bounds(
            attempts in 1u32..200, age in 0u64..(5 * 86_400_000), seed: u64,
        ) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let now = 1_000 + age;
            let Verdict::Again { next_attempt_ms, .. } =
                schedule().after_failure(history(attempts), now, &mut rng)
            else {
                panic!("not expired");
            };
            let wait = millis(schedule().backoff(attempts));
            let expiry = schedule().expiry_ms(1_000);
            prop_assert!(next_attempt_ms > now && next_attempt_ms <= expiry);
            prop_assert!(next_attempt_ms >= (now + wait).min(expiry));
            prop_assert!(next_attempt_ms <= now + wait + wait / 5 + 1);
        }
    }
}
