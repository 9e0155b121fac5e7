//! One letter: its due recipients are tried in groups, and the outcomes recorded.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use postino_proto::mail::v1::Recipient;
use postino_proto::store::v1::{
    Bounced, Deferred, Delivered, Letter, LetterOutcome, RecipientOutcome, recipient_outcome,
};
use postino_types::{EnhancedStatus, QueueId, Reply};
use tracing::{Instrument, Span};

use crate::asked::Asked;
use crate::group::{Group, groups, later, recipient};
use crate::lease::Lease;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::notify::{Notifier, Reported, letter_span};
use crate::outcome::{Attempted, Decision, Outcome, decide};
use crate::ports::Store;
use crate::remote::Remote;
use crate::schedule::{History, Notice, Schedule, millis};
use crate::settle::{NotSettled, Settler};
use crate::sites::Postponed;
use crate::state::{Commit, Event, State};

/// Retries that start this soon after acceptance belong to the letter's own trace.
const ONE_TRACE_MS: u64 = 15 * 60 * 1000;

/// How the attempt of a group ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupEnd {
    /// Results of the recipients that were tried.
    pub(crate) results: Vec<Attempted>,
    /// No attempt was made for the others.
    pub(crate) postponed: Option<Postponed>,
}

impl GroupEnd {
    /// All were tried.
    pub(crate) fn results(results: Vec<Attempted>) -> Self {
        Self {
            results,
            postponed: None,
        }
    }

    /// None was tried.
    pub(crate) fn postponed(postponed: Postponed) -> Self {
        Self {
            results: Vec::new(),
            postponed: Some(postponed),
        }
    }

    /// Whether none was tried.
    pub(crate) fn is_postponed(&self) -> bool {
        self.results.is_empty() && self.postponed.is_some()
    }

    /// Whether a recipient was tried.
    fn tried(&self, recipient: u32) -> bool {
        self.results
            .iter()
            .any(|result| result.recipient == recipient)
    }
}

/// When a letter comes up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Never: it is settled.
    Done,
    /// At this time, which the store knows; Unix milliseconds.
    Scheduled(u64),
    /// At this time, which only this process knows; Unix milliseconds.
    Postponed(u64),
}

/// What works letters needs; shared by all shards of the process.
pub(crate) struct Desk {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// Filing into mailboxes.
    pub(crate) local: Local,
    /// Sending to other servers.
    pub(crate) remote: Arc<Remote>,
    /// Telling senders.
    pub(crate) notifier: Notifier,
    /// When to try again.
    pub(crate) schedule: Schedule,
    /// Wait after a failure inside the cluster.
    pub(crate) internal_retry: Duration,
    /// Counters.
    pub(crate) metrics: Metrics,
}

/// Now, in Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

impl Desk {
    /// Works a letter once; `asked` if an operator may have asked for that.
    pub(crate) async fn work(
        &self,
        id: QueueId,
        asked: Option<Asked>,
        lease: &Lease,
        settler: &Settler,
    ) -> Next {
        let letter = match self.store.letter(id).await {
            Ok(Some(letter)) => letter,
            Ok(None) => return Next::Done,
            Err(error) => {
                tracing::debug!(queue_id = %id, %error, "a due letter cannot be read yet");
                return Next::Postponed(now_ms() + millis(self.internal_retry));
            }
        };
        let now = now_ms();
        let job = Job {
            id,
            letter: &letter,
            asked,
            lease,
            settler,
        };
        let mut ends: FuturesUnordered<_> = groups(&letter, now)
            .into_iter()
            .map(|group| self.group_alone(&job, group))
            .collect();
        let mut next = later(&letter, now);
        while let Some(end) = ends.next().await {
            next = next.earlier(end);
        }
        next
    }

    /// Tries one group. If that panics, the other groups must not go with it: an outcome that is being
    /// recorded would be forgotten here, and its recipients tried, and their sender told, again.
    async fn group_alone(&self, job: &Job<'_>, group: Group) -> Next {
        let attempt = AssertUnwindSafe(self.group(job, group)).catch_unwind();
        attempt.await.unwrap_or_else(|_| {
            tracing::error!(queue_id = %job.id, "the work on a part of a letter broke off");
            Next::Postponed(now_ms() + millis(self.schedule.min_backoff))
        })
    }

    /// Tries one group and records its outcome, under its own span.
    async fn group(&self, job: &Job<'_>, group: Group) -> Next {
        if job.letter.remote_held && matches!(group, Group::Remote { .. }) {
            // Nor does its time run out. Whoever releases it has the queue told.
            return Next::Postponed(now_ms() + millis(self.schedule.min_backoff));
        }
        let span = attempt_span(job, &group);
        let attempt = async {
            let mut end = self.attempt(job, &group).await;
            if end.postponed.is_some()
                && let Some(expired) = self.expired(job.letter, group.recipients(), &end)
            {
                end.results.extend(expired);
                end.postponed = None;
            }
            let now = now_ms();
            let postponed = match &end.postponed {
                Some(postponed) => Next::Postponed(now + millis(postponed.wait).max(1)),
                None => Next::Done,
            };
            let suspended = suspended(job.letter, group.recipients(), &end, now);
            if end.results.is_empty() {
                Span::current().record("mail.outcome", "postponed");
            }
            if end.results.is_empty() && suspended.is_empty() {
                return postponed;
            }
            end.results
                .iter()
                .for_each(|result| self.metrics.attempted(group.to(), result.outcome));
            let ended = self.conclude(job, end.results, suspended).await;
            ended.earlier(postponed)
        };
        attempt.instrument(span).await
    }

    async fn attempt(&self, job: &Job<'_>, group: &Group) -> GroupEnd {
        match group {
            Group::Local { shard, recipients } => {
                self.local.deliver(job.letter, *shard, recipients).await
            }
            Group::Remote { domain, recipients } => {
                let tenure = &job.lease.tenure;
                self.remote
                    .deliver(job.id, job.letter, domain, recipients, tenure, job.asked)
                    .await
            }
            Group::Broken { recipients } => {
                let reply = Reply::new(553, EnhancedStatus::permanent(1, 3), "not an address");
                GroupEnd::results(
                    recipients
                        .iter()
                        .map(|&r| Attempted::ours(r, &reply))
                        .collect(),
                )
            }
        }
    }

    /// For recipients that were not tried though their time is over: what was last said of them.
    fn expired(
        &self,
        letter: &Letter,
        recipients: &[u32],
        end: &GroupEnd,
    ) -> Option<Vec<Attempted>> {
        let accepted_ms = letter.envelope.as_ref()?.accepted_ms;
        if now_ms() < self.schedule.expiry_ms(accepted_ms) {
            return None;
        }
        let result = |&recipient: &u32| {
            let last = letter
                .recipients
                .iter()
                .find(|state| state.recipient == recipient);
            let (reply, remote) = last.map_or_else(Default::default, |state| {
                (state.last_reply.clone(), state.last_remote.clone())
            });
            Attempted {
                recipient,
                outcome: Outcome::Temporary,
                reply,
                remote,
            }
        };
        Some(
            recipients
                .iter()
                .filter(|index| !end.tried(**index))
                .map(result)
                .collect(),
        )
    }

    /// Decides what the results mean and records it, and what is decided of others.
    async fn conclude(
        &self,
        job: &Job<'_>,
        mut results: Vec<Attempted>,
        decided: Vec<(Attempted, Decision)>,
    ) -> Next {
        let now = now_ms();
        let mut decisions: Vec<Decision> = results
            .iter()
            .map(|result| self.decision(job.letter, result, now))
            .collect();
        for (result, decision) in decided {
            results.push(result);
            decisions.push(decision);
        }
        let notifications = match self.notifications(job, &results, &decisions, now).await {
            Ok(notifications) => notifications,
            Err(error) => {
                tracing::warn!(queue_id = %job.id, %error, "an outcome waits for its notification");
                decisions
                    .iter_mut()
                    .for_each(|decision| self.hold_back(decision, now));
                Vec::new()
            }
        };
        debug_assert!(
            all_legal(job.letter, &results, &decisions),
            "see the table in state.rs"
        );
        log_outcomes(job.id, &results, &decisions);
        let outcome = LetterOutcome {
            queue_id: job.id.to_string(),
            recipients: results
                .iter()
                .zip(&decisions)
                .map(|(result, decision)| {
                    recipient_outcome(result, decision, attempt(job.letter, result.recipient))
                })
                .collect(),
            notifications,
        };
        let span = tracing::info_span!("settle mail.queue", mail.queue_id = %job.id);
        match job.settler.settle(outcome).instrument(span).await {
            Ok(()) => {
                self.observe(job.letter, &decisions, now);
                next_of(&decisions)
            }
            Err(NotSettled::LeaseLost) => Next::Done,
            Err(NotSettled::Refused) => Next::Postponed(now + millis(self.schedule.min_backoff)),
        }
    }

    fn decision(&self, letter: &Letter, result: &Attempted, now: u64) -> Decision {
        let state = letter
            .recipients
            .iter()
            .find(|state| state.recipient == result.recipient);
        let history = History {
            attempts: attempt(letter, result.recipient),
            accepted_ms: letter
                .envelope
                .as_ref()
                .map_or(0, |envelope| envelope.accepted_ms),
            delay_notified: state.is_some_and(|state| state.delay_notified),
        };
        decide(
            result.outcome,
            history,
            &self.schedule,
            now,
            &mut fastrand::Rng::new(),
        )
    }

    async fn notifications(
        &self,
        job: &Job<'_>,
        results: &[Attempted],
        decisions: &[Decision],
        now: u64,
    ) -> Result<Vec<postino_proto::store::v1::NewLetter>, crate::notify::NotNow> {
        let unknown = Recipient::default();
        let pairs: Vec<Reported<'_>> = results
            .iter()
            .zip(decisions)
            .filter(|(_, decision)| is_reported(decision))
            .map(|(attempted, decision)| Reported {
                recipient: recipient(job.letter, attempted.recipient).unwrap_or(&unknown),
                attempted,
                decision,
            })
            .collect();
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let made = self
            .notifier
            .notification(job.id, job.letter, &pairs, now)
            .await?;
        Ok(made.into_iter().collect())
    }

    /// Turns a decision that needs a notification into one that does not: a bounce is put off, a
    /// notice of a delay comes with a later deferral.
    fn hold_back(&self, decision: &mut Decision, now: u64) {
        match decision {
            Decision::Bounced(_) => {
                let next_attempt_ms = now + millis(self.schedule.min_backoff);
                *decision = Decision::Deferred {
                    next_attempt_ms,
                    notice: Notice::NotDue,
                };
            }
            Decision::Deferred { notice, .. } => *notice = Notice::NotDue,
            Decision::Delivered => {}
        }
    }

    fn observe(&self, letter: &Letter, decisions: &[Decision], now: u64) {
        let accepted_ms = letter
            .envelope
            .as_ref()
            .map_or(now, |envelope| envelope.accepted_ms);
        let delay = Duration::from_millis(now.saturating_sub(accepted_ms));
        let delivered = decisions
            .iter()
            .filter(|decision| **decision == Decision::Delivered);
        delivered.for_each(|_| self.metrics.delivered_after(delay));
    }
}

struct Job<'a> {
    id: QueueId,
    letter: &'a Letter,
    asked: Option<Asked>,
    lease: &'a Lease,
    settler: &'a Settler,
}

impl Next {
    /// The earlier of two.
    fn earlier(self, other: Self) -> Self {
        match (self, other) {
            (Self::Done, next) | (next, Self::Done) => next,
            (a, b) if a.at() <= b.at() => a,
            (_, b) => b,
        }
    }

    fn at(self) -> u64 {
        match self {
            Self::Done => u64::MAX,
            Self::Scheduled(at) | Self::Postponed(at) => at,
        }
    }
}

/// Recipients that wait for a site which is left alone, and of whom nothing was said so far: what is
/// said of the site is noted, so that nobody waits without a reason.
fn suspended(
    letter: &Letter,
    recipients: &[u32],
    end: &GroupEnd,
    now: u64,
) -> Vec<(Attempted, Decision)> {
    let Some(Postponed {
        wait,
        reason: Some(reason),
    }) = &end.postponed
    else {
        return Vec::new();
    };
    let decision = Decision::Deferred {
        next_attempt_ms: now + millis(*wait).max(1),
        notice: Notice::NotDue,
    };
    let states = letter.recipients.iter();
    states
        .filter(|state| recipients.contains(&state.recipient) && !end.tried(state.recipient))
        .filter(|state| state.last_reply.is_empty())
        .map(|state| (Attempted::ours(state.recipient, reason), decision.clone()))
        .collect()
}

fn is_reported(decision: &Decision) -> bool {
    matches!(
        decision,
        Decision::Bounced(_)
            | Decision::Deferred {
                notice: Notice::Due,
                ..
            }
    )
}

/// Whether every outcome may be settled, as the table of states has it.
fn all_legal(letter: &Letter, results: &[Attempted], decisions: &[Decision]) -> bool {
    let legal = |(result, decision): (&Attempted, &Decision)| {
        let state = letter
            .recipients
            .iter()
            .find(|state| state.recipient == result.recipient);
        let state = state.and_then(|state| State::of(state.status()));
        let event = match decision {
            Decision::Delivered => Event::Delivered,
            Decision::Deferred { .. } => Event::Deferred,
            Decision::Bounced(_) => Event::Failed,
        };
        let after = state.and_then(|state| state.after(event));
        after.is_some_and(|(_, commit)| commit == Commit::Settle)
    };
    results.iter().zip(decisions).all(legal)
}

fn next_of(decisions: &[Decision]) -> Next {
    let times = decisions.iter().filter_map(|decision| match decision {
        Decision::Deferred {
            next_attempt_ms, ..
        } => Some(*next_attempt_ms),
        _ => None,
    });
    times.min().map_or(Next::Done, Next::Scheduled)
}

/// The number of the attempt that is under way for a recipient, from 1.
fn attempt(letter: &Letter, recipient: u32) -> u32 {
    let state = letter
        .recipients
        .iter()
        .find(|state| state.recipient == recipient);
    state.map_or(0, |state| state.attempts).saturating_add(1)
}

fn recipient_outcome(result: &Attempted, decision: &Decision, attempt: u32) -> RecipientOutcome {
    let (reply, remote) = (result.reply.clone(), result.remote.clone());
    let outcome = match decision {
        Decision::Delivered => recipient_outcome::Outcome::Delivered(Delivered { reply, remote }),
        Decision::Deferred {
            next_attempt_ms,
            notice,
        } => recipient_outcome::Outcome::Deferred(Deferred {
            next_attempt_ms: *next_attempt_ms,
            reply,
            remote,
            delay_notified: *notice == Notice::Due,
        }),
        Decision::Bounced(_) => recipient_outcome::Outcome::Bounced(Bounced { reply, remote }),
    };
    RecipientOutcome {
        recipient: result.recipient,
        outcome: Some(outcome),
        attempt,
    }
}

/// The span of an attempt: part of the letter's trace while that is young, later one of its own
/// with a link.
fn attempt_span(job: &Job<'_>, group: &Group) -> Span {
    let now = now_ms();
    let mut states = job.letter.recipients.iter();
    let state = states.find(|state| group.recipients().contains(&state.recipient));
    let (attempts, due_ms) = state.map_or((0, now), |s| (s.attempts, s.next_attempt_ms));
    let envelope = job.letter.envelope.as_ref();
    let span = tracing::info_span!(
        parent: None,
        "process mail.queue",
        otel.kind = "consumer",
        mail.queue_id = %job.id,
        email.message_id = envelope.map(|envelope| envelope.message_id.as_str()),
        mail.attempt = attempts + 1,
        mail.wait_ms = now.saturating_sub(due_ms),
        mail.recipient_domain = group.destination(),
        mail.recipients = group.recipients().len(),
        mail.site = tracing::field::Empty,
        mail.outcome = tracing::field::Empty,
    );
    let letter_span = letter_span(job.letter);
    let accepted_ms = envelope.map_or(0, |envelope| envelope.accepted_ms);
    if attempts == 0 || now.saturating_sub(accepted_ms) < ONE_TRACE_MS {
        letter_span.adopt(&span);
    }
    letter_span.link(&span);
    span
}

/// One line per recipient, with domains only.
fn log_outcomes(id: QueueId, results: &[Attempted], decisions: &[Decision]) {
    for (result, decision) in results.iter().zip(decisions) {
        let outcome = match decision {
            Decision::Delivered => "delivered",
            Decision::Deferred { .. } => "deferred",
            Decision::Bounced(_) => "bounced",
        };
        Span::current().record("mail.outcome", outcome);
        tracing::info!(
            queue_id = %id,
            recipient = result.recipient,
            outcome,
            remote = result.remote,
            reply = result.reply,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_dead_site_gets_a_reason_once() {
        use postino_proto::store::v1::RecipientState;
        let state = |recipient, last_reply: &str| RecipientState {
            recipient,
            last_reply: last_reply.to_owned(),
            ..RecipientState::default()
        };
        let letter = Letter {
            recipients: vec![state(0, ""), state(1, "451 x"), state(2, ""), state(3, "")],
            ..Letter::default()
        };
        let wait = Duration::from_millis(50);
        let reason = Reply::plain(451, "dead");
        let paused = Postponed {
            wait,
            reason: Some(reason.clone()),
        };
        let mut end = GroupEnd::postponed(paused);
        end.results.push(Attempted::ours(2, &reason));
        let decision = Decision::Deferred {
            next_attempt_ms: 1_050,
            notice: Notice::NotDue,
        };
        let expected = [(Attempted::ours(0, &reason), decision)];
        assert_eq!(suspended(&letter, &[0, 1, 2], &end, 1_000), expected);
        end.postponed = Some(Postponed::briefly(wait));
        assert_eq!(suspended(&letter, &[0, 1, 2], &end, 1_000), []);
    }

    #[test]
    fn the_earliest_time_counts() {
        let next = Next::Done
            .earlier(Next::Scheduled(20))
            .earlier(Next::Postponed(10));
        assert_eq!(next, Next::Postponed(10));
        assert_eq!(Next::Done.earlier(Next::Done), Next::Done);
    }
}
