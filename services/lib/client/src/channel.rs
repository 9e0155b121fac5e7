//! Connections to our own services: over TCP, or within the process.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use hyper_util::rt::TokioIo;
use postino_config::GrpcConfig;
use postino_telemetry::propagate::Inject;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Uri};

/// A connection that comes up when it is needed, again and again; calls on it carry the trace.
pub type Channel = InterceptedService<tonic::transport::Channel, Inject>;

/// Connections kept at most; pods come and go under ever new addresses.
const KEPT: usize = 1024;
/// What may be under way between the two ends within the process.
const PIPE: usize = 256 * 1024;
/// In-process connections that wait to be accepted.
const BACKLOG: usize = 16;

/// A text that is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint:?} is no endpoint, such as http://127.0.0.1:2090: {reason}")]
pub struct EndpointError {
    endpoint: String,
    reason: String,
}

/// Connections by endpoint; clones share them.
#[derive(Clone)]
pub struct Channels(Arc<Inner>);

struct Inner {
    config: GrpcConfig,
    open: Mutex<HashMap<String, Channel>>,
    within: Mutex<HashMap<String, mpsc::Sender<DuplexStream>>>,
}

impl Channels {
    /// No connection yet.
    pub fn new(config: GrpcConfig) -> Self {
        Self(Arc::new(Inner {
            config,
            open: Mutex::default(),
            within: Mutex::default(),
        }))
    }

    /// The settings, for message limits of stubs.
    pub fn config(&self) -> &GrpcConfig {
        &self.0.config
    }

    /// The largest message, each way.
    pub fn max_message(&self) -> usize {
        self.0.config.max_message.as_usize()
    }

    /// The connection to an endpoint. Never waits: it comes up with the first call, within tokio.
    pub fn get(&self, endpoint: &str) -> Result<Channel, EndpointError> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = open.get(endpoint) {
            return Ok(channel.clone());
        }
        let channel = InterceptedService::new(self.connect(endpoint)?, Inject);
        if open.len() >= KEPT {
            open.clear();
        }
        open.insert(endpoint.to_owned(), channel.clone());
        Ok(channel)
    }

    /// From now on, calls to `endpoint` stay in this process and come out of the listener, which
    /// `postino_net::serve_grpc_incoming` serves. When the listener is dropped, calls fail as on a
    /// closed port; listening again under the same endpoint makes them work again.
    pub fn listen_in_process(&self, endpoint: &str) -> InProcessListener {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let mut within = self.0.within.lock().unwrap_or_else(PoisonError::into_inner);
        within.insert(endpoint.to_owned(), sender);
        // A connection over TCP that was made before is of no use any more.
        self.0
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(endpoint);
        InProcessListener(receiver)
    }

    fn connect(&self, endpoint: &str) -> Result<tonic::transport::Channel, EndpointError> {
        let config = &self.0.config;
        let error = |reason: String| EndpointError {
            endpoint: endpoint.to_owned(),
            reason,
        };
        let settings = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|reason| error(reason.to_string()))?
            .connect_timeout(config.connect_timeout.get())
            .http2_keep_alive_interval(config.keepalive_interval.get())
            .keep_alive_timeout(config.keepalive_timeout.get())
            .keep_alive_while_idle(true)
            .initial_stream_window_size(config.stream_window.as_u32())
            .initial_connection_window_size(config.connection_window.as_u32())
            .tcp_nodelay(true);
        if settings.uri().scheme_str() != Some("http") || settings.uri().host().is_none() {
            return Err(error("it starts with http:// and a host".to_owned()));
        }
        let is_within = {
            let within = self.0.within.lock().unwrap_or_else(PoisonError::into_inner);
            within.contains_key(endpoint)
        };
        if !is_within {
            return Ok(settings.connect_lazy());
        }
        let (inner, name) = (Arc::downgrade(&self.0), endpoint.to_owned());
        let connector = tower::service_fn(move |_: Uri| {
            // Looked up each time, so that a new listener takes over; weakly, since the
            // connection is kept in what it would keep alive.
            let sender = inner.upgrade().and_then(|inner| {
                let within = inner.within.lock().unwrap_or_else(PoisonError::into_inner);
                within.get(&name).cloned()
            });
            async move {
                let closed = || io::Error::from(io::ErrorKind::ConnectionRefused);
                let (near, far) = tokio::io::duplex(PIPE);
                sender
                    .ok_or_else(closed)?
                    .send(far)
                    .await
                    .map_err(|_| closed())?;
                Ok::<_, io::Error>(TokioIo::new(near))
            }
        });
        Ok(settings.connect_with_connector_lazy(connector))
    }
}

/// Where the connections of one in-process endpoint arrive.
#[derive(Debug)]
pub struct InProcessListener(mpsc::Receiver<DuplexStream>);

impl Stream for InProcessListener {
    type Item = io::Result<DuplexStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_endpoint_is_refused() {
        let channels = Channels::new(GrpcConfig::default());
        for bad in ["", "127.0.0.1:1", "https://a:1", "ftp://a", "http://"] {
            assert!(channels.get(bad).is_err(), "{bad:?}");
        }
        assert!(channels.get("http://127.0.0.1:1").is_ok());
    }
}
