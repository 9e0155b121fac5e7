//! The gRPC services of a scripted node.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use postino_proto::store::v1::directory_server::{Directory, DirectoryServer};
use postino_proto::store::v1::mail_store_server::{MailStore, MailStoreServer};
use postino_proto::store::v1::spool_server::{Spool, SpoolServer};
use postino_proto::store::v1::*;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::{Act, Node};

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) fn routes(node: &Node) -> Routes {
    Routes::new(SpoolServer::new(node.clone()))
        .add_service(MailStoreServer::new(node.clone()))
        .add_service(DirectoryServer::new(node.clone()))
}

fn missing<T>() -> Answer<T> {
    Err(Status::unimplemented("no test needs it"))
}

impl Node {
    /// Reads a stream of steps as the store does. `step` tells a chunk (`Some`) from a finish.
    async fn upload<T>(
        &self,
        call: &'static str,
        mut steps: Streaming<T>,
        step: impl Fn(T) -> Option<Vec<u8>>,
    ) -> Result<(), Status> {
        let act = self.next(call);
        if let Act::Refuse(status) = act {
            return Err(status);
        }
        let (mut octets, mut finished) = (Vec::new(), false);
        while let Some(received) = steps.next().await {
            match step(received?) {
                Some(chunk) => octets.extend(chunk),
                None => finished = true,
            }
        }
        self.state().log.uploads.push((octets, finished));
        match act {
            Act::ReadThenRefuse(status) => Err(status),
            Act::Hang => std::future::pending().await,
            _ if finished => Ok(()),
            _ => Err(Status::invalid_argument("no finish")),
        }
    }
}

#[tonic::async_trait]
impl Directory for Node {
    async fn lookup(&self, request: Request<LookupRequest>) -> Answer<LookupResponse> {
        self.act("lookup").await?;
        let answer = self
            .state()
            .directory
            .get(&request.into_inner().address)
            .cloned();
        Ok(Response::new(answer.unwrap_or_default()))
    }

    async fn get_topology(&self, _: Request<GetTopologyRequest>) -> Answer<Topology> {
        self.act("get_topology").await?;
        Ok(Response::new(self.state().topology.clone()))
    }

    async fn announce(&self, _: Request<AnnounceRequest>) -> Answer<AnnounceResponse> {
        missing()
    }
}

#[tonic::async_trait]
impl Spool for Node {
    async fn accept(&self, request: Request<Streaming<AcceptRequest>>) -> Answer<AcceptResponse> {
        use accept_request::Step;
        let step = |request: AcceptRequest| match request.step {
            Some(Step::Chunk(chunk)) => Some(chunk.to_vec()),
            Some(Step::Finish(_)) => None,
            _ => Some(Vec::new()),
        };
        self.upload("accept", request.into_inner(), step).await?;
        Ok(Response::new(AcceptResponse {
            filed: true,
            log_index: 7,
            term: 1,
        }))
    }

    async fn settle(&self, _: Request<SettleRequest>) -> Answer<SettleResponse> {
        self.act("settle").await?;
        Ok(Response::new(SettleResponse {}))
    }

    async fn list_due(&self, _: Request<ListDueRequest>) -> Answer<ListDueResponse> {
        missing()
    }

    type FollowStream = Items<FollowEvent>;

    async fn follow(&self, _: Request<FollowRequest>) -> Answer<Self::FollowStream> {
        missing()
    }

    async fn resolve_accept(
        &self,
        _: Request<ResolveAcceptRequest>,
    ) -> Answer<ResolveAcceptResponse> {
        self.act("resolve_accept").await?;
        let accepted = self.state().accepted.then(AcceptResponse::default);
        Ok(Response::new(ResolveAcceptResponse { accepted }))
    }

    async fn get_letter(&self, request: Request<GetLetterRequest>) -> Answer<Letter> {
        self.act("get_letter").await?;
        let queue_id = request.into_inner().queue_id;
        Ok(Response::new(Letter {
            queue_id,
            ..Letter::default()
        }))
    }

    type ReadBodyStream = Items<BodyChunk>;

    async fn read_body(&self, _: Request<ReadLetterBodyRequest>) -> Answer<Self::ReadBodyStream> {
        self.act("read_body").await?;
        let chunk = |text: &'static str| Ok(BodyChunk { data: text.into() });
        Ok(Response::new(
            futures::stream::iter([chunk("one "), chunk("two")]).boxed(),
        ))
    }

    async fn acquire_lease(&self, _: Request<AcquireLeaseRequest>) -> Answer<AcquireLeaseResponse> {
        missing()
    }

    async fn renew_lease(&self, _: Request<RenewLeaseRequest>) -> Answer<RenewLeaseResponse> {
        missing()
    }

    async fn release_lease(&self, _: Request<ReleaseLeaseRequest>) -> Answer<ReleaseLeaseResponse> {
        missing()
    }

    async fn list_letters(&self, _: Request<ListLettersRequest>) -> Answer<ListLettersResponse> {
        missing()
    }

    async fn retry_now(&self, _: Request<RetryNowRequest>) -> Answer<RetryNowResponse> {
        missing()
    }
}

#[tonic::async_trait]
impl MailStore for Node {
    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Answer<DeliverResponse> {
        use deliver_request::Step;
        let step = |request: DeliverRequest| match request.step {
            Some(Step::Chunk(chunk)) => Some(chunk.to_vec()),
            Some(Step::Finish(_)) => None,
            _ => Some(Vec::new()),
        };
        self.upload("deliver", request.into_inner(), step).await?;
        Ok(Response::new(DeliverResponse::default()))
    }

    async fn get_credential(
        &self,
        _: Request<GetCredentialRequest>,
    ) -> Answer<GetCredentialResponse> {
        self.act("get_credential").await?;
        Ok(Response::new(GetCredentialResponse {
            credential: self.state().credential.clone(),
        }))
    }

    async fn list_mailboxes(
        &self,
        _: Request<ListMailboxesRequest>,
    ) -> Answer<ListMailboxesResponse> {
        missing()
    }

    async fn create_mailbox(
        &self,
        _: Request<CreateMailboxRequest>,
    ) -> Answer<CreateMailboxResponse> {
        missing()
    }

    async fn delete_mailbox(
        &self,
        _: Request<DeleteMailboxRequest>,
    ) -> Answer<DeleteMailboxResponse> {
        missing()
    }

    async fn rename_mailbox(
        &self,
        _: Request<RenameMailboxRequest>,
    ) -> Answer<RenameMailboxResponse> {
        missing()
    }

    async fn set_subscription(
        &self,
        _: Request<SetSubscriptionRequest>,
    ) -> Answer<SetSubscriptionResponse> {
        missing()
    }

    async fn open_mailbox(&self, _: Request<OpenMailboxRequest>) -> Answer<MailboxState> {
        missing()
    }

    async fn list_uids(&self, _: Request<ListUidsRequest>) -> Answer<ListUidsResponse> {
        missing()
    }

    type ListMessagesStream = Items<MessagePage>;

    async fn list_messages(
        &self,
        _: Request<ListMessagesRequest>,
    ) -> Answer<Self::ListMessagesStream> {
        missing()
    }

    type ListChangesStream = Items<ChangePage>;

    async fn list_changes(
        &self,
        _: Request<ListChangesRequest>,
    ) -> Answer<Self::ListChangesStream> {
        missing()
    }

    type GetEmailsStream = Items<EmailPage>;

    async fn get_emails(&self, _: Request<GetEmailsRequest>) -> Answer<Self::GetEmailsStream> {
        missing()
    }

    type ReadMessageStream = Items<BodyChunk>;

    async fn read_message(
        &self,
        _: Request<ReadMessageRequest>,
    ) -> Answer<Self::ReadMessageStream> {
        missing()
    }

    async fn store_flags(&self, _: Request<StoreFlagsRequest>) -> Answer<StoreFlagsResponse> {
        self.act("store_flags").await?;
        Ok(Response::new(StoreFlagsResponse::default()))
    }

    async fn copy_messages(&self, _: Request<CopyMessagesRequest>) -> Answer<CopyMessagesResponse> {
        missing()
    }

    async fn move_messages(&self, _: Request<MoveMessagesRequest>) -> Answer<MoveMessagesResponse> {
        missing()
    }

    async fn expunge(&self, _: Request<ExpungeRequest>) -> Answer<ExpungeResponse> {
        missing()
    }

    async fn append(&self, _: Request<Streaming<AppendRequest>>) -> Answer<AppendResponse> {
        missing()
    }

    type WatchStream = Items<WatchEvent>;

    /// One event, then silence.
    async fn watch(&self, _: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        self.act("watch").await?;
        let event = futures::stream::iter([Ok(WatchEvent {
            mod_seq: 5,
            ..WatchEvent::default()
        })]);
        Ok(Response::new(
            event.chain(futures::stream::pending()).boxed(),
        ))
    }

    type HoldMaildropStream = Items<HoldMaildropEvent>;

    async fn hold_maildrop(
        &self,
        _: Request<HoldMaildropRequest>,
    ) -> Answer<Self::HoldMaildropStream> {
        missing()
    }
}
