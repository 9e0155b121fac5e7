//! The one gRPC port of a process, and the way to it that never leaves the process.

use postino_net::{serve_grpc, serve_grpc_incoming};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;

use super::process::Process;
use super::tiers::Place;

/// The services of the roles of this process.
#[derive(Default)]
pub(crate) struct Grpc(Option<Routes>);

impl From<Routes> for Grpc {
    fn from(routes: Routes) -> Self {
        Self(Some(routes))
    }
}

impl Grpc {
    /// Adds the routes of a role.
    pub(crate) fn add<S>(&mut self, service: S)
    where
        S: tower::Service<http::Request<Body>, Error = std::convert::Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.0 = Some(match self.0.take() {
            None => Routes::new(service),
            Some(routes) => routes.add_service(service),
        });
    }
}

/// Serves the services over TCP, and in-process under the same endpoint.
pub(crate) fn serve(process: &mut Process, grpc: Grpc) -> anyhow::Result<()> {
    let (Some(listener), Some(endpoint)) =
        (process.listeners.take("admin"), process.endpoint.clone())
    else {
        return Ok(());
    };
    // A process without services of its own still holds the port that its flags name.
    let routes = grpc.0.unwrap_or_default();
    let within = process.channels.listen_in_process(&endpoint);
    let config = process.config.grpc.clone();
    let shutdown = process.tiers.shutdown(Place::Base);
    let (routes_within, config_within, shutdown_within) =
        (routes.clone(), config.clone(), shutdown.clone());
    process.tiers.spawn(Place::Base, "gRPC", async move {
        serve_grpc(listener, routes, &config, shutdown).await
    });
    process
        .tiers
        .spawn(Place::Base, "gRPC in process", async move {
            serve_grpc_incoming(within, routes_within, &config_within, shutdown_within).await
        });
    Ok(())
}
