//! Mailboxes: every call goes to the shard of its account.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use postino_proto::store::v1::deliver_request::Step;
use postino_proto::store::v1::mail_store_client::MailStoreClient;
use postino_proto::store::v1::{
    Account, AppendBegin, BodyChunk, ChangePage, CopyMessagesRequest, CopyMessagesResponse,
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

use super::{BodyStream, StoreClient, streaming, timed, unary};
use crate::retry::Repeat;
use crate::upload::{AppendUpload, Upload};
use crate::{CallError, Items};

fn shard(account: Option<&Account>) -> Result<ShardId, CallError> {
    match account {
        Some(account) => Ok(ShardId::new(account.shard)),
        None => Err(CallError::invalid("the call names no account")),
    }
}

unary! { MailStoreClient:
    /// The credential of an account.
    get_credential(GetCredentialRequest) -> GetCredentialResponse, Always,
        |r| shard(r.account.as_ref());
    /// All mailboxes of an account.
    list_mailboxes(ListMailboxesRequest) -> ListMailboxesResponse, Always,
        |r| shard(r.account.as_ref());
    /// Makes a mailbox. Not repeated once it may have been made.
    create_mailbox(CreateMailboxRequest) -> CreateMailboxResponse, Unsubmitted,
        |r| shard(r.account.as_ref());
    /// Removes a mailbox. Not repeated once it may be gone.
    delete_mailbox(DeleteMailboxRequest) -> DeleteMailboxResponse, Unsubmitted,
        |r| shard(r.account.as_ref());
    /// Renames a mailbox. Not repeated once it may have been renamed.
    rename_mailbox(RenameMailboxRequest) -> RenameMailboxResponse, Unsubmitted,
        |r| shard(r.account.as_ref());
    /// Sets or removes a subscription.
    set_subscription(SetSubscriptionRequest) -> SetSubscriptionResponse, Always,
        |r| shard(r.account.as_ref());
    /// State of a mailbox. A repeated SELECT may miss \Recent flags that its lost twin took.
    open_mailbox(OpenMailboxRequest) -> MailboxState, Always, |r| shard(r.account.as_ref());
    /// All UIDs as runs.
    list_uids(ListUidsRequest) -> ListUidsResponse, Always, |r| shard(r.account.as_ref());
    /// Changes flags. Not repeated once they may have been changed.
    store_flags(StoreFlagsRequest) -> StoreFlagsResponse, Unsubmitted,
        |r| shard(r.account.as_ref());
    /// Copies messages. Not repeated once they may have been copied.
    copy_messages(CopyMessagesRequest) -> CopyMessagesResponse, Unsubmitted,
        |r| shard(r.account.as_ref());
    /// Moves messages. Not repeated once they may have been moved.
    move_messages(MoveMessagesRequest) -> MoveMessagesResponse, Unsubmitted,
        |r| shard(r.account.as_ref());
    /// Removes messages. Not repeated once they may be gone: the answer would miss them.
    expunge(ExpungeRequest) -> ExpungeResponse, Unsubmitted, |r| shard(r.account.as_ref());
}

streaming! { MailStoreClient:
    /// Rows of messages, in pages.
    list_messages(ListMessagesRequest) -> MessagePage, read_timeout,
        |r| shard(r.account.as_ref());
    /// What changed since a mod-sequence.
    list_changes(ListChangesRequest) -> ChangePage, read_timeout, |r| shard(r.account.as_ref());
    /// Immutable content of messages.
    get_emails(GetEmailsRequest) -> EmailPage, read_timeout, |r| shard(r.account.as_ref());
    /// Octets of one message.
    read_message(ReadMessageRequest) -> BodyChunk, read_timeout, |r| shard(r.account.as_ref());
    /// Follows an account; ends with an error after 5 s of silence.
    watch(WatchRequest) -> WatchEvent, watch_timeout, |r| shard(r.account.as_ref());
    /// Holds the maildrop while the stream is open: granted with the first event. If it is held,
    /// the call or the first item fails with the fault "in-use".
    hold_maildrop(HoldMaildropRequest) -> HoldMaildropEvent, watch_timeout,
        |r| shard(r.account.as_ref());
}

impl StoreClient {
    /// Begins to append a message to a mailbox. Nothing is filed before
    /// [`finish`](Upload::finish) says so.
    pub fn append(&self, begin: AppendBegin) -> Result<AppendUpload, CallError> {
        let shard = shard(begin.account.as_ref())?;
        Ok(Upload::of_message(self.clone(), shard, begin))
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
