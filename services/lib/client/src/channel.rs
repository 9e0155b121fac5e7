//! Connections to our own services: over TCP, or within the process.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    known: Mutex<Known>,
}

/// Under one lock, since whether an endpoint is in this process decides how it is connected to.
#[derive(Default)]
struct Known {
    open: HashMap<String, Channel>,
    within: HashMap<String, mpsc::Sender<DuplexStream>>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an endpoint is reached.
enum Reach {
    Network,
    Within,
}

impl Channels {
    /// No connection yet.
    pub fn new(config: GrpcConfig) -> Self {
        Self(Arc::new(Inner {
            config,
            known: Mutex::default(),
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
        let mut known = self.0.lock();
        if let Some(channel) = known.open.get(endpoint) {
            return Ok(channel.clone());
        }
        let reach = match known.within.contains_key(endpoint) {
            true => Reach::Within,
            false => Reach::Network,
        };
        let channel = InterceptedService::new(self.connect(endpoint, &reach)?, Inject);
        if known.open.len() >= KEPT {
            known.open.clear();
        }
        known.open.insert(endpoint.to_owned(), channel.clone());
        Ok(channel)
    }

    /// From now on, calls to `endpoint` stay in this process and come out of the listener, which
    /// `postino_net::serve_grpc_incoming` serves. When the listener is dropped, calls fail as on a
    /// closed port; listening again under the same endpoint makes them work again.
    pub fn listen_in_process(&self, endpoint: &str) -> InProcessListener {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let mut known = self.0.lock();
        known.within.insert(endpoint.to_owned(), sender);
        // A connection over TCP that was made before is of no use any more.
        known.open.remove(endpoint);
        InProcessListener(receiver)
    }

    fn connect(
        &self,
        endpoint: &str,
        reach: &Reach,
    ) -> Result<tonic::transport::Channel, EndpointError> {
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
        if let Reach::Network = reach {
            return Ok(settings.connect_lazy());
        }
        let (inner, name) = (Arc::downgrade(&self.0), endpoint.to_owned());
        let connector = tower::service_fn(move |_: Uri| {
            // Looked up each time, so that a new listener takes over; weakly, since the
            // connection is kept in what it would keep alive.
            let inner = inner.upgrade();
            let sender = inner.and_then(|inner| inner.lock().within.get(&name).cloned());
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
    use std::time::Duration;

    use super::*;

    /// The two tables had a lock each, taken in either order: one start in fifty hung.
    #[tokio::test]
    async fn connecting_and_listening_at_once_never_wait_for_each_other() {
        let channels = Channels::new(GrpcConfig::default());
        let (done, all_done) = std::sync::mpsc::channel();
        let work = |each: fn(&Channels, &str)| {
            let (channels, done) = (channels.clone(), done.clone());
            let runtime = tokio::runtime::Handle::current();
            std::thread::spawn(move || {
                let _context = runtime.enter();
                for number in 0..2_000 {
                    each(&channels, &format!("http://127.0.0.1:{}", 1 + number % 500));
                }
                done.send(()).expect("the test waits");
            });
        };
        work(|channels, endpoint| drop(channels.get(endpoint).expect("an endpoint")));
        work(|channels, endpoint| drop(channels.listen_in_process(endpoint)));
        for _ in 0..2 {
            let ended = all_done.recv_timeout(Duration::from_secs(60));
            ended.expect("neither waits for ever");
        }
    }

    #[tokio::test]
    async fn what_is_no_endpoint_is_refused() {
        let channels = Channels::new(GrpcConfig::default());
        for bad in ["", "127.0.0.1:1", "https://a:1", "ftp://a", "http://"] {
            assert!(channels.get(bad).is_err(), "{bad:?}");
        }
        assert!(channels.get("http://127.0.0.1:1").is_ok());
    }
}
