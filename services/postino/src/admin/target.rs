//! Connecting to the running system that a command means.

use std::path::PathBuf;
use std::time::Duration;

use postino_client::{AdminClient, Channel, Channels};
use postino_config::GrpcConfig;
use postino_proto::cluster::v1::cluster_client::ClusterClient;

use super::AdminError;
use crate::cli::{DEFAULT_DATA, Target};
use crate::ports;

/// How long an answer may take: an election and a retry fit in.
const ANSWER: Duration = Duration::from_secs(30);

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
        let channel = channels.get(&self.endpoint()?);
        Ok(ClusterClient::new(
            channel.map_err(|error| AdminError::Input(error.to_string()))?,
        ))
    }
}
