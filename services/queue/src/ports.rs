//! What the queue asks of the store and of routing. `crate::clients` answers it with gRPC; tests of
//! the shell answer it themselves.

use bytes::Bytes;
use futures::stream::BoxStream;
use postino_proto::mail::v1::Recipient;
use postino_proto::routing::v1::Hosts;
use postino_proto::store::v1::{
    AcquireLeaseRequest, AcquireLeaseResponse, AnnounceRequest, DeliverBegin, DeliverResult,
    FollowEvent, FollowRequest, Letter, ListDueRequest, ListDueResponse, Peer, ReleaseLeaseRequest,
    RenewLeaseRequest, SettleRequest,
};
use postino_types::{Domain, QueueId, Reply};

/// Why a call came back without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The lease epoch is not the current one; nothing was recorded.
    #[error("the lease is lost")]
    LeaseLost,
    /// Asked again later, it may work; what was to be written may or may not be.
    #[error("not available: {0}")]
    Unavailable(String),
    /// Asked again, it will fail again.
    #[error("refused: {0}")]
    Refused(String),
}

/// Octets of a letter, in order.
pub type Body = BoxStream<'static, Result<Bytes, CallError>>;

/// The store, as the queue uses it.
#[tonic::async_trait]
pub trait Store: Send + Sync + 'static {
    /// The shards that hold mail.
    async fn mail_shards(&self) -> Result<Vec<u32>, CallError>;
    /// Tells that this process lives; gives the peers that do.
    async fn announce(&self, request: AnnounceRequest) -> Result<Vec<Peer>, CallError>;
    /// Asks for a shard's lease.
    async fn acquire(
        &self,
        request: AcquireLeaseRequest,
    ) -> Result<AcquireLeaseResponse, CallError>;
    /// Keeps a lease; false if it is lost.
    async fn renew(&self, request: RenewLeaseRequest) -> Result<bool, CallError>;
    /// Gives a lease back.
    async fn release(&self, request: ReleaseLeaseRequest) -> Result<(), CallError>;
    /// A page of the due-time index.
    async fn list_due(&self, request: ListDueRequest) -> Result<ListDueResponse, CallError>;
    /// Events of a shard.
    async fn follow(
        &self,
        request: FollowRequest,
    ) -> Result<BoxStream<'static, Result<FollowEvent, CallError>>, CallError>;
    /// A letter; `None` if it is settled and gone.
    async fn letter(&self, id: QueueId) -> Result<Option<Letter>, CallError>;
    /// A letter's accepted message from an offset; length 0 is to the end.
    async fn body(&self, id: QueueId, offset: u64, length: u64) -> Result<Body, CallError>;
    /// Records outcomes.
    async fn settle(&self, request: SettleRequest) -> Result<(), CallError>;
    /// Files a letter, whose accepted message is read from its spool.
    async fn deliver(&self, begin: DeliverBegin) -> Result<Vec<DeliverResult>, CallError>;
}

/// Routing, as the queue uses it.
#[tonic::async_trait]
pub trait Routing: Send + Sync + 'static {
    /// Who gets a letter that Postino itself sends to an address, or the reply it fails with.
    async fn resolve(&self, address: &str) -> Result<Result<Vec<Recipient>, Reply>, CallError>;
    /// Where a domain's mail goes, or the reply it fails with.
    async fn plan(&self, domain: &Domain) -> Result<Result<Hosts, Reply>, CallError>;
}
