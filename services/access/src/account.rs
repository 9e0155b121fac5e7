//! The mail of one account, as the store serves it.
//!
//! One method per call of `MailStore` that a mail client's session makes; which node leads the
//! account's shard, and what to do when it changes, is the client crate's matter.

use bytes::Bytes;
use postino_client::{AppendUpload, Items, StoreClient};
use postino_message::ByteRange;
use postino_proto::convert;
use postino_proto::store::v1::{
    self, Account, AppendBegin, AppendFinish, AppendResponse, BodyChunk, ChangePage,
    CopyMessagesResponse, ExpungeResponse, FlagOperation, HoldMaildropEvent, ListMailboxesResponse,
    ListUidsResponse, MailboxState, MessagePage, MessageRow, MoveMessagesResponse,
    StoreFlagsResponse, UidEmail, UidRange, WatchEvent, open_mailbox_request,
};
use postino_types::{AccountId, FlagSet, MailboxName, ModSeq, ShardId, SpecialUse, Uid};
use tokio_stream::StreamExt;

use crate::store_error::StoreError;

/// The mail of one account; clones share its connections.
#[derive(Clone)]
pub(crate) struct MailAccount {
    store: StoreClient,
    id: AccountId,
    shard: ShardId,
}

type Answer<T> = Result<T, StoreError>;

/// What the store sends bit by bit.
pub(crate) struct Incoming<T>(Items<T>);

impl<T> Incoming<T> {
    /// The next piece, or `None` at the end.
    pub(crate) async fn message(&mut self) -> Answer<Option<T>> {
        Ok(self.0.next().await.transpose()?)
    }
}

impl MailAccount {
    /// The mail of this account.
    pub(crate) fn new(store: StoreClient, id: AccountId, shard: ShardId) -> Self {
        Self { store, id, shard }
    }

    /// The account's id.
    pub(crate) fn id(&self) -> AccountId {
        self.id
    }

    /// The account as calls name it.
    pub(crate) fn account(&self) -> Account {
        Account::on(self.id, self.shard)
    }

    pub(crate) async fn list_mailboxes(
        &self,
        subscriptions: bool,
    ) -> Answer<ListMailboxesResponse> {
        let request = v1::ListMailboxesRequest {
            account: Some(self.account()),
            subscriptions,
        };
        Ok(self.store.list_mailboxes(request).await?)
    }

    pub(crate) async fn create_mailbox(
        &self,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Answer<()> {
        let special_use = special_use.map_or(v1::SpecialUse::Unspecified, Into::into);
        let request = v1::CreateMailboxRequest {
            account: Some(self.account()),
            name: name.to_string(),
            special_use: special_use.into(),
        };
        self.store.create_mailbox(request).await?;
        Ok(())
    }

    pub(crate) async fn delete_mailbox(&self, name: &MailboxName) -> Answer<()> {
        let request = v1::DeleteMailboxRequest {
            account: Some(self.account()),
            name: name.to_string(),
        };
        self.store.delete_mailbox(request).await?;
        Ok(())
    }

    pub(crate) async fn rename_mailbox(&self, from: &MailboxName, to: &MailboxName) -> Answer<()> {
        let request = v1::RenameMailboxRequest {
            account: Some(self.account()),
            from: from.to_string(),
            to: to.to_string(),
        };
        self.store.rename_mailbox(request).await?;
        Ok(())
    }

    pub(crate) async fn set_subscription(
        &self,
        name: &MailboxName,
        subscribed: bool,
    ) -> Answer<()> {
        let request = v1::SetSubscriptionRequest {
            account: Some(self.account()),
            name: name.to_string(),
            subscribed,
        };
        self.store.set_subscription(request).await?;
        Ok(())
    }

    pub(crate) async fn open_mailbox(
        &self,
        name: &MailboxName,
        claim_recent: bool,
    ) -> Answer<MailboxState> {
        let request = v1::OpenMailboxRequest {
            account: Some(self.account()),
            which: Some(open_mailbox_request::Which::Name(name.to_string())),
            claim_recent,
        };
        Ok(self.store.open_mailbox(request).await?)
    }

    pub(crate) async fn list_uids(&self, mailbox: u64) -> Answer<ListUidsResponse> {
        let request = v1::ListUidsRequest {
            account: Some(self.account()),
            mailbox,
        };
        Ok(self.store.list_uids(request).await?)
    }

    /// Rows as they are read, in pages.
    pub(crate) async fn stream_messages(
        &self,
        mailbox: u64,
        uids: Vec<UidRange>,
    ) -> Answer<Incoming<MessagePage>> {
        let request = v1::ListMessagesRequest {
            account: Some(self.account()),
            mailbox,
            uids,
        };
        Ok(Incoming(self.store.list_messages(request).await?))
    }

    /// The rows of a batch of messages.
    pub(crate) async fn list_messages(
        &self,
        mailbox: u64,
        uids: Vec<UidRange>,
    ) -> Answer<Vec<MessageRow>> {
        let mut pages = self.stream_messages(mailbox, uids).await?;
        let mut rows = Vec::new();
        while let Some(page) = pages.message().await? {
            rows.extend(page.messages);
        }
        Ok(rows)
    }

    pub(crate) async fn list_changes(
        &self,
        mailbox: u64,
        since: ModSeq,
    ) -> Answer<Incoming<ChangePage>> {
        let request = v1::ListChangesRequest {
            account: Some(self.account()),
            mailbox,
            since_mod_seq: since.get(),
        };
        Ok(Incoming(self.store.list_changes(request).await?))
    }

    /// What never changes about a batch of messages.
    pub(crate) async fn get_emails(
        &self,
        mailbox: u64,
        uids: Vec<UidRange>,
    ) -> Answer<Vec<UidEmail>> {
        let request = v1::GetEmailsRequest {
            account: Some(self.account()),
            mailbox,
            uids,
        };
        let mut pages = Incoming(self.store.get_emails(request).await?);
        let mut emails = Vec::new();
        while let Some(page) = pages.message().await? {
            emails.extend(page.emails);
        }
        Ok(emails)
    }

    /// A range of a message's octets; it must not be empty.
    pub(crate) async fn read_message(
        &self,
        mailbox: u64,
        uid: Uid,
        range: ByteRange,
    ) -> Answer<Incoming<BodyChunk>> {
        let request = v1::ReadMessageRequest {
            account: Some(self.account()),
            mailbox,
            uid: uid.get(),
            offset: range.start,
            length: range.len(),
        };
        Ok(Incoming(self.store.read_message(request).await?))
    }

    /// The same, collected: for headers.
    pub(crate) async fn read_all(
        &self,
        mailbox: u64,
        uid: Uid,
        range: ByteRange,
    ) -> Answer<Vec<u8>> {
        let mut octets = Vec::new();
        if !range.is_empty() {
            let mut chunks = self.read_message(mailbox, uid, range).await?;
            while let Some(chunk) = chunks.message().await? {
                octets.extend_from_slice(&chunk.data);
            }
        }
        Ok(octets)
    }

    pub(crate) async fn store_flags(
        &self,
        mailbox: u64,
        uids: Vec<UidRange>,
        operation: FlagOperation,
        flags: &FlagSet,
    ) -> Answer<StoreFlagsResponse> {
        let request = v1::StoreFlagsRequest {
            account: Some(self.account()),
            mailbox,
            uids,
            operation: operation.into(),
            system_flags: convert::system_flag_bits(flags),
            keywords: convert::keywords(flags),
            unchanged_since: None,
        };
        Ok(self.store.store_flags(request).await?)
    }

    pub(crate) async fn copy_messages(
        &self,
        mailbox: u64,
        uids: Vec<UidRange>,
        target: &MailboxName,
    ) -> Answer<CopyMessagesResponse> {
        let request = v1::CopyMessagesRequest {
            account: Some(self.account()),
            mailbox,
            uids,
            target: target.to_string(),
        };
        Ok(self.store.copy_messages(request).await?)
    }

    pub(crate) async fn move_messages(
        &self,
        mailbox: u64,
        uids: Vec<UidRange>,
        target: &MailboxName,
    ) -> Answer<MoveMessagesResponse> {
        let request = v1::MoveMessagesRequest {
            account: Some(self.account()),
            mailbox,
            uids,
            target: target.to_string(),
        };
        Ok(self.store.move_messages(request).await?)
    }

    /// Removes messages with `\Deleted`: all of them, or only those among `uids`.
    pub(crate) async fn expunge(
        &self,
        mailbox: u64,
        uids: Vec<UidRange>,
    ) -> Answer<ExpungeResponse> {
        let request = v1::ExpungeRequest {
            account: Some(self.account()),
            mailbox,
            uids,
            ignore_deleted_flag: false,
        };
        Ok(self.store.expunge(request).await?)
    }

    /// Removes messages for good, whatever their flags: POP3's QUIT.
    pub(crate) async fn remove_messages(
        &self,
        mailbox: u64,
        uids: Vec<UidRange>,
    ) -> Answer<ExpungeResponse> {
        let request = v1::ExpungeRequest {
            account: Some(self.account()),
            mailbox,
            uids,
            ignore_deleted_flag: true,
        };
        Ok(self.store.expunge(request).await?)
    }

    /// Holds the maildrop for as long as the stream is open.
    pub(crate) async fn hold_maildrop(&self, holder: &str) -> Answer<Incoming<HoldMaildropEvent>> {
        let request = v1::HoldMaildropRequest {
            account: Some(self.account()),
            holder: holder.to_owned(),
        };
        Ok(Incoming(self.store.hold_maildrop(request).await?))
    }

    /// Begins to append a message.
    pub(crate) fn append(&self, begin: AppendBegin) -> Upload {
        Upload(self.store.append(begin).map_err(StoreError::from))
    }

    /// Follows the account's changes, from a mod-sequence on if one is known.
    pub(crate) async fn watch(&self, since: Option<u64>) -> Answer<Incoming<WatchEvent>> {
        let request = v1::WatchRequest {
            account: Some(self.account()),
            since,
        };
        Ok(Incoming(self.store.watch(request).await?))
    }
}

/// An append that is under way. Dropping it files nothing.
pub(crate) struct Upload(Result<AppendUpload, StoreError>);

impl Upload {
    /// Sends some octets, at the store's pace. If the store has ended the call, they go nowhere;
    /// `finish` tells why.
    pub(crate) async fn send(&mut self, octets: Bytes) {
        if let Ok(upload) = &mut self.0
            && let Err(error) = upload.chunk(octets).await
        {
            self.0 = Err(error.into());
        }
    }

    /// Files the message.
    pub(crate) async fn finish(self, finish: AppendFinish) -> Answer<AppendResponse> {
        Ok(self.0?.finish(finish).await?)
    }
}
