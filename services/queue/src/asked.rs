//! Letters that an operator wants tried at once (`queue retry`).
//!
//! The store makes such a letter due now and says so; but where a site is left alone for a while, being
//! due is not enough. That the letter was asked for is seen in two ways: the lease holder hears the
//! store say that a letter is suddenly due ([`Agenda::told`](crate::agenda::Agenda::told)); and to all
//! processes its record shows a recipient that is due earlier than its last failure made it.

use std::time::Duration;

use postino_proto::store::v1::{Letter, RecipientState};
use tokio::time::Instant;

use crate::schedule::{Schedule, millis};

/// When an operator asked for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked(u64);

impl Asked {
    /// At this time, Unix milliseconds.
    pub(crate) fn at(unix_ms: u64) -> Self {
        Self(unix_ms)
    }

    /// Whether what the store said is about recipients of a letter that were tried before; else
    /// the letter is just new.
    pub(crate) fn is_about(self, letter: &Letter, recipients: &[u32]) -> bool {
        let mut states = letter.recipients.iter();
        states.any(|state| recipients.contains(&state.recipient) && state.attempts > 0)
    }

    /// What a letter's record shows of some of its recipients. A recipient that was kept from an
    /// attempt may look like one that was asked for; since a pause that began later stands, that
    /// is harmless.
    pub(crate) fn of(letter: &Letter, recipients: &[u32], schedule: &Schedule) -> Option<Self> {
        let states = letter.recipients.iter();
        states
            .filter(|state| recipients.contains(&state.recipient))
            .filter(|state| is_early(state, schedule))
            .map(|state| Self(state.next_attempt_ms))
            .max()
    }

    /// The same time on the clock that pauses are measured with.
    pub(crate) fn instant(self, now_ms: u64, now: Instant) -> Instant {
        let ago = Duration::from_millis(now_ms.saturating_sub(self.0));
        now.checked_sub(ago).unwrap_or(now)
    }
}

/// Whether a recipient is due earlier than its last failure made it. Its wait is drawn a moment before
/// the failure is recorded: an eighth is left for that.
fn is_early(state: &RecipientState, schedule: &Schedule) -> bool {
    let wait = millis(schedule.backoff(state.attempts));
    let earliest = state.last_attempt_ms.saturating_add(wait - wait / 8);
    state.attempts > 0 && state.next_attempt_ms < earliest
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        min_backoff: Duration::from_millis(800),
        max_backoff: Duration::from_millis(1600),
        jitter: 0.5,
        lifetime: Duration::from_secs(1000),
        delay_notice: None,
    };

    #[test]
    fn a_recipient_that_is_due_too_early_was_asked_for() {
        for (attempts, next_attempt_ms, expected) in [
            (0, 10_000, None),
            (1, 10_800, None),
            (1, 10_790, None),
            (1, 11_200, None),
            (1, 10_600, Some(10_600)),
            (2, 10_800, Some(10_800)),
            (2, 11_600, None),
        ] {
            let state = |recipient, next_attempt_ms| RecipientState {
                recipient,
                attempts,
                next_attempt_ms,
                last_attempt_ms: 10_000,
                ..RecipientState::default()
            };
            let letter = Letter {
                recipients: vec![state(0, u64::MAX), state(1, next_attempt_ms)],
                ..Letter::default()
            };
            let asked = Asked::of(&letter, &[0, 1], &SCHEDULE);
            assert_eq!(asked, expected.map(Asked), "{attempts} {next_attempt_ms}");
            assert_eq!(Asked::of(&letter, &[0], &SCHEDULE), None);
        }
    }

    #[test]
    fn a_time_is_the_same_on_both_clocks() {
        let now = Instant::now() + Duration::from_secs(100);
        let asked = Asked::at(7_000);
        assert_eq!(asked.instant(9_000, now), now - Duration::from_secs(2));
        assert_eq!(asked.instant(6_000, now), now);
    }
}
