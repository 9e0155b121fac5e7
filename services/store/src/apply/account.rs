//! Accounts on their mail shard: made, given another credential, removed.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    Credential, Done, DropAccountCommand, InitAccountCommand, RefusalKind, SetCredentialCommand,
    SpecialUse,
};
use postino_types::MailboxName;

use super::commit::{Commit, Outcome, refuse};
use super::{hold, mailbox};
use crate::db::Family;
use crate::model::account::{self, AccountRow};
use crate::model::mailbox as rows;
use crate::model::{Rows, last_u64};

/// The mailboxes of a new account beside INBOX, all subscribed.
const MAILBOXES: [(&str, SpecialUse); 4] = [
    ("Drafts", SpecialUse::Drafts),
    ("Sent", SpecialUse::Sent),
    ("Junk", SpecialUse::Junk),
    ("Trash", SpecialUse::Trash),
];

fn known(commit: &Commit<'_>, id: u64) -> Outcome<Option<AccountRow>> {
    Ok(account::row(&commit.rows, commit.space(), id)?)
}

/// Makes an account with its first mailboxes. One that is there stays as it is; one that was
/// removed does not come back.
pub(super) fn init(commit: &mut Commit<'_>, command: InitAccountCommand) -> Outcome {
    hold::check(commit)?;
    let id = command.account;
    match known(commit, id)? {
        Some(row) if row.gone => {
            return Err(refuse(
                RefusalKind::FailedPrecondition,
                "the account was removed",
            ));
        }
        Some(_) => return Ok(Answer::Done(Done {})),
        None => {}
    }
    let mut row = AccountRow {
        address: command.address,
        quota_octets: command.quota_octets,
        quota_messages: command.quota_messages,
        ..AccountRow::default()
    };
    // INBOX first: its id is fixed.
    mailbox::add(commit, id, &mut row, &MailboxName::inbox(), 0, u32::MAX)?;
    for (name, special_use) in MAILBOXES {
        let name: MailboxName = name.parse().expect("a valid name");
        mailbox::add(commit, id, &mut row, &name, special_use.into(), u32::MAX)?;
    }
    let names = MAILBOXES.iter().map(|(name, _)| *name);
    for name in names.chain(["INBOX"]) {
        let key = rows::subscribed(commit.space(), id, name);
        commit
            .rows
            .put(Family::Mailbox, key, crate::model::fixed(&[]));
    }
    commit.put_account(id, &row);
    let credential = Credential {
        epoch: 1,
        ..command.credential.unwrap_or_default()
    };
    let key = account::credential(commit.space(), id);
    commit.put(Family::Mailbox, key, &credential);
    Ok(Answer::Done(Done {}))
}

/// Removes an account for good. Its messages go later, by the reaper; a mark stays, also of an
/// account that was never made, so that a late command cannot make it.
pub(super) fn drop(commit: &mut Commit<'_>, command: &DropAccountCommand) -> Outcome {
    hold::check(commit)?;
    let id = command.account;
    let row = known(commit, id)?.unwrap_or_default();
    if row.gone {
        return Ok(Answer::Done(Done {}));
    }
    let gone = AccountRow {
        gone: true,
        last_move: row.last_move,
        ..AccountRow::default()
    };
    clear(commit, id, row, &gone)?;
    Ok(Answer::Done(Done {}))
}

/// Leaves of an account nothing but `mark`. Its messages go later, by the reaper.
pub(super) fn clear(
    commit: &mut Commit<'_>,
    id: u64,
    mut row: AccountRow,
    mark: &AccountRow,
) -> Outcome<()> {
    let space = commit.space();
    let range = rows::mailboxes(space, id);
    for (key, _) in commit.rows.page(Family::Mailbox, &range, usize::MAX)? {
        mailbox::doom(commit, id, &mut row, last_u64(&key)?)?;
    }
    let range = rows::subscriptions(space, id);
    for (key, _) in commit.rows.page(Family::Mailbox, &range, usize::MAX)? {
        commit.rows.delete_raw(Family::Mailbox, key);
    }
    commit
        .rows
        .delete(Family::Mailbox, account::credential(space, id));
    commit.put_account(id, mark);
    Ok(())
}

/// Tells those who follow the account to look again.
pub(super) fn touch_all(commit: &mut Commit<'_>, id: u64) -> Outcome<()> {
    for (mailbox, _) in rows::all(&commit.rows, commit.space(), id)? {
        commit.touch(id, mailbox);
    }
    Ok(())
}

/// Gives an account another credential, under the next epoch.
pub(super) fn set_credential(commit: &mut Commit<'_>, command: SetCredentialCommand) -> Outcome {
    commit.account(command.account)?;
    let old = account::find_credential(&commit.rows, commit.space(), command.account)?;
    let credential = Credential {
        epoch: old.map_or(0, |old| old.epoch) + 1,
        ..command.credential.unwrap_or_default()
    };
    let key = account::credential(commit.space(), command.account);
    commit.put(Family::Mailbox, key, &credential);
    Ok(Answer::Done(Done {}))
}
