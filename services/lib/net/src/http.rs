//! The HTTP endpoint for probes and Prometheus: `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use postino_telemetry::Registry;
use tokio::net::TcpListener;

use crate::Shutdown;

/// What the process still waits for before it is ready; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, bool>>>);

impl Readiness {
    /// Ready, until something is to be waited for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that a part is not ready.
    pub fn wait_for(&self, part: &str) {
        self.set(part, false);
    }

    /// Says that a part is ready.
    pub fn ready(&self, part: &str) {
        self.set(part, true);
    }

    /// The parts that are not ready.
    pub fn missing(&self) -> Vec<String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .filter(|(_, ready)| !**ready)
            .map(|(part, _)| part.clone())
            .collect()
    }

    fn set(&self, part: &str, ready: bool) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part.to_owned(), ready);
    }
}

/// What the endpoint answers from.
#[derive(Clone)]
pub struct HttpService {
    /// Answers `/readyz`.
    pub readiness: Readiness,
    /// Answers `/metrics`.
    pub metrics: Registry,
}

/// Serves until stopping has begun; from then on probes find nobody, and traffic goes elsewhere.
pub async fn serve_http(
    listener: TcpListener,
    service: HttpService,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let HttpService { readiness, metrics } = service;
    let stopping = shutdown.clone();
    let readyz = async move || {
        let missing = readiness.missing();
        match (stopping.is_begun(), missing.is_empty()) {
            (false, true) => (StatusCode::OK, "ready\n".to_owned()),
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
            (false, false) => {
                let text = format!("waiting for {}\n", missing.join(", "));
                (StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    };
    let metrics = async move || {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], metrics.encode()).into_response()
    };
    let router = Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics));
    let begun = shutdown.clone();
    let serve = axum::serve(listener, router)
        .with_graceful_shutdown(async move { begun.begun().await })
        .into_future();
    shutdown.drain(serve).await.unwrap_or(Ok(()))
}
