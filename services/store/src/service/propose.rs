//! `Shards`: commands that another store node puts to a shard which this node leads.

use postino_proto::store::v1::shards_server::Shards;
use postino_proto::store::v1::{ProposeRequest, ProposeResponse};
use postino_types::ShardId;
use tonic::{Request, Response, Status};

use super::Context;
use crate::command;
use crate::shards::propose_bytes;

#[tonic::async_trait]
impl Shards for Context {
    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        let request = request.into_inner();
        let group = self.shards.led(ShardId::new(request.shard))?;
        // A command that this version does not know would halt the replicas.
        command::decode(request.command.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let answer = propose_bytes(&group, request.command, None).await?;
        Ok(Response::new(ProposeResponse { answer }))
    }
}
