//! What an attempt means for a recipient: the decision between its result and the commit.

use postino_types::{EnhancedStatus, Reply, StatusClass};

use crate::schedule::{History, Notice, Schedule, Verdict};

/// How an attempt ended for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Taken.
    Delivered,
    /// Failed; may work later. An unknown outcome counts as this.
    Temporary,
    /// Failed for good.
    Permanent,
}

/// The result of an attempt for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// Index in the envelope.
    pub recipient: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// The reply, or what we know instead, on one line.
    pub reply: String,
    /// The host that said so; empty if it was ourselves.
    pub remote: String,
}

/// What is settled for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Done.
    Delivered,
    /// Tried again at this time.
    Deferred {
        /// Unix milliseconds.
        next_attempt_ms: u64,
        /// Whether the sender is told of the delay with it.
        notice: Notice,
    },
    /// Given up; the sender is told.
    Bounced(Reason),
}

/// Why a recipient is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The attempt failed for good.
    Refused,
    /// The attempt failed for now, and the letter is too old for another one.
    Expired,
}

/// Decides what an attempt means.
pub fn decide(
    outcome: Outcome,
    history: History,
    schedule: &Schedule,
    now_ms: u64,
    rng: &mut fastrand::Rng,
) -> Decision {
    match outcome {
        Outcome::Delivered => Decision::Delivered,
        Outcome::Permanent => Decision::Bounced(Reason::Refused),
        Outcome::Temporary => match schedule.after_failure(history, now_ms, rng) {
            Verdict::Again {
                next_attempt_ms,
                notice,
            } => Decision::Deferred {
                next_attempt_ms,
                notice,
            },
            Verdict::Expired => Decision::Bounced(Reason::Expired),
        },
    }
}

/// The enhanced status that a notification names for a reply such as `550 5.1.1 no such user`.
/// A reply without one, or with one of another class than what is reported, gives `x.0.0`. A letter
/// that expired failed with 4.4.7, "delivery time expired" (RFC 3463 section 3.5).
pub fn status_of(reply: &str, decision: &Decision) -> EnhancedStatus {
    let told: Option<EnhancedStatus> = reply
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok());
    match decision {
        Decision::Delivered => EnhancedStatus::success(0, 0),
        Decision::Bounced(Reason::Expired) => EnhancedStatus::temporary(4, 7),
        Decision::Bounced(Reason::Refused) => match told {
            Some(status) if status.class() == StatusClass::Permanent => status,
            _ => EnhancedStatus::permanent(0, 0),
        },
        Decision::Deferred { .. } => match told {
            Some(status) if status.class() == StatusClass::PersistentTransient => status,
            _ => EnhancedStatus::temporary(0, 0),
        },
    }
}

impl Attempted {
    /// One of our own replies, as the result of an attempt.
    pub fn ours(recipient: u32, reply: &Reply) -> Self {
        let outcome = match reply.code() {
            200..=299 => Outcome::Delivered,
            500..=599 => Outcome::Permanent,
            _ => Outcome::Temporary,
        };
        Self {
            recipient,
            outcome,
            reply: reply.to_string(),
            remote: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SCHEDULE: Schedule = Schedule {
        min_backoff: Duration::from_secs(300),
        max_backoff: Duration::from_secs(4000),
        jitter: 0.0,
        lifetime: Duration::from_secs(1000),
        delay_notice: None,
    };

    fn decided(outcome: Outcome, now_ms: u64) -> Decision {
        let history = History {
            attempts: 1,
            accepted_ms: 0,
            delay_notified: false,
        };
        decide(
            outcome,
            history,
            &SCHEDULE,
            now_ms,
            &mut fastrand::Rng::with_seed(1),
        )
    }

    #[test]
    fn every_outcome_has_its_decision() {
        assert_eq!(decided(Outcome::Delivered, u64::MAX), Decision::Delivered);
        assert_eq!(
            decided(Outcome::Permanent, 0),
            Decision::Bounced(Reason::Refused)
        );
        let again = Decision::Deferred {
            next_attempt_ms: 300_000,
            notice: Notice::NotDue,
        };
        assert_eq!(decided(Outcome::Temporary, 0), again);
        assert_eq!(
            decided(Outcome::Temporary, 1_000_000),
            Decision::Bounced(Reason::Expired)
        );
    }

    #[test]
    fn a_notification_names_a_status_of_the_right_class() {
        let refused = Decision::Bounced(Reason::Refused);
        let expired = Decision::Bounced(Reason::Expired);
        let deferred = decided(Outcome::Temporary, 0);
        for (reply, decision, expected) in [
            ("550 5.1.1 no such user", &refused, "5.1.1"),
            ("550 no such user", &refused, "5.0.0"),
            ("550 4.1.1 confused", &refused, "5.0.0"),
            ("", &refused, "5.0.0"),
            ("451 4.3.0 busy", &expired, "4.4.7"),
            ("451 4.3.0 busy", &deferred, "4.3.0"),
            ("421 closing", &deferred, "4.0.0"),
        ] {
            assert_eq!(
                status_of(reply, decision).to_string(),
                expected,
                "{reply:?}"
            );
        }
    }

    #[test]
    fn our_own_replies_are_results() {
        let reply = Reply::new(451, EnhancedStatus::temporary(4, 3), "DNS");
        let attempted = Attempted::ours(2, &reply);
        assert_eq!(
            (attempted.recipient, attempted.outcome),
            (2, Outcome::Temporary)
        );
        assert_eq!(attempted.reply, "451 4.4.3 DNS");
    }
}
