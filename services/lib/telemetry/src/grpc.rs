//! A tower layer for gRPC servers: each call runs for the role that serves it, and a call that
//! carries a trace runs in a span of its own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::codegen::http::{Request, Response};
use tonic::metadata::MetadataMap;
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use crate::propagate;
use crate::role::{self, Role};

/// Calls that last, or that come all the time, get no span.
const QUIET: [&str; 6] = [
    "Watch",
    "Follow",
    "HoldMaildrop",
    "GetTopology",
    "Announce",
    "RenewLease",
];

/// Makes [`ServerTrace`] services.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerTraceLayer;

impl<S> Layer<S> for ServerTraceLayer {
    type Service = ServerTrace<S>;

    fn layer(&self, inner: S) -> ServerTrace<S> {
        ServerTrace { inner }
    }
}

/// A gRPC server whose calls join their caller's trace.
#[derive(Debug, Clone)]
pub struct ServerTrace<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for ServerTrace<S>
where
    S: Service<Request<B>, Response = Response<R>> + Send,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let served_by = Role::of_grpc_path(path);
        // The span is made inside the role, since its target is this shared library.
        let span = match served_by {
            Some(served_by) => role::with_role(served_by, || server_span(&request)),
            None => Span::none(),
        };
        let call = self.inner.call(request).instrument(span);
        match served_by {
            Some(served_by) => Box::pin(role::role(served_by, call)),
            None => Box::pin(call),
        }
    }
}

/// The span of one call; none if the caller sent no trace or the call is a quiet one.
fn server_span<B>(request: &Request<B>) -> Span {
    let path = request.uri().path();
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else {
        return Span::none();
    };
    if QUIET.contains(&method) || service.starts_with("postino.raft.") {
        return Span::none();
    }
    if !request.headers().contains_key("traceparent") {
        return Span::none();
    }
    let short = service.rsplit('.').next().unwrap_or(service);
    let span = tracing::info_span!(
        "rpc",
        otel.name = format!("{short}/{method}"),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        // Recorded by calls that are about a letter.
        mail.queue_id = tracing::field::Empty,
        email.message_id = tracing::field::Empty,
    );
    propagate::extract_grpc(&MetadataMap::from_headers(request.headers().clone())).adopt(&span);
    span
}
