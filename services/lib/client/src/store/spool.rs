//! The spool: letters that are accepted and not yet settled.

use bytes::Bytes;
use futures::StreamExt;
use postino_proto::store::v1::spool_client::SpoolClient;
use postino_proto::store::v1::{
    AcquireLeaseRequest, AcquireLeaseResponse, BodyChunk, FollowEvent, FollowRequest,
    GetLetterRequest, Letter, ListDueRequest, ListDueResponse, ListLettersRequest,
    ListLettersResponse, ReadLetterBodyRequest, ReleaseLeaseRequest, ReleaseLeaseResponse,
    RenewLeaseRequest, RenewLeaseResponse, ResolveAcceptRequest, ResolveAcceptResponse,
    RetryNowRequest, RetryNowResponse, SettleRequest, SettleResponse,
};
use postino_types::{QueueId, ShardId};

use super::{BodyStream, Place, StoreClient, shard_of, streaming, timed, unary};
use crate::retry::Repeat;
use crate::upload::{AcceptUpload, Upload};
use crate::{CallError, Items};

unary! { SpoolClient:
    /// Whether a letter was accepted; if not, it cannot be any more under this id.
    resolve_accept(ResolveAcceptRequest) -> ResolveAcceptResponse, Always,
        Place::Shard(|r| shard_of(&r.queue_id));
    /// Records outcomes, all in one commit; repeatable, since recording them twice changes nothing.
    settle(SettleRequest) -> SettleResponse, Always, Place::Shard(|r| Ok(ShardId::new(r.shard)));
    /// A page of letters that are due.
    list_due(ListDueRequest) -> ListDueResponse, Always, Place::Shard(|r| Ok(ShardId::new(r.shard)));
    /// One letter with the state of its recipients.
    get_letter(GetLetterRequest) -> Letter, Always, Place::Shard(|r| shard_of(&r.queue_id));
    /// Takes a shard's lease, or tells who has it. The same holder gets it again.
    acquire_lease(AcquireLeaseRequest) -> AcquireLeaseResponse, Always,
        Place::Shard(|r| Ok(ShardId::new(r.shard)));
    /// Keeps a lease.
    renew_lease(RenewLeaseRequest) -> RenewLeaseResponse, Always, Place::Shard(|r| Ok(ShardId::new(r.shard)));
    /// Gives a lease back.
    release_lease(ReleaseLeaseRequest) -> ReleaseLeaseResponse, Always,
        Place::Shard(|r| Ok(ShardId::new(r.shard)));
    /// Letters of one shard, for operators.
    list_letters(ListLettersRequest) -> ListLettersResponse, Always, Place::Shard(|r| Ok(ShardId::new(r.shard)));
    /// Makes deferred recipients due now.
    retry_now(RetryNowRequest) -> RetryNowResponse, Always, Place::Shard(|r| Ok(ShardId::new(r.shard)));
}

streaming! { SpoolClient:
    /// Events of one shard for its lease holder; ends with an error after 5 s of silence.
    follow(FollowRequest) -> FollowEvent, watch_timeout, Place::Shard(|r| Ok(ShardId::new(r.shard)));
    /// A letter's accepted message, in chunks.
    read_body(ReadLetterBodyRequest) -> BodyChunk, read_timeout, Place::Shard(|r| shard_of(&r.queue_id));
}

impl StoreClient {
    /// Begins to hand a letter over. `size_hint` is what the client announced, or 0. Nothing is
    /// accepted before [`finish`](Upload::finish) says so; dropping the upload accepts nothing.
    pub fn accept(&self, queue_id: QueueId, size_hint: u64) -> AcceptUpload {
        Upload::of_letter(self.clone(), queue_id, size_hint)
    }

    /// Finds a shard's leader by asking for a letter that never was. What comes of it does not
    /// matter: the call that follows says it again.
    pub(crate) async fn locate(&self, shard: ShardId) {
        if let Some(never) = QueueId::mint(shard, 0, 0) {
            let request = GetLetterRequest {
                queue_id: never.to_string(),
            };
            let _ = self.get_letter(request).await;
        }
    }

    /// A source of a letter's accepted message that can be opened any number of times, as
    /// [`deliver`](Self::deliver) needs it.
    pub fn letter_body(&self, queue_id: QueueId) -> impl Fn() -> BodyStream + Send + Sync + use<> {
        let client = self.clone();
        move || {
            let client = client.clone();
            let queue_id = queue_id.to_string();
            let opened = async move {
                let request = ReadLetterBodyRequest {
                    queue_id,
                    offset: 0,
                    length: 0,
                };
                client.read_body(request).await
            };
            let chunks = futures::stream::once(opened).flat_map(|opened| match opened {
                Ok(items) => items.map(|item| item.map(|chunk| chunk.data)).boxed(),
                Err(error) => futures::stream::iter([Err::<Bytes, _>(error)]).boxed(),
            });
            chunks.boxed()
        }
    }
}
