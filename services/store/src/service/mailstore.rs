//! `MailStore`: the requests are checked here; reads are in `mailboxes` and `messages`, changes
//! become commands in `change` and `intake`, events come from `watch`.

use postino_proto::store::v1::mail_store_server::MailStore;
use postino_proto::store::v1::*;
use postino_proto::{Fault, FaultKind};
use postino_types::ShardId;
use tonic::{Request, Response, Status, Streaming};

use super::pages::Pages;
use super::{Context, required, watch};
use crate::db::{Snapshot, Space};
use crate::model::Rows;
use crate::model::account::{self, AccountRow, Standing};
use crate::raft::Group;
use crate::shards::broken;

impl Context {
    /// The group of an account's shard, and the account.
    pub(super) fn of(&self, account: Option<Account>) -> Result<(Group, u64), Status> {
        let account = required(account, "the account")?;
        Ok((self.shards.mail(account.shard)?, account.account))
    }

    /// The same, to be read: any replica will do.
    pub(super) fn readable(&self, account: Option<Account>) -> Result<(Group, u64), Status> {
        let account = required(account, "the account")?;
        let group = self.shards.replica(ShardId::new(account.shard))?;
        Ok((group, account.account))
    }

    /// Fails unless the account is there.
    async fn check_account(&self, group: &Group, id: u64) -> Result<(), Status> {
        let found = self.shards.read(group, move |snapshot, space| {
            standing(snapshot, space, id).map(drop)
        });
        found.await
    }

    /// Reads of an account, unless it is moving or has moved to another shard: then what is here is
    /// not the account.
    pub(super) async fn read_account<T, F>(
        &self,
        group: &Group,
        id: u64,
        read: F,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, Space) -> Result<T, Status> + Send + 'static,
    {
        let read = self.shards.read(group, move |snapshot, space| {
            check_standing(account::standing(snapshot, space, id).map_err(broken)?)?;
            read(snapshot, space)
        });
        read.await
    }
}

/// The account's row, if it is here.
pub(super) fn standing(rows: &impl Rows, space: Space, id: u64) -> Result<AccountRow, Status> {
    match check_standing(account::standing(rows, space, id).map_err(broken)?)? {
        Some(row) => Ok(row),
        None => Err(no_account()),
    }
}

/// Fails for an account that belongs elsewhere; `None` for one that there is not.
fn check_standing(standing: Standing) -> Result<Option<AccountRow>, Status> {
    match standing {
        Standing::Here(row) => Ok(Some(row)),
        Standing::Absent => Ok(None),
        Standing::Moved(shard) => Err(Fault::moved(shard).into()),
        Standing::Moving => {
            let why = "the account is moving to another shard; ask again";
            Err(Fault::new(FaultKind::Moving, why).into())
        }
    }
}

pub(super) fn no_account() -> Status {
    Status::not_found("there is no such account")
}

#[tonic::async_trait]
impl MailStore for Context {
    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Result<Response<DeliverResponse>, Status> {
        self.deliver_letter(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_credential(
        &self,
        request: Request<GetCredentialRequest>,
    ) -> Result<Response<GetCredentialResponse>, Status> {
        let (group, id) = self.readable(request.into_inner().account)?;
        let credential = self.read_account(&group, id, move |snapshot, space| {
            account::find_credential(snapshot, space, id).map_err(broken)
        });
        let credential = credential.await?;
        if credential.is_none() {
            return Err(no_account());
        }
        Ok(Response::new(GetCredentialResponse { credential }))
    }

    async fn list_mailboxes(
        &self,
        request: Request<ListMailboxesRequest>,
    ) -> Result<Response<ListMailboxesResponse>, Status> {
        self.mailboxes(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_mailbox(
        &self,
        request: Request<CreateMailboxRequest>,
    ) -> Result<Response<CreateMailboxResponse>, Status> {
        self.create(request.into_inner()).await.map(Response::new)
    }

    async fn delete_mailbox(
        &self,
        request: Request<DeleteMailboxRequest>,
    ) -> Result<Response<DeleteMailboxResponse>, Status> {
        self.delete(request.into_inner()).await.map(Response::new)
    }

    async fn rename_mailbox(
        &self,
        request: Request<RenameMailboxRequest>,
    ) -> Result<Response<RenameMailboxResponse>, Status> {
        self.rename(request.into_inner()).await.map(Response::new)
    }

    async fn set_subscription(
        &self,
        request: Request<SetSubscriptionRequest>,
    ) -> Result<Response<SetSubscriptionResponse>, Status> {
        self.subscribe(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn open_mailbox(
        &self,
        request: Request<OpenMailboxRequest>,
    ) -> Result<Response<MailboxState>, Status> {
        self.open(request.into_inner()).await.map(Response::new)
    }

    async fn list_uids(
        &self,
        request: Request<ListUidsRequest>,
    ) -> Result<Response<ListUidsResponse>, Status> {
        self.uids(request.into_inner()).await.map(Response::new)
    }

    type ListMessagesStream = Pages<MessagePage>;

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<Self::ListMessagesStream>, Status> {
        self.messages(request.into_inner()).await.map(Response::new)
    }

    type ListChangesStream = Pages<ChangePage>;

    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<Response<Self::ListChangesStream>, Status> {
        self.changes(request.into_inner()).await.map(Response::new)
    }

    type GetEmailsStream = Pages<EmailPage>;

    async fn get_emails(
        &self,
        request: Request<GetEmailsRequest>,
    ) -> Result<Response<Self::GetEmailsStream>, Status> {
        self.emails(request.into_inner()).await.map(Response::new)
    }

    type ReadMessageStream = Pages<BodyChunk>;

    async fn read_message(
        &self,
        request: Request<ReadMessageRequest>,
    ) -> Result<Response<Self::ReadMessageStream>, Status> {
        self.read_octets(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn store_flags(
        &self,
        request: Request<StoreFlagsRequest>,
    ) -> Result<Response<StoreFlagsResponse>, Status> {
        self.flags(request.into_inner()).await.map(Response::new)
    }

    async fn copy_messages(
        &self,
        request: Request<CopyMessagesRequest>,
    ) -> Result<Response<CopyMessagesResponse>, Status> {
        self.copy(request.into_inner()).await.map(Response::new)
    }

    async fn move_messages(
        &self,
        request: Request<MoveMessagesRequest>,
    ) -> Result<Response<MoveMessagesResponse>, Status> {
        self.shift(request.into_inner()).await.map(Response::new)
    }

    async fn expunge(
        &self,
        request: Request<ExpungeRequest>,
    ) -> Result<Response<ExpungeResponse>, Status> {
        self.remove(request.into_inner()).await.map(Response::new)
    }

    async fn append(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<AppendResponse>, Status> {
        self.append_message(request.into_inner())
            .await
            .map(Response::new)
    }

    type WatchStream = Pages<WatchEvent>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let WatchRequest { account, since } = request.into_inner();
        let (group, id) = self.of(account)?;
        self.check_account(&group, id).await?;
        Ok(Response::new(watch::watch(self, group, id, since)))
    }

    type HoldMaildropStream = Pages<HoldMaildropEvent>;

    async fn hold_maildrop(
        &self,
        request: Request<HoldMaildropRequest>,
    ) -> Result<Response<Self::HoldMaildropStream>, Status> {
        let (group, id) = self.of(request.into_inner().account)?;
        self.check_account(&group, id).await?;
        watch::hold_maildrop(self, group, id).map(Response::new)
    }
}
