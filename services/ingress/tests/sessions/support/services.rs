//! The gRPC services of the scripted node.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use postino_proto::mail::v1::Recipient;
use postino_proto::routing::v1::resolve_response::Verdict;
use postino_proto::routing::v1::routing_server::{Routing, RoutingServer};
use postino_proto::routing::v1::{
    CheckSenderRequest, CheckSenderResponse, PlanRequest, PlanResponse, Refusal, ResolveRequest,
    ResolveResponse, Targets,
};
use postino_proto::store::v1::directory_server::{Directory, DirectoryServer};
use postino_proto::store::v1::mail_store_server::{MailStore, MailStoreServer};
use postino_proto::store::v1::spool_server::{Spool, SpoolServer};
use postino_proto::store::v1::*;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::{Accepted, Act, Node};

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) fn routes(node: &Node) -> Routes {
    Routes::new(SpoolServer::new(node.clone()))
        .add_service(MailStoreServer::new(node.clone()))
        .add_service(DirectoryServer::new(node.clone()))
        .add_service(RoutingServer::new(node.clone()))
}

fn missing<T>() -> Answer<T> {
    Err(Status::unimplemented("no test needs it"))
}

#[tonic::async_trait]
impl Routing for Node {
    async fn resolve(&self, request: Request<ResolveRequest>) -> Answer<ResolveResponse> {
        let ResolveRequest {
            recipient,
            authenticated_account,
        } = request.into_inner();
        if recipient.starts_with("broken@") {
            return Err(Status::internal("no directory"));
        }
        let known = self.state().recipients.get(&recipient).cloned();
        let refuse = |status: &str, text: &str| {
            Verdict::Refusal(Refusal {
                code: 550,
                enhanced_status: status.to_owned(),
                text: text.to_owned(),
            })
        };
        let verdict = match known {
            Some(target) => Verdict::Targets(Targets {
                recipients: vec![target],
            }),
            None if recipient.ends_with("@example.org") => refuse("5.1.1", "No such user"),
            None if authenticated_account == 0 => refuse("5.7.1", "Relaying denied"),
            None => {
                let target = Recipient {
                    address: recipient.clone(),
                    original: recipient,
                    ..Recipient::default()
                };
                Verdict::Targets(Targets {
                    recipients: vec![target],
                })
            }
        };
        Ok(Response::new(ResolveResponse {
            verdict: Some(verdict),
        }))
    }

    async fn check_sender(
        &self,
        request: Request<CheckSenderRequest>,
    ) -> Answer<CheckSenderResponse> {
        let CheckSenderRequest { account, address } = request.into_inner();
        let allowed = account == 7 && address == "alice@example.org";
        Ok(Response::new(CheckSenderResponse { allowed }))
    }

    async fn plan(&self, _: Request<PlanRequest>) -> Answer<PlanResponse> {
        missing()
    }
}

#[tonic::async_trait]
impl Directory for Node {
    async fn lookup(&self, request: Request<LookupRequest>) -> Answer<LookupResponse> {
        Ok(Response::new(Node::lookup(
            self,
            &request.into_inner().address,
        )))
    }

    async fn get_topology(&self, _: Request<GetTopologyRequest>) -> Answer<Topology> {
        Ok(Response::new(self.topology()))
    }

    async fn announce(&self, _: Request<AnnounceRequest>) -> Answer<AnnounceResponse> {
        missing()
    }
}

#[tonic::async_trait]
impl Spool for Node {
    async fn accept(&self, request: Request<Streaming<AcceptRequest>>) -> Answer<AcceptResponse> {
        use accept_request::Step;
        let act = self.state().accepts.pop_front();
        if let Some(Act::Refuse(status)) = act {
            return Err(status);
        }
        let mut steps = request.into_inner();
        let mut letter = Accepted {
            queue_id: String::new(),
            body: Vec::new(),
            chunks: 0,
            finish: AcceptFinish::default(),
        };
        while let Some(step) = steps.next().await {
            match step?.step {
                Some(Step::Begin(begin)) => letter.queue_id = begin.queue_id,
                Some(Step::Chunk(chunk)) => {
                    letter.body.extend_from_slice(&chunk);
                    letter.chunks += 1;
                }
                Some(Step::Finish(finish)) => {
                    letter.finish = finish;
                    self.state().letters.push(letter.clone());
                    return match act {
                        Some(Act::ReadThenRefuse(status)) => Err(status),
                        _ => Ok(Response::new(AcceptResponse::default())),
                    };
                }
                None => return missing(),
            }
        }
        Err(Status::invalid_argument("no finish"))
    }

    async fn resolve_accept(
        &self,
        request: Request<ResolveAcceptRequest>,
    ) -> Answer<ResolveAcceptResponse> {
        let id = request.into_inner().queue_id;
        let is_here = self.letters().iter().any(|letter| letter.queue_id == id);
        let accepted = is_here.then(AcceptResponse::default);
        Ok(Response::new(ResolveAcceptResponse { accepted }))
    }

    async fn settle(&self, _: Request<SettleRequest>) -> Answer<SettleResponse> {
        missing()
    }

    async fn list_due(&self, _: Request<ListDueRequest>) -> Answer<ListDueResponse> {
        missing()
    }

    type FollowStream = Items<FollowEvent>;

    async fn follow(&self, _: Request<FollowRequest>) -> Answer<Self::FollowStream> {
        missing()
    }

    async fn get_letter(&self, _: Request<GetLetterRequest>) -> Answer<Letter> {
        missing()
    }

    type ReadBodyStream = Items<BodyChunk>;

    async fn read_body(&self, _: Request<ReadLetterBodyRequest>) -> Answer<Self::ReadBodyStream> {
        missing()
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
    async fn deliver(&self, _: Request<Streaming<DeliverRequest>>) -> Answer<DeliverResponse> {
        missing()
    }

    async fn get_credential(
        &self,
        _: Request<GetCredentialRequest>,
    ) -> Answer<GetCredentialResponse> {
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
        missing()
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

    async fn watch(&self, _: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        missing()
    }

    type HoldMaildropStream = Items<HoldMaildropEvent>;

    async fn hold_maildrop(
        &self,
        _: Request<HoldMaildropRequest>,
    ) -> Answer<Self::HoldMaildropStream> {
        missing()
    }
}
