//! `Shards`: what another store node asks of a shard which this node leads.

use postino_proto::Fault;
use postino_proto::store::v1::shards_server::Shards;
use postino_proto::store::v1::{
    ProposeRequest, ProposeResponse, ReadIndexRequest, ReadIndexResponse,
};
use postino_types::ShardId;
use tonic::{Request, Response, Status};

use super::Context;
use crate::command;
use crate::raft::Proposal;
use crate::shards::propose_to;

#[tonic::async_trait]
impl Shards for Context {
    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        let request = request.into_inner();
        let group = self.shards.led(ShardId::new(request.shard))?;
        // A command that this version does not know would halt the replicas.
        let kind = command::decode(request.command.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.shards.check_level(group.shard(), &kind)?;
        let proposal = Proposal {
            command: request.command,
            body: Some(request.body).filter(|body| !body.is_empty()),
            urgent: command::is_urgent(&kind),
        };
        let answer = propose_to(&group, proposal).await?;
        Ok(Response::new(ProposeResponse { answer }))
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexResponse>, Status> {
        let shard = ShardId::new(request.into_inner().shard);
        let index = self.shards.led(shard)?.read_index().await;
        let index = index.map_err(Fault::from)?;
        Ok(Response::new(ReadIndexResponse { index }))
    }
}
