//! The client of other queue pods.

use std::time::Duration;

use futures::Stream;
use postino_proto::queue::v1::queue_client::QueueClient as Stub;
use postino_proto::queue::v1::{AttemptResponse, AttemptStep};
use tokio::time::timeout;
use tonic::Response;

use crate::retry::{Verdict, judge};
use crate::{CallError, Channels};

/// Queue pods among themselves. Cheap to clone.
#[derive(Clone)]
pub struct QueueClient {
    channels: Channels,
}

impl QueueClient {
    /// Calls to queue pods over these channels.
    pub fn new(channels: Channels) -> Self {
        Self { channels }
    }

    /// Asks a pod to try a letter, and waits for the result up to `limit`. `steps` is the request,
    /// then extensions of its deadline for as long as the attempt may go on. Never repeated:
    /// [`CallError::Unknown`] means that the letter may have been sent.
    pub async fn attempt<S>(
        &self,
        endpoint: &str,
        steps: S,
        limit: Duration,
    ) -> Result<AttemptResponse, CallError>
    where
        S: Stream<Item = AttemptStep> + Send + 'static,
    {
        let channel = self.channels.get(endpoint);
        let channel = channel.map_err(|error| CallError::Unavailable(error.to_string()))?;
        let mut stub = Stub::new(channel).max_decoding_message_size(self.channels.max_message());
        match timeout(limit, stub.attempt(steps)).await {
            Ok(Ok(answer)) => Ok(Response::into_inner(answer)),
            Ok(Err(status)) => Err(match judge(&status) {
                Verdict::Final(error) => error,
                Verdict::Busy(fault) | Verdict::Moving(fault) => fault.into(),
                Verdict::NodeDown(text) => CallError::Unavailable(text),
                Verdict::Elsewhere(_) => CallError::Unavailable("the pod declined".to_owned()),
                Verdict::Lost(text) => CallError::Unknown(text),
            }),
            Err(_) => Err(CallError::Unknown("no answer in time".to_owned())),
        }
    }
}
