//! Mailboxes: made, removed, renamed, subscribed.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    ClaimRecentAnswer, ClaimRecentCommand, CreateMailboxCommand, CreateMailboxResponse,
    DeleteMailboxCommand, Done, RefusalKind, RenameAnswer, RenameMailboxCommand, SubscribeCommand,
    UidRange,
};
use postino_types::MailboxName;

use super::commit::{Commit, Outcome, refuse};
use super::copy::{put_in, take_out};
use crate::db::{DbError, Family};
use crate::model::account::AccountRow;
use crate::model::mailbox::{self, INBOX, MailboxRow};
use crate::model::{Flow, Rows, fixed, last_u64, spool};

fn parsed(name: &str) -> Outcome<MailboxName> {
    let parsed = name.parse::<MailboxName>();
    parsed.map_err(|error| refuse(RefusalKind::Invalid, error.to_string()))
}

/// Makes a mailbox and its missing parents.
pub(super) fn create(commit: &mut Commit<'_>, command: &CreateMailboxCommand) -> Outcome {
    let name = parsed(&command.name)?;
    let mut account = commit.account(command.account)?;
    let special_use = command.special_use;
    let (id, row) = add_with_parents(
        commit,
        command.account,
        &mut account,
        &name,
        special_use,
        command.mailbox_limit,
    )?;
    commit.put_account(command.account, &account);
    Ok(Answer::Mailbox(CreateMailboxResponse {
        mailbox: id,
        uid_validity: row.uid_validity,
    }))
}

fn exists(commit: &Commit<'_>, account: u64, name: &MailboxName) -> Result<bool, DbError> {
    let id = mailbox::find_named(&commit.rows, commit.space(), account, name.as_str())?;
    Ok(id.is_some())
}

/// Makes the mailbox and the levels above it that do not exist (RFC 3501 section 6.3.3).
fn add_with_parents(
    commit: &mut Commit<'_>,
    account_id: u64,
    account: &mut AccountRow,
    name: &MailboxName,
    special_use: i32,
    limit: u32,
) -> Outcome<(u64, MailboxRow)> {
    if exists(commit, account_id, name)? {
        return Err(refuse(RefusalKind::AlreadyExists, "the mailbox exists"));
    }
    add_parents(commit, account_id, account, name, limit)?;
    add(commit, account_id, account, name, special_use, limit)
}

fn add_parents(
    commit: &mut Commit<'_>,
    account_id: u64,
    account: &mut AccountRow,
    name: &MailboxName,
    limit: u32,
) -> Outcome<()> {
    let mut missing = Vec::new();
    let mut level = name.parent();
    while let Some(parent) = level {
        if exists(commit, account_id, &parent)? {
            break;
        }
        level = parent.parent();
        missing.push(parent);
    }
    for parent in missing.into_iter().rev() {
        add(commit, account_id, account, &parent, 0, limit)?;
    }
    Ok(())
}

/// Makes one mailbox under a new id and UIDVALIDITY.
pub(super) fn add(
    commit: &mut Commit<'_>,
    account_id: u64,
    account: &mut AccountRow,
    name: &MailboxName,
    special_use: i32,
    limit: u32,
) -> Outcome<(u64, MailboxRow)> {
    if account.mailboxes >= limit {
        return Err(refuse(
            RefusalKind::TooBig,
            "the account has too many mailboxes",
        ));
    }
    account.mailboxes += 1;
    account.last_mailbox += 1;
    account.highest_mod_seq += 1;
    let mut row = MailboxRow::new(
        name.as_str(),
        next_uid_validity(commit, account),
        special_use,
    );
    row.highest_mod_seq = account.highest_mod_seq;
    let id = account.last_mailbox;
    put_name(commit, account_id, name.as_str(), id);
    commit.put_mailbox(account_id, id, &row);
    Ok((id, row))
}

/// A UIDVALIDITY that rises for every mailbox made (RFC 3501 section 2.3.1.1): the time in
/// seconds, or one more than the last.
fn next_uid_validity(commit: &Commit<'_>, account: &mut AccountRow) -> u32 {
    let now = u32::try_from(commit.now_ms() / 1000).unwrap_or(u32::MAX);
    account.last_uid_validity = now.max(account.last_uid_validity.saturating_add(1)).max(1);
    account.last_uid_validity
}

fn put_name(commit: &mut Commit<'_>, account: u64, name: &str, id: u64) {
    let key = mailbox::name(commit.space(), account, name);
    commit
        .rows
        .put(Family::Mailbox, key, fixed(&[&id.to_be_bytes()]));
}

/// Removes a mailbox. Its messages go later, a page at a time; from now on nobody sees them.
pub(super) fn delete(commit: &mut Commit<'_>, command: &DeleteMailboxCommand) -> Outcome {
    let name = parsed(&command.name)?;
    if name.is_inbox() {
        return Err(refuse(RefusalKind::FailedPrecondition, "INBOX stays"));
    }
    let (id, _) = commit.mailbox_named(command.account, name.as_str())?;
    let mut account = commit.account(command.account)?;
    doom(commit, command.account, &mut account, id)?;
    account.highest_mod_seq += 1;
    commit.put_account(command.account, &account);
    Ok(Answer::Done(Done {}))
}

/// Removes a mailbox from sight and leaves its messages to the reaper.
pub(super) fn doom(
    commit: &mut Commit<'_>,
    account_id: u64,
    account: &mut AccountRow,
    id: u64,
) -> Outcome<()> {
    let space = commit.space();
    let row = commit.mailbox(account_id, id)?;
    let key = mailbox::name(space, account_id, &row.name);
    commit.rows.delete(Family::Mailbox, key);
    let key = mailbox::mailbox(space, account_id, id);
    commit.rows.delete(Family::Mailbox, key);
    account.mailboxes = account.mailboxes.saturating_sub(1);
    account.octets = account.octets.saturating_sub(row.size);
    account.messages = account.messages.saturating_sub(u64::from(row.exists));
    commit.rows.put(
        Family::Spool,
        spool::doomed(space, account_id, id),
        fixed(&[]),
    );
    commit.touch(account_id, id);
    Ok(())
}

/// Renames a mailbox and all below it; INBOX is emptied into a new one instead
/// (RFC 3501 section 6.3.5).
pub(super) fn rename(commit: &mut Commit<'_>, command: &RenameMailboxCommand) -> Outcome {
    let (from, to) = (parsed(&command.from)?, parsed(&command.to)?);
    if from.is_inbox() {
        return empty_inbox(commit, command, &to);
    }
    let mut account = commit.account(command.account)?;
    let moves = renames(commit, command.account, &from, &to)?;
    if moves.is_empty() {
        return Err(refuse(RefusalKind::NotFound, "there is no such mailbox"));
    }
    let inside = to.renamed(&from, &from).is_some();
    for (_, _, new) in &moves {
        if inside || exists(commit, command.account, new)? {
            return Err(refuse(RefusalKind::AlreadyExists, "the new name is taken"));
        }
    }
    add_parents(
        commit,
        command.account,
        &mut account,
        &to,
        command.mailbox_limit,
    )?;
    for (id, old, new) in moves {
        let key = mailbox::name(commit.space(), command.account, &old);
        commit.rows.delete(Family::Mailbox, key);
        put_name(commit, command.account, new.as_str(), id);
        let row = commit.mailbox(command.account, id)?;
        let row = MailboxRow {
            name: new.as_str().to_owned(),
            ..row
        };
        commit.put_mailbox(command.account, id, &row);
    }
    account.highest_mod_seq += 1;
    commit.put_account(command.account, &account);
    Ok(Answer::Renamed(RenameAnswer::default()))
}

/// Each mailbox that a rename touches: id, old name, new name.
fn renames(
    commit: &Commit<'_>,
    account: u64,
    from: &MailboxName,
    to: &MailboxName,
) -> Outcome<Vec<(u64, String, MailboxName)>> {
    let space = commit.space();
    let mut names = Vec::new();
    commit.rows.visit(
        Family::Mailbox,
        &mailbox::names(space, account),
        &mut |key, value| {
            names.push((last_u64(value)?, mailbox::parse_name(space, key)?));
            Ok(Flow::Continue(()))
        },
    )?;
    let mut moves = Vec::new();
    let mut found = false;
    for (id, old) in names {
        let name = parsed(&old)?;
        found |= name == *from;
        if let Some(new) = name.renamed(from, to) {
            let new = new.map_err(|error| refuse(RefusalKind::Invalid, error.to_string()))?;
            moves.push((id, old, new));
        }
    }
    Ok(if found { moves } else { Vec::new() })
}

/// Moves a page of INBOX into a mailbox that the first page makes.
fn empty_inbox(
    commit: &mut Commit<'_>,
    command: &RenameMailboxCommand,
    to: &MailboxName,
) -> Outcome {
    let target_id = match command.target_mailbox {
        0 => {
            let mut account = commit.account(command.account)?;
            let limit = command.mailbox_limit;
            let (id, _) = add_with_parents(commit, command.account, &mut account, to, 0, limit)?;
            commit.put_account(command.account, &account);
            id
        }
        id => id,
    };
    let all = [UidRange {
        first: 1,
        last: u32::MAX,
    }];
    let mut inbox = commit.open(command.account, INBOX)?;
    let (messages, next_uid) = commit.messages(&inbox, &all, command.limit)?;
    take_out(commit, &mut inbox, &messages)?;
    let mut target = commit.open(command.account, target_id)?;
    put_in(commit, &inbox, &mut target, &messages)?;
    Ok(Answer::Renamed(RenameAnswer {
        next_uid,
        target_mailbox: target_id,
    }))
}

/// Subscribes to a name, which need not exist, or ends that.
pub(super) fn subscribe(commit: &mut Commit<'_>, command: &SubscribeCommand) -> Outcome {
    let name = parsed(&command.name)?;
    commit.account(command.account)?;
    let key = mailbox::subscribed(commit.space(), command.account, name.as_str());
    match command.subscribed {
        true => commit.rows.put(Family::Mailbox, key, fixed(&[])),
        false => commit.rows.delete(Family::Mailbox, key),
    }
    Ok(Answer::Done(Done {}))
}

/// Gives the messages that no session has seen yet to the one that asks.
pub(super) fn claim_recent(commit: &mut Commit<'_>, command: &ClaimRecentCommand) -> Outcome {
    commit.account(command.account)?;
    let mut row = commit.mailbox(command.account, command.mailbox)?;
    let first_recent = row.recent_floor;
    if row.recent_floor != row.uid_next {
        row.recent_floor = row.uid_next;
        // Written past put_mailbox: nobody is told, since nothing that others see has changed.
        let key = mailbox::mailbox(commit.space(), command.account, command.mailbox);
        commit.put(Family::Mailbox, key, &row);
    }
    Ok(Answer::Recent(ClaimRecentAnswer { first_recent }))
}
