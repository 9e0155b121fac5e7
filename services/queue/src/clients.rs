//! The queue's view of the store and of routing, answered with gRPC.

use futures::StreamExt;
use futures::stream::BoxStream;
use postino_client::{CallError as Failure, RoutingClient, StoreClient};
use postino_proto::FaultKind;
use postino_proto::mail::v1::Recipient;
use postino_proto::routing::v1::{
    Hosts, PlanRequest, ResolveRequest, plan_response, resolve_response,
};
use postino_proto::store::v1::{
    AcquireLeaseRequest, AcquireLeaseResponse, AnnounceRequest, DeliverBegin, DeliverResult,
    FollowEvent, FollowRequest, GetLetterRequest, Letter, ListDueRequest, ListDueResponse, Peer,
    ReadLetterBodyRequest, ReleaseLeaseRequest, RenewLeaseRequest, SettleRequest,
};
use postino_types::{Domain, QueueId, Reply};

use crate::ports::{Body, CallError, Routing, Store};

/// Routing asks of an account only whether there is one: what Postino sends itself, notifications,
/// may go to any domain. No account has this number.
const OURSELVES: u64 = u64::MAX;

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure.fault() {
            Some(FaultKind::LeaseLost) => Self::LeaseLost,
            _ if failure.is_temporary() => Self::Unavailable(failure.to_string()),
            _ => Self::Refused(failure.to_string()),
        }
    }
}

#[tonic::async_trait]
impl Store for StoreClient {
    async fn mail_shards(&self) -> Result<Vec<u32>, CallError> {
        Ok((1..=StoreClient::mail_shards(self).await?).collect())
    }

    async fn announce(&self, request: AnnounceRequest) -> Result<Vec<Peer>, CallError> {
        Ok(StoreClient::announce(self, request).await?.peers)
    }

    async fn acquire(
        &self,
        request: AcquireLeaseRequest,
    ) -> Result<AcquireLeaseResponse, CallError> {
        Ok(self.acquire_lease(request).await?)
    }

    async fn renew(&self, request: RenewLeaseRequest) -> Result<bool, CallError> {
        Ok(self.renew_lease(request).await?.held)
    }

    async fn release(&self, request: ReleaseLeaseRequest) -> Result<(), CallError> {
        self.release_lease(request).await?;
        Ok(())
    }

    async fn list_due(&self, request: ListDueRequest) -> Result<ListDueResponse, CallError> {
        Ok(StoreClient::list_due(self, request).await?)
    }

    async fn follow(
        &self,
        request: FollowRequest,
    ) -> Result<BoxStream<'static, Result<FollowEvent, CallError>>, CallError> {
        let events = StoreClient::follow(self, request).await?;
        Ok(events.map(|event| event.map_err(CallError::from)).boxed())
    }

    async fn letter(&self, id: QueueId) -> Result<Option<Letter>, CallError> {
        match self
            .get_letter(GetLetterRequest {
                queue_id: id.to_string(),
            })
            .await
        {
            Ok(letter) => Ok(Some(letter)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn body(&self, id: QueueId, offset: u64, length: u64) -> Result<Body, CallError> {
        let request = ReadLetterBodyRequest {
            queue_id: id.to_string(),
            offset,
            length,
        };
        let chunks = self.read_body(request).await?;
        Ok(chunks.map(|chunk| Ok(chunk?.data)).boxed())
    }

    async fn settle(&self, request: SettleRequest) -> Result<(), CallError> {
        StoreClient::settle(self, request).await?;
        Ok(())
    }

    async fn deliver(&self, begin: DeliverBegin) -> Result<Vec<DeliverResult>, CallError> {
        let id: QueueId = begin
            .queue_id
            .parse()
            .map_err(|_| CallError::Refused("a broken queue-id".into()))?;
        let body = self.letter_body(id);
        Ok(StoreClient::deliver(self, begin, body).await?.results)
    }
}

#[tonic::async_trait]
impl Routing for RoutingClient {
    async fn resolve(&self, address: &str) -> Result<Result<Vec<Recipient>, Reply>, CallError> {
        let recipient = address.to_owned();
        let request = ResolveRequest {
            recipient,
            authenticated_account: OURSELVES,
        };
        match RoutingClient::resolve(self, request).await?.verdict {
            Some(resolve_response::Verdict::Targets(targets)) => Ok(Ok(targets.recipients)),
            Some(resolve_response::Verdict::Refusal(refusal)) => {
                Ok(Err(refusal.try_into().map_err(|_| broken_answer())?))
            }
            None => Err(broken_answer()),
        }
    }

    async fn plan(&self, domain: &Domain) -> Result<Result<Hosts, Reply>, CallError> {
        let request = PlanRequest {
            domain: domain.to_string(),
        };
        match RoutingClient::plan(self, request).await?.plan {
            Some(plan_response::Plan::Hosts(hosts)) => Ok(Ok(hosts)),
            Some(plan_response::Plan::Failure(refusal)) => {
                Ok(Err(refusal.try_into().map_err(|_| broken_answer())?))
            }
            None => Err(broken_answer()),
        }
    }
}

fn broken_answer() -> CallError {
    CallError::Unavailable("routing gave an answer that makes no sense".to_owned())
}
