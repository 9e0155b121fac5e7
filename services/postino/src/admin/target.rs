//! Connecting to the running system that a command means.

use std::path::PathBuf;
use std::time::Duration;

use postino_client::{AdminClient, Channel, Channels};
use postino_config::GrpcConfig;
use postino_proto::cluster::v1::cluster_client::ClusterClient;
use postino_proto::cluster::v1::placement_client::PlacementClient;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::AdminError;
use crate::cli::{DEFAULT_DATA, Target};
use crate::ports;

/// How long an answer may take: an election and a retry fit in.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);
/// The pause before a call is made again.
const PAUSE: Duration = Duration::from_millis(200);

impl Target {
    /// The endpoint that the flags name.
    pub(crate) fn endpoint(&self) -> Result<String, AdminError> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let data = self
            .data
            .clone()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        let nobody = |why: String| {
            let data = data.display();
            AdminError::Unreachable(format!(
                "no running system in {data} ({why}); start one, or use --data or --endpoint"
            ))
        };
        let ports = ports::read(&data).map_err(|error| nobody(format!("ports.json: {error}")))?;
        let admin = ports
            .get("admin")
            .ok_or_else(|| nobody("it has no admin port".into()))?;
        Ok(format!("http://{admin}"))
    }

    /// The admin service.
    pub(crate) fn admin(&self) -> Result<AdminClient, AdminError> {
        let channels = Channels::new(GrpcConfig::default());
        Ok(AdminClient::new(vec![self.endpoint()?], channels, ANSWER))
    }

    /// The cluster service of one store node.
    pub(crate) fn cluster(&self) -> Result<ClusterClient<Channel>, AdminError> {
        let channels = Channels::new(GrpcConfig::default());
        let max = channels.max_message();
        let channel = connect(&channels, &self.endpoint()?)?;
        Ok(ClusterClient::new(channel).max_decoding_message_size(max))
    }
}

/// The placement service of the store node at `endpoint`.
pub(crate) fn placement(endpoint: &str) -> Result<PlacementClient<Channel>, AdminError> {
    let channels = Channels::new(GrpcConfig::default());
    let max = channels.max_message();
    let channel = connect(&channels, endpoint)?;
    Ok(PlacementClient::new(channel).max_decoding_message_size(max))
}

/// A connection to the store node at `endpoint`.
pub(crate) fn channel(endpoint: &str) -> Result<Channel, AdminError> {
    let channels = Channels::new(GrpcConfig::default());
    connect(&channels, endpoint)
}

fn connect(channels: &Channels, endpoint: &str) -> Result<Channel, AdminError> {
    let channel = channels.get(endpoint);
    channel.map_err(|error| AdminError::Input(error.to_string()))
}

/// Makes a call that may be repeated, until it is answered or the time has passed: while the
/// control group has no leader, nobody can.
pub(crate) async fn patiently<T>(
    patience: Duration,
    call: impl AsyncFn(Duration) -> Result<T, Status>,
) -> Result<T, AdminError> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match call(left).await {
            Err(status) if status.code() == Code::Unavailable && left > PAUSE => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}
