//! The rules of repeating a call: what a failed attempt proves, and how long to wait.

use std::error::Error;
use std::time::Duration;

use postino_proto::{Fault, FaultKind};
use tonic::{Code, ConnectError, Status};

use crate::CallError;

/// Whether a call may be made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Doing it twice is doing it once: reads, and writes known by an id.
    Always,
    /// Only if the last attempt certainly changed nothing.
    Unsubmitted,
}

/// What a failed attempt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was submitted; the leader is elsewhere, perhaps here.
    Elsewhere(Option<String>),
    /// Nothing was submitted; this node cannot serve at all.
    NodeDown(String),
    /// Nothing was submitted; too much to do at the moment.
    Busy(Fault),
    /// Nothing was submitted; the account is closed for a moment, while it moves.
    Moving(Fault),
    /// It may have been done.
    Lost(String),
    /// The answer.
    Final(CallError),
}

/// Reads a failed attempt.
pub(crate) fn judge(status: &Status) -> Verdict {
    if let Some(fault) = Fault::of(status) {
        return match fault.kind {
            FaultKind::NotLeader => Verdict::Elsewhere(fault.leader),
            FaultKind::Uninitialised => Verdict::NodeDown(fault.message),
            FaultKind::Overloaded => Verdict::Busy(fault),
            FaultKind::Moving => Verdict::Moving(fault),
            FaultKind::Unknown => Verdict::Lost(fault.message),
            _ => Verdict::Final(fault.into()),
        };
    }
    // A connection that never came up carried nothing.
    if has_source::<ConnectError>(status) {
        return Verdict::NodeDown(status.message().to_owned());
    }
    let lost = match status.code() {
        // Our servers say Unavailable with a fault; without one it comes from the transport, as do
        // Unknown (an answer without a status), and what ran into a deadline.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => true,
        // A broken HTTP/2 stream has its error as source; an answer has none.
        _ => status.source().is_some(),
    };
    match lost {
        true => Verdict::Lost(status.message().to_owned()),
        false => Verdict::Final(CallError::Refused {
            code: status.code(),
            text: status.message().to_owned(),
        }),
    }
}

fn has_source<E: Error + 'static>(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Waits between attempts: doubling, with jitter, so that clients do not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    redirects: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_millis(500);
    /// Redirects to a named leader that are followed at once.
    const FREE_REDIRECTS: u32 = 3;

    pub(crate) fn new() -> Self {
        Self {
            next: Self::FIRST,
            redirects: 0,
        }
    }

    /// The wait before the next attempt; `random` is in 0.0..1.0.
    pub(crate) fn wait(&mut self, random: f64) -> Duration {
        let wait = self.next.mul_f64(0.5 + random / 2.0);
        self.next = (self.next * 2).min(Self::LONGEST);
        wait
    }

    /// The wait before following a hint.
    pub(crate) fn redirect(&mut self, random: f64) -> Duration {
        self.redirects += 1;
        match self.redirects <= Self::FREE_REDIRECTS {
            true => Duration::ZERO,
            false => self.wait(random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_say_what_they_prove() {
        let judge = |fault: Fault| judge(&Status::from(fault));
        let hint = Some("http://b:1".to_owned());
        assert_eq!(
            judge(Fault::not_leader(hint.clone())),
            Verdict::Elsewhere(hint)
        );
        assert_eq!(judge(Fault::not_leader(None)), Verdict::Elsewhere(None));
        let kinds = [
            (FaultKind::Unknown, "lost"),
            (FaultKind::Overloaded, "busy"),
            (FaultKind::Uninitialised, "down"),
            (FaultKind::LeaseLost, "final"),
            (FaultKind::InUse, "final"),
            (FaultKind::OverQuota, "final"),
            (FaultKind::TooBig, "final"),
            (FaultKind::UploadLost, "final"),
            (FaultKind::WrongCluster, "final"),
            (FaultKind::Moving, "moving"),
            (FaultKind::Moved, "final"),
        ];
        for (kind, expected) in kinds {
            let found = match judge(Fault::new(kind, "x")) {
                Verdict::Lost(_) => "lost",
                Verdict::Busy(_) => "busy",
                Verdict::Moving(_) => "moving",
                Verdict::NodeDown(_) => "down",
                Verdict::Final(_) => "final",
                Verdict::Elsewhere(_) => "elsewhere",
            };
            assert_eq!(found, expected, "{kind:?}");
        }
    }

    #[test]
    fn an_answer_is_final_and_silence_is_not() {
        assert!(matches!(judge(&Status::not_found("x")), Verdict::Final(_)));
        assert!(matches!(judge(&Status::internal("x")), Verdict::Final(_)));
        assert!(matches!(judge(&Status::unavailable("x")), Verdict::Lost(_)));
        assert!(matches!(judge(&Status::cancelled("x")), Verdict::Lost(_)));
        assert!(matches!(
            judge(&Status::deadline_exceeded("x")),
            Verdict::Lost(_)
        ));
    }

    #[test]
    fn waits_grow_to_a_limit_and_redirects_are_free_at_first() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.redirect(1.0), Duration::ZERO);
        assert_eq!(backoff.wait(1.0), Duration::from_millis(20));
        assert_eq!(backoff.wait(0.0), Duration::from_millis(20));
        for _ in 0..10 {
            assert!(backoff.wait(1.0) <= Duration::from_millis(500));
        }
        assert_eq!(backoff.redirect(1.0), Duration::ZERO);
        assert_eq!(backoff.redirect(1.0), Duration::ZERO);
        assert_eq!(backoff.redirect(1.0), Duration::from_millis(500));
    }
}
