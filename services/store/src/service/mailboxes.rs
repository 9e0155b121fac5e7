//! Mailboxes: what they are called and how they stand.

use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::open_mailbox_request::Which;
use postino_proto::store::v1::*;
use tonic::Status;

use super::mailstore::standing;
use super::{Context, convert, required};
use crate::db::{Family, Space};
use crate::model::mailbox::{self, MailboxRow};
use crate::model::message::{self, MessageRow};
use crate::model::{Flow, Rows, last_u32};
use crate::shards::{broken, unexpected};

/// Messages that are looked at for the first unseen one. Beyond that, none is named: SELECT must
/// not become slow, and a client can make no assumption then (RFC 3501 section 7.1).
const UNSEEN_SCAN: usize = 5_000;

pub(super) fn no_mailbox() -> Status {
    Status::not_found("there is no such mailbox")
}

/// A mailbox as SELECT, STATUS and LIST see it.
fn state(
    rows: &impl Rows,
    space: Space,
    account: u64,
    id: u64,
    row: MailboxRow,
) -> Result<MailboxState, Status> {
    let key = mailbox::subscribed(space, account, &row.name);
    let subscribed = rows.get(Family::Mailbox, key).map_err(broken)?.is_some();
    Ok(MailboxState {
        mailbox: id,
        uid_validity: row.uid_validity,
        uid_next: row.uid_next,
        highest_mod_seq: row.highest_mod_seq,
        exists: row.exists,
        unseen: row.unseen,
        deleted: row.deleted,
        size: row.size,
        first_recent: row.recent_floor,
        first_unseen: 0,
        special_use: row.special_use,
        keywords: row.keywords_in_use(),
        subscribed,
        name: row.name,
    })
}

/// The first unseen message, if it is found soon.
fn first_unseen(
    rows: &impl Rows,
    space: Space,
    account: u64,
    id: u64,
    row: &MailboxRow,
) -> Result<u32, Status> {
    if row.unseen == 0 {
        return Ok(0);
    }
    let range = message::between(space, account, id, row.unseen_floor, u32::MAX);
    let (mut found, mut looked) = (0, 0);
    let visited = rows.visit(Family::Mailbox, &range, &mut |key, value| {
        if MessageRow::decode(value)?.is_unseen() {
            found = last_u32(key)?;
        }
        looked += 1;
        Ok(match found == 0 && looked < UNSEEN_SCAN {
            true => Flow::Continue(()),
            false => Flow::Break(()),
        })
    });
    visited.map_err(broken)?;
    Ok(found)
}

fn list(rows: &impl Rows, space: Space, id: u64) -> Result<ListMailboxesResponse, Status> {
    standing(rows, space, id)?;
    let found = mailbox::all(rows, space, id).map_err(broken)?;
    let mut mailboxes = Vec::with_capacity(found.len());
    for (mailbox, row) in found {
        mailboxes.push(state(rows, space, id, mailbox, row)?);
    }
    Ok(ListMailboxesResponse {
        mailboxes,
        subscribed: Vec::new(),
    })
}

fn subscribed(rows: &impl Rows, space: Space, id: u64) -> Result<Vec<String>, Status> {
    let mut names = Vec::new();
    let range = mailbox::subscriptions(space, id);
    let visited = rows.visit(Family::Mailbox, &range, &mut |key, _| {
        names.push(mailbox::parse_name(space, key)?);
        Ok(Flow::Continue(()))
    });
    visited.map_err(broken)?;
    Ok(names)
}

impl Context {
    pub(super) async fn mailboxes(
        &self,
        request: ListMailboxesRequest,
    ) -> Result<ListMailboxesResponse, Status> {
        let (group, id) = self.readable(request.account)?;
        let read = self.shards.read(&group, move |snapshot, space| {
            let mut response = list(snapshot, space, id)?;
            if request.subscriptions {
                response.subscribed = subscribed(snapshot, space, id)?;
            }
            Ok(response)
        });
        read.await
    }

    pub(super) async fn create(
        &self,
        request: CreateMailboxRequest,
    ) -> Result<CreateMailboxResponse, Status> {
        let (group, account) = self.of(request.account)?;
        let command = CreateMailboxCommand {
            account,
            name: convert::mailbox_name(&request.name)?,
            special_use: request.special_use,
            mailbox_limit: self.config.mailbox_limit,
        };
        let committed = self
            .shards
            .propose(&group, Kind::CreateMailbox(command), None);
        match committed.await?.answer {
            Answer::Mailbox(made) => Ok(made),
            answer => unexpected(&answer),
        }
    }

    pub(super) async fn delete(
        &self,
        request: DeleteMailboxRequest,
    ) -> Result<DeleteMailboxResponse, Status> {
        let (group, account) = self.of(request.account)?;
        let name = convert::mailbox_name(&request.name)?;
        let command = DeleteMailboxCommand { account, name };
        self.shards
            .propose(&group, Kind::DeleteMailbox(command), None)
            .await?;
        self.reaper.notify_waiters();
        Ok(DeleteMailboxResponse {})
    }

    pub(super) async fn rename(
        &self,
        request: RenameMailboxRequest,
    ) -> Result<RenameMailboxResponse, Status> {
        let (group, account) = self.of(request.account)?;
        let mut command = RenameMailboxCommand {
            account,
            from: convert::mailbox_name(&request.from)?,
            to: convert::mailbox_name(&request.to)?,
            mailbox_limit: self.config.mailbox_limit,
            limit: self.config.messages_page,
            target_mailbox: 0,
        };
        loop {
            let kind = Kind::RenameMailbox(command.clone());
            let committed = self.shards.propose(&group, kind, None).await?;
            match committed.answer {
                Answer::Renamed(renamed) if renamed.next_uid == 0 => {
                    return Ok(RenameMailboxResponse {});
                }
                Answer::Renamed(renamed) => command.target_mailbox = renamed.target_mailbox,
                answer => return unexpected(&answer),
            }
        }
    }

    pub(super) async fn subscribe(
        &self,
        request: SetSubscriptionRequest,
    ) -> Result<SetSubscriptionResponse, Status> {
        let (group, account) = self.of(request.account)?;
        let command = SubscribeCommand {
            account,
            name: convert::mailbox_name(&request.name)?,
            subscribed: request.subscribed,
        };
        self.shards
            .propose(&group, Kind::Subscribe(command), None)
            .await?;
        Ok(SetSubscriptionResponse {})
    }

    pub(super) async fn open(&self, request: OpenMailboxRequest) -> Result<MailboxState, Status> {
        let (group, account) = self.readable(request.account)?;
        let which = match required(request.which, "the mailbox")? {
            Which::Name(name) => Which::Name(convert::mailbox_name(&name)?),
            id => id,
        };
        let read = self.read_account(&group, account, move |snapshot, space| {
            let id = match which {
                Which::Mailbox(id) => Some(id),
                Which::Name(name) => {
                    mailbox::find_named(snapshot, space, account, &name).map_err(broken)?
                }
            };
            let id = id.ok_or_else(no_mailbox)?;
            let row = mailbox::find(snapshot, space, account, id).map_err(broken)?;
            let row = row.ok_or_else(no_mailbox)?;
            let first_unseen = first_unseen(snapshot, space, account, id, &row)?;
            let state = state(snapshot, space, account, id, row)?;
            Ok(MailboxState {
                first_unseen,
                ..state
            })
        });
        let mut state = read.await?;
        // Nothing is written where there is nothing to claim.
        if request.claim_recent && state.first_recent < state.uid_next {
            let mailbox = state.mailbox;
            let command = ClaimRecentCommand { account, mailbox };
            let committed = self
                .shards
                .propose(&group, Kind::ClaimRecent(command), None);
            match committed.await?.answer {
                Answer::Recent(claimed) => state.first_recent = claimed.first_recent,
                answer => return unexpected(&answer),
            }
        }
        Ok(state)
    }

    pub(super) async fn uids(&self, request: ListUidsRequest) -> Result<ListUidsResponse, Status> {
        let (group, account) = self.readable(request.account)?;
        let id = request.mailbox;
        let read = self.read_account(&group, account, move |snapshot, space| {
            let row = mailbox::find(snapshot, space, account, id).map_err(broken)?;
            let row = row.ok_or_else(no_mailbox)?;
            let uids = mailbox::uid_runs(snapshot, space, account, id, &row).map_err(broken)?;
            Ok(ListUidsResponse {
                uids,
                highest_mod_seq: row.highest_mod_seq,
            })
        });
        read.await
    }
}
