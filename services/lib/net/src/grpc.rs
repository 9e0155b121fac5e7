//! Serving gRPC: our own services, over TCP or over a connection within the process.

use std::net::SocketAddr;

use futures::Stream;
use postino_config::{GrpcConfig, InsecureBind};
use postino_telemetry::ServerTraceLayer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};

use crate::{BindError, Listeners, Shutdown};

/// Why gRPC is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is open to others.
    #[error(transparent)]
    Insecure(#[from] InsecureBind),
    /// The port cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Serving ended.
    #[error("gRPC server: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Binds a gRPC port: only on loopback, unless `insecure` is set.
pub fn bind_grpc(
    listeners: &mut Listeners,
    name: &str,
    address: SocketAddr,
    config: &GrpcConfig,
) -> Result<SocketAddr, ServeError> {
    config.check_bind(address)?;
    Ok(listeners.bind(name, address)?)
}

/// Serves gRPC on a port until `shutdown` has drained it. Message limits belong to the services in
/// `routes` (`max_decoding_message_size`).
pub async fn serve_grpc(
    listener: TcpListener,
    routes: Routes,
    config: &GrpcConfig,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    serve_grpc_incoming(incoming, routes, config, shutdown).await
}

/// Serves gRPC on connections that come from anywhere, such as
/// `postino_client::InProcessListener`.
pub async fn serve_grpc_incoming<I, IO>(
    incoming: I,
    routes: Routes,
    config: &GrpcConfig,
    shutdown: Shutdown,
) -> Result<(), ServeError>
where
    I: Stream<Item = std::io::Result<IO>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let begun = shutdown.clone();
    let serve = Server::builder()
        .initial_stream_window_size(config.stream_window.as_u32())
        .initial_connection_window_size(config.connection_window.as_u32())
        .max_concurrent_streams(config.max_streams)
        .http2_keepalive_interval(Some(config.keepalive_interval.get()))
        .http2_keepalive_timeout(Some(config.keepalive_timeout.get()))
        .layer(ServerTraceLayer)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move { begun.begun().await });
    match shutdown.drain(serve).await {
        Some(served) => Ok(served?),
        None => Ok(()),
    }
}
