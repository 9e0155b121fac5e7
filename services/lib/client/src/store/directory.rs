//! The directory: domains, accounts, aliases; who lives.

use postino_proto::store::v1::directory_client::DirectoryClient;
use postino_proto::store::v1::{AnnounceRequest, AnnounceResponse, LookupRequest, LookupResponse};
use postino_types::ShardId;

use super::{Place, StoreClient, timed, unary};
use crate::CallError;
use crate::retry::Repeat;

unary! { DirectoryClient:
    /// What the directory holds for one folded address. See [`crate::DirectoryCache`].
    lookup(LookupRequest) -> LookupResponse, Always, Place::Shard(|_| Ok(ShardId::CONTROL));
    /// Tells that this process lives, and learns of its peers.
    announce(AnnounceRequest) -> AnnounceResponse, Always, Place::Shard(|_| Ok(ShardId::CONTROL));
}
