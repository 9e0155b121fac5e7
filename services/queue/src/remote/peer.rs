//! Attempts that cross processes: the lease holder asks the process that works the site, keeps the
//! deadline moving while its lease is renewed, and alone settles.

use std::time::Duration;

use futures::{Stream, StreamExt};
use postino_client::CallError as Failure;
use postino_proto::queue::v1::attempt_step::Step;
use postino_proto::queue::v1::{
    AttemptExtension, AttemptOutcome, AttemptRequest, AttemptResponse, AttemptResult, AttemptStep,
};
use postino_proto::store::v1::Letter;
use postino_types::{Domain, EnhancedStatus, QueueId, Reply};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Parcel, Remote};
use crate::asked::Asked;
use crate::lease::Tenure;
use crate::outcome::{Attempted, Outcome};
use crate::schedule::millis;
use crate::sites::Postponed;
use crate::work::GroupEnd;

/// Longer than any attempt with the timeouts of RFC 5321 takes; the deadline that moves with the
/// lease is what counts.
const LONGEST: Duration = Duration::from_secs(3600);

/// What a peer is asked.
pub(super) struct Request<'a> {
    pub(super) parcel: &'a Parcel,
    pub(super) domain: &'a Domain,
    pub(super) letter: &'a Letter,
}

/// What came of asking a peer.
pub(super) enum Answer {
    /// The attempt ended there, or its outcome is unknown.
    End(GroupEnd),
    /// The peer certainly did nothing.
    NotReached,
}

impl Remote {
    /// Has a peer try a letter.
    pub(super) async fn ask_peer(
        &self,
        endpoint: &str,
        request: &Request<'_>,
        tenure: &Tenure,
    ) -> Answer {
        let parcel = request.parcel;
        let states = &request.letter.recipients;
        let first = parcel.recipients.first().map(|(index, _)| *index);
        let state = states.iter().find(|state| Some(state.recipient) == first);
        let begin = AttemptRequest {
            queue_id: parcel.id.to_string(),
            recipients: parcel.recipients.iter().map(|(index, _)| *index).collect(),
            domain: request.domain.to_string(),
            attempt: state.map_or(1, |state| state.attempts.saturating_add(1)),
            deadline_ms: left_ms(tenure),
        };
        let steps = steps(begin, tenure.clone(), self.terms.ttl / 5);
        match self.queue.attempt(endpoint, steps, LONGEST).await {
            Ok(response) => Answer::End(end_of(parcel, response)),
            Err(Failure::Unavailable(why)) => {
                tracing::debug!(endpoint, why, "a peer cannot be reached");
                Answer::NotReached
            }
            Err(Failure::Fault(_) | Failure::Refused { .. }) => Answer::NotReached,
            Err(Failure::Unknown(why)) => {
                tracing::warn!(queue_id = %parcel.id, endpoint, why, "a peer was lost");
                Answer::End(GroupEnd::results(parcel.all(&unknown(), "")))
            }
        }
    }

    /// The other side: tries a letter for its lease holder. Dropped when the holder ends the call.
    pub(crate) async fn attempt_for_peer(
        &self,
        mut steps: tonic::Streaming<AttemptStep>,
    ) -> Result<AttemptResponse, Status> {
        let Some(AttemptStep {
            step: Some(Step::Request(request)),
        }) = steps.message().await?
        else {
            return Err(Status::invalid_argument(
                "an attempt begins with its request",
            ));
        };
        let invalid = |what: &'static str| Status::invalid_argument(what);
        let id: QueueId = request.queue_id.parse().map_err(|_| invalid("queue-id"))?;
        let domain: Domain = request.domain.parse().map_err(|_| invalid("domain"))?;
        let tenure = Tenure::until(until(request.deadline_ms), CancellationToken::new());
        let letter = self.store.letter(id).await;
        let letter = letter.map_err(|error| Status::unavailable(error.to_string()))?;
        let letter = letter.ok_or_else(|| Status::not_found("the letter is settled"))?;
        let parcel = Parcel::new(id, &letter, &request.recipients)
            .map_err(|reply| Status::internal(reply.to_string()))?;
        let asked = Asked::of(&letter, &request.recipients, &self.schedule);
        let attempt = async {
            match self.plan(&parcel, &domain).await {
                Ok(hosts) => self.deliver_here(&parcel, &hosts, asked, &tenure).await,
                Err(end) => end,
            }
        };
        tokio::select! {
            end = attempt => Ok(response_of(end)),
            ended = extended(&mut steps, &tenure) => Err(ended),
        }
    }
}

/// The request, then extensions for as long as the tenure holds.
fn steps(
    begin: AttemptRequest,
    tenure: Tenure,
    every: Duration,
) -> impl Stream<Item = AttemptStep> + Send + 'static {
    let step = |step| AttemptStep { step: Some(step) };
    let extensions = futures::stream::unfold(tenure, move |tenure| async move {
        tokio::select! {
            () = tenure.lost().cancelled() => return None,
            () = tokio::time::sleep(every) => {}
        }
        let extension = AttemptExtension {
            deadline_ms: left_ms(&tenure),
        };
        (extension.deadline_ms > 0).then_some((step(Step::Extension(extension)), tenure))
    });
    futures::stream::iter([step(Step::Request(begin))]).chain(extensions)
}

/// Moves the deadline as the holder says; returns when the holder is gone or has lost its lease.
async fn extended(steps: &mut tonic::Streaming<AttemptStep>, tenure: &Tenure) -> Status {
    loop {
        match steps.message().await {
            Ok(Some(AttemptStep {
                step: Some(Step::Extension(extension)),
            })) => {
                tenure.extend(until(extension.deadline_ms));
            }
            Ok(Some(_)) => return Status::invalid_argument("not an extension"),
            Ok(None) => return Status::cancelled("the lease is over"),
            Err(status) => return status,
        }
    }
}

fn until(deadline_ms: u64) -> Instant {
    // A day at most: what is longer is a mistake, and must not overflow.
    Instant::now() + Duration::from_millis(deadline_ms.min(86_400_000))
}

fn left_ms(tenure: &Tenure) -> u64 {
    millis(tenure.deadline().saturating_duration_since(Instant::now()))
}

fn unknown() -> Reply {
    let text = "the process that tried was lost; the outcome is not known";
    Reply::new(451, EnhancedStatus::temporary(3, 0), text)
}

fn end_of(parcel: &Parcel, response: AttemptResponse) -> GroupEnd {
    let postponed = response.postponed_ms.map(Duration::from_millis);
    let result = |&(index, _): &(u32, _)| {
        let found = response
            .results
            .iter()
            .find(|result| result.recipient == index);
        let Some(found) = found else {
            return postponed
                .is_none()
                .then(|| Attempted::ours(index, &unknown()));
        };
        let outcome = match found.outcome() {
            AttemptOutcome::Delivered => Outcome::Delivered,
            AttemptOutcome::Permanent => Outcome::Permanent,
            AttemptOutcome::Temporary | AttemptOutcome::Unspecified => Outcome::Temporary,
        };
        let (reply, remote) = (found.reply.clone(), found.remote.clone());
        Some(Attempted {
            recipient: index,
            outcome,
            reply,
            remote,
        })
    };
    GroupEnd {
        results: parcel.recipients.iter().filter_map(result).collect(),
        postponed: postponed.map(Postponed::elsewhere),
    }
}

fn response_of(end: GroupEnd) -> AttemptResponse {
    AttemptResponse {
        results: end.results.into_iter().map(result_of).collect(),
        postponed_ms: end.postponed.map(|postponed| millis(postponed.wait)),
    }
}

fn result_of(attempted: Attempted) -> AttemptResult {
    let outcome = match attempted.outcome {
        Outcome::Delivered => AttemptOutcome::Delivered,
        Outcome::Temporary => AttemptOutcome::Temporary,
        Outcome::Permanent => AttemptOutcome::Permanent,
    };
    AttemptResult {
        recipient: attempted.recipient,
        outcome: outcome.into(),
        reply: attempted.reply,
        remote: attempted.remote,
    }
}
