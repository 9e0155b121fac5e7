//! Mailboxes: every call goes to the shard of its account.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use postino_proto::store::v1::deliver_request::Step;
use postino_proto::store::v1::mail_store_client::MailStoreClient;
use postino_proto::store::v1::{
    AppendBegin, BodyChunk, ChangePage, CopyMessagesRequest, CopyMessagesResponse,
    CreateMailboxRequest, CreateMailboxResponse, DeleteMailboxRequest, DeleteMailboxResponse,
    DeliverBegin, DeliverFinish, DeliverRequest, DeliverResponse, EmailPage, ExpungeRequest,
    ExpungeResponse, GetCredentialRequest, GetCredentialResponse, GetEmailsRequest,
    HoldMaildropEvent, HoldMaildropRequest, ListChangesRequest, ListMailboxesRequest,
    ListMailboxesResponse, ListMessagesRequest, ListUidsRequest, ListUidsResponse, MailboxState,
    MessagePage, MoveMessagesRequest, MoveMessagesResponse, OpenMailboxRequest, ReadMessageRequest,
    RenameMailboxRequest, RenameMailboxResponse, SetSubscriptionRequest, SetSubscriptionResponse,
    StoreFlagsRequest, StoreFlagsResponse, WatchEvent, WatchRequest,
};
use postino_types::ShardId;

use super::{BodyStream, Place, StoreClient, streaming, timed, unary};
use crate::retry::Repeat;
use crate::upload::{AppendUpload, Upload};
use crate::{CallError, Items};

unary! { MailStoreClient:
    /// The credential of an account.
    get_credential(GetCredentialRequest) -> GetCredentialResponse, Always,
        Place::Account(|r| &mut r.account);
    /// All mailboxes of an account.
    list_mailboxes(ListMailboxesRequest) -> ListMailboxesResponse, Always,
        Place::Account(|r| &mut r.account);
    /// Makes a mailbox. Not repeated once it may have been made.
    create_mailbox(CreateMailboxRequest) -> CreateMailboxResponse, Unsubmitted,
        Place::Account(|r| &mut r.account);
    /// Removes a mailbox. Not repeated once it may be gone.
    delete_mailbox(DeleteMailboxRequest) -> DeleteMailboxResponse, Unsubmitted,
        Place::Account(|r| &mut r.account);
    /// Renames a mailbox. Not repeated once it may have been renamed.
    rename_mailbox(RenameMailboxRequest) -> RenameMailboxResponse, Unsubmitted,
        Place::Account(|r| &mut r.account);
    /// Sets or removes a subscription.
    set_subscription(SetSubscriptionRequest) -> SetSubscriptionResponse, Always,
        Place::Account(|r| &mut r.account);
    /// State of a mailbox. A repeated SELECT may miss \Recent flags that its lost twin took.
    open_mailbox(OpenMailboxRequest) -> MailboxState, Always, Place::Account(|r| &mut r.account);
    /// All UIDs as runs.
    list_uids(ListUidsRequest) -> ListUidsResponse, Always, Place::Account(|r| &mut r.account);
    /// Changes flags. Not repeated once they may have been changed.
    store_flags(StoreFlagsRequest) -> StoreFlagsResponse, Unsubmitted,
        Place::Account(|r| &mut r.account);
    /// Copies messages. Not repeated once they may have been copied.
    copy_messages(CopyMessagesRequest) -> CopyMessagesResponse, Unsubmitted,
        Place::Account(|r| &mut r.account);
    /// Moves messages. Not repeated once they may have been moved.
    move_messages(MoveMessagesRequest) -> MoveMessagesResponse, Unsubmitted,
        Place::Account(|r| &mut r.account);
    /// Removes messages. Not repeated once they may be gone: the answer would miss them.
    expunge(ExpungeRequest) -> ExpungeResponse, Unsubmitted, Place::Account(|r| &mut r.account);
}

streaming! { MailStoreClient:
    /// Rows of messages, in pages.
    list_messages(ListMessagesRequest) -> MessagePage, read_timeout,
        Place::Account(|r| &mut r.account);
    /// What changed since a mod-sequence.
    list_changes(ListChangesRequest) -> ChangePage, read_timeout, Place::Account(|r| &mut r.account);
    /// Immutable content of messages.
    get_emails(GetEmailsRequest) -> EmailPage, read_timeout, Place::Account(|r| &mut r.account);
    /// Octets of one message.
    read_message(ReadMessageRequest) -> BodyChunk, read_timeout, Place::Account(|r| &mut r.account);
    /// Follows an account; ends with an error after 5 s of silence.
    watch(WatchRequest) -> WatchEvent, watch_timeout, Place::Account(|r| &mut r.account);
    /// Holds the maildrop while the stream is open: granted with the first event. If it is held,
    /// the call or the first item fails with the fault "in-use".
    hold_maildrop(HoldMaildropRequest) -> HoldMaildropEvent, watch_timeout,
        Place::Account(|r| &mut r.account);
}

impl StoreClient {
    /// Begins to append a message to a mailbox. Nothing is filed before
    /// [`finish`](Upload::finish) says so.
    pub fn append(&self, begin: AppendBegin) -> Result<AppendUpload, CallError> {
        match begin.account {
            Some(_) => Ok(Upload::of_message(self.clone(), begin)),
            None => Err(CallError::invalid("the call names no account")),
        }
    }

    /// Files a letter for accounts of one shard, exactly once per (queue-id, recipient). `body` is
    /// opened for each attempt and gives the accepted message; see
    /// [`letter_body`](Self::letter_body).
    pub async fn deliver<B>(
        &self,
        begin: DeliverBegin,
        body: B,
    ) -> Result<DeliverResponse, CallError>
    where
        B: Fn() -> BodyStream + Sync,
    {
        let (shard, max) = (ShardId::new(begin.shard), self.max_message());
        // Why the last attempt's body ended too early.
        let broken = Arc::new(Mutex::new(None));
        let delivered = self.call(shard, Repeat::Always, self.slow(), |channel, limit| {
            let steps = steps(begin.clone(), body(), Arc::clone(&broken));
            let request = timed(steps, limit);
            async move {
                let mut stub = MailStoreClient::new(channel)
                    .max_decoding_message_size(max)
                    .max_encoding_message_size(max);
                stub.deliver(request).await.map(tonic::Response::into_inner)
            }
        });
        let delivered = delivered.await;
        match broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => delivered,
        }
    }
}

/// Begin, chunks, finish; no finish if the body breaks off, so that nothing is filed.
fn steps(
    begin: DeliverBegin,
    body: BodyStream,
    broken: Arc<Mutex<Option<CallError>>>,
) -> impl Stream<Item = DeliverRequest> + Send + 'static {
    *broken.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let request = |step| DeliverRequest { step: Some(step) };
    let begin = futures::stream::iter([request(Step::Begin(begin))]);
    // None: the body is whole.
    let chunks = body.map(Some).chain(futures::stream::iter([None]));
    let rest = chunks.scan((), move |(), item| {
        let step = match item {
            Some(Ok(chunk)) => Some(request(Step::Chunk(chunk))),
            Some(Err(error)) => {
                *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                None
            }
            None => Some(request(Step::Finish(DeliverFinish {}))),
        };
        futures::future::ready(step)
    });
    begin.chain(rest)
}
