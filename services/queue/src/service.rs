//! The `Queue` gRPC service: attempts for other processes, at sites that this one works.

use std::sync::Arc;

use postino_proto::queue::v1::queue_server::{Queue, QueueServer};
use postino_proto::queue::v1::{AttemptResponse, AttemptStep};
use postino_telemetry::{Role, role};
use tonic::{Request, Response, Status, Streaming};

use crate::remote::Remote;

/// Tries letters for lease holders.
#[derive(Clone)]
pub struct QueueService(Arc<Remote>);

impl QueueService {
    /// Tries letters at the sites of `remote`.
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        Self(remote)
    }

    /// The server to mount.
    pub fn server(self, max_message: usize) -> QueueServer<Self> {
        QueueServer::new(self)
            .max_decoding_message_size(max_message)
            .max_encoding_message_size(max_message)
    }
}

#[tonic::async_trait]
impl Queue for QueueService {
    async fn attempt(
        &self,
        request: Request<Streaming<AttemptStep>>,
    ) -> Result<Response<AttemptResponse>, Status> {
        // Not spawned: the attempt ends when the caller ends the call.
        let attempt = self.0.attempt_for_peer(request.into_inner());
        Ok(Response::new(role(Role::Queue, attempt).await?))
    }
}
