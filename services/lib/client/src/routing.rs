//! The client of the routing service.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postino_config::{Duration, SettingError};
use postino_proto::routing::v1::routing_client::RoutingClient as Stub;
use postino_proto::routing::v1::{
    CheckSenderRequest, CheckSenderResponse, PlanRequest, PlanResponse, ResolveRequest,
    ResolveResponse,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tonic::{Response, Status};

use crate::retry::{Backoff, Verdict, judge};
use crate::{CallError, Channel, Channels};

/// Section `[routing_client]`: how services talk to the routing service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingClientConfig {
    /// Endpoints, http://HOST:PORT; used in turn.
    pub endpoints: Vec<String>,
    /// How long a call may take, with everything that is tried. Plans may wait for name servers.
    pub call_timeout: Duration,
    /// How long one attempt waits for its answer.
    pub attempt_timeout: Duration,
}

impl Default for RoutingClientConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            call_timeout: Duration::secs(30),
            attempt_timeout: Duration::secs(20),
        }
    }
}

impl RoutingClientConfig {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        let rules = [
            (
                self.attempt_timeout > Duration::default(),
                "attempt_timeout must not be 0",
            ),
            (
                self.attempt_timeout <= self.call_timeout,
                "attempt_timeout must be at most call_timeout",
            ),
        ];
        postino_config::check("routing_client", &rules)
    }
}

/// The routing service. All its calls only read, so they are repeated on the next endpoint until
/// the deadline. Cheap to clone.
#[derive(Clone)]
pub struct RoutingClient {
    config: Arc<RoutingClientConfig>,
    channels: Channels,
    turn: Arc<AtomicUsize>,
}

macro_rules! reads {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $response:ty;)*) => {
        $(
            $(#[$doc])*
            pub async fn $name(&self, request: $request) -> Result<$response, CallError> {
                let max = self.channels.max_message();
                self.call(|channel| {
                    let request = request.clone();
                    async move {
                        let mut stub = Stub::new(channel).max_decoding_message_size(max);
                        stub.$name(request).await.map(Response::into_inner)
                    }
                })
                .await
            }
        )*
    };
}

impl RoutingClient {
    /// The routing service behind the endpoints of `config`.
    pub fn new(config: RoutingClientConfig, channels: Channels) -> Self {
        Self {
            config: Arc::new(config),
            channels,
            turn: Arc::default(),
        }
    }

    reads! {
        /// What to do with one RCPT.
        resolve(ResolveRequest) -> ResolveResponse;
        /// Whether an account may send from an address.
        check_sender(CheckSenderRequest) -> CheckSenderResponse;
        /// Hosts for a domain.
        plan(PlanRequest) -> PlanResponse;
    }

    async fn call<R, A, F>(&self, attempt: A) -> Result<R, CallError>
    where
        A: Fn(Channel) -> F,
        F: Future<Output = Result<R, Status>>,
    {
        let deadline = Instant::now() + self.config.call_timeout.get();
        let mut backoff = Backoff::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let channel = self.channel()?;
            let limit = left.min(self.config.attempt_timeout.get());
            let text = match timeout(limit, attempt(channel)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => match judge(&status) {
                    Verdict::Final(error) => return Err(error),
                    Verdict::Busy(fault) | Verdict::Moving(fault) => fault.message,
                    Verdict::NodeDown(text) | Verdict::Lost(text) => text,
                    Verdict::Elsewhere(_) => "the store has no leader".to_owned(),
                },
                Err(_) => "no answer in time".to_owned(),
            };
            let wait = backoff.wait(fastrand::f64());
            if Instant::now() + wait >= deadline {
                return Err(CallError::Unavailable(text));
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn channel(&self) -> Result<Channel, CallError> {
        let endpoints = &self.config.endpoints;
        if endpoints.is_empty() {
            return Err(CallError::Unavailable(
                "no routing endpoint is configured".to_owned(),
            ));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len();
        let channel = self.channels.get(&endpoints[turn]);
        channel.map_err(|error| CallError::Unavailable(error.to_string()))
    }
}
