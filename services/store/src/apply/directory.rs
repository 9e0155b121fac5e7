//! The control group: domains, addresses, where accounts live, nodes.
//!
//! The states of an account, and what moves between them. Creating and removing spans two groups;
//! each step can be repeated, and a new leader of the control group goes on where the last one
//! stopped.
//!
//! | from     | to       | by                                                        |
//! |----------|----------|-----------------------------------------------------------|
//! | (none)   | CREATING | CreateAccount                                             |
//! | CREATING | ACTIVE   | ActivateAccount, after InitAccount on the account's shard |
//! | CREATING | REMOVING | CloseAccount                                              |
//! | ACTIVE   | REMOVING | CloseAccount                                              |
//! | REMOVING | (none)   | ForgetAccount, after DropAccount on the account's shard   |

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    AccountEntry, AccountState, ActivateAccountCommand, AddDomainCommand, AllocateNodeCommand,
    AllocatedNode, CloseAccountCommand, CreateAccountCommand, Done, ForgetAccountCommand,
    NodeState, RefusalKind, RemoveAliasCommand, RemoveDomainCommand, SetAliasCommand,
};

use super::commit::{Commit, Outcome, refuse};
use crate::db::Family;
use crate::model::directory::{self, AccountRow, AddressRow, ControlRow, DomainRow, NodeRow};
use crate::model::{Rows, fixed};

impl Commit<'_> {
    fn domain(&self, domain: &str) -> Outcome<DomainRow> {
        let key = directory::domain(self.space(), domain);
        let row = self.rows.row(Family::Directory, key)?;
        row.ok_or_else(|| {
            let message = format!("the domain {domain} is not one of ours; add it first");
            refuse(RefusalKind::FailedPrecondition, message)
        })
    }

    /// Counts an address of a domain in or out.
    fn count_address(&mut self, domain: &str, change: impl Fn(u64) -> u64) -> Outcome<()> {
        let mut row = self.domain(domain)?;
        row.addresses = change(row.addresses);
        let key = directory::domain(self.space(), domain);
        self.put(Family::Directory, key, &row);
        Ok(())
    }

    pub(super) fn count_load(&mut self, shard: u32, change: impl Fn(u64) -> u64) -> Outcome<()> {
        let count = change(directory::find_load(&self.rows, self.space(), shard)?);
        let key = directory::load(self.space(), shard);
        self.rows
            .put(Family::Directory, key, fixed(&[&count.to_be_bytes()]));
        Ok(())
    }

    pub(super) fn address(&self, domain: &str, local_part: &str) -> Outcome<Option<AddressRow>> {
        Ok(directory::find_address(
            &self.rows,
            self.space(),
            domain,
            local_part,
        )?)
    }

    pub(super) fn control(&self) -> Outcome<ControlRow> {
        let key = directory::control(self.space());
        Ok(self.rows.row(Family::Directory, key)?.unwrap_or_default())
    }

    pub(super) fn directory_account(&self, id: u64) -> Outcome<Option<AccountRow>> {
        Ok(directory::find_account(&self.rows, self.space(), id)?)
    }
}

pub(super) fn add_domain(commit: &mut Commit<'_>, command: &AddDomainCommand) -> Outcome {
    let key = directory::domain(commit.space(), &command.domain);
    if commit.rows.get(Family::Directory, key)?.is_some() {
        return Err(refuse(RefusalKind::AlreadyExists, "the domain exists"));
    }
    let key = directory::domain(commit.space(), &command.domain);
    commit.put(Family::Directory, key, &DomainRow::default());
    Ok(Answer::Done(Done {}))
}

pub(super) fn remove_domain(commit: &mut Commit<'_>, command: &RemoveDomainCommand) -> Outcome {
    let key = directory::domain(commit.space(), &command.domain);
    let row: Option<DomainRow> = commit.rows.row(Family::Directory, key)?;
    match row {
        None => return Err(refuse(RefusalKind::NotFound, "there is no such domain")),
        Some(row) if row.addresses > 0 => {
            let message = "the domain has accounts or aliases; remove them first";
            return Err(refuse(RefusalKind::FailedPrecondition, message));
        }
        Some(_) => {}
    }
    let key = directory::domain(commit.space(), &command.domain);
    commit.rows.delete(Family::Directory, key);
    Ok(Answer::Done(Done {}))
}

/// Gives an address a new account on the mail shard that has the fewest.
pub(super) fn create_account(commit: &mut Commit<'_>, command: CreateAccountCommand) -> Outcome {
    commit.domain(&command.domain)?;
    if let Some(taken) = commit.address(&command.domain, &command.local_part)? {
        return Err(address_taken(commit, &taken)?);
    }
    let shard = emptiest(commit, command.mail_shards)?;
    let mut control = commit.control()?;
    control.last_account += 1;
    let id = control.last_account;
    let space = commit.space();
    commit.put(Family::Directory, directory::control(space), &control);
    let address = AddressRow {
        account: id,
        targets: Vec::new(),
        address: command.address.clone(),
    };
    let key = directory::address(space, &command.domain, &command.local_part);
    commit.put(Family::Directory, key, &address);
    commit.count_address(&command.domain, |count| count + 1)?;
    commit.count_load(shard, |count| count + 1)?;
    let row = AccountRow {
        address: command.address,
        domain: command.domain,
        local_part: command.local_part,
        shard,
        state: AccountState::Creating.into(),
        credential: command.credential,
        quota_octets: command.quota_octets,
        quota_messages: command.quota_messages,
        moving: None,
    };
    commit.put(Family::Directory, directory::account(space, id), &row);
    commit
        .rows
        .put(Family::Directory, directory::saga(space, id), fixed(&[]));
    Ok(entry(id, row))
}

pub(super) fn entry(id: u64, row: AccountRow) -> Answer {
    Answer::Account(AccountEntry {
        account: id,
        shard: row.shard,
        address: row.address,
        state: row.state,
        moving: row.moving,
    })
}

fn address_taken(commit: &Commit<'_>, taken: &AddressRow) -> Outcome<super::Rejection> {
    let message = match taken.account {
        0 => "the address is an alias; remove that first",
        id => match commit.directory_account(id)?.map(|row| row.state) {
            Some(state) if state == i32::from(AccountState::Removing) => {
                "the address's last account is still being removed; try again soon"
            }
            Some(state) if state == i32::from(AccountState::Creating) => {
                "the account is being made"
            }
            _ => "the account exists",
        },
    };
    Ok(refuse(RefusalKind::AlreadyExists, message))
}

fn emptiest(commit: &Commit<'_>, mail_shards: u32) -> Outcome<u32> {
    let mut best = None;
    for shard in 1..=mail_shards {
        let load = directory::find_load(&commit.rows, commit.space(), shard)?;
        if best.is_none_or(|(least, _)| load < least) {
            best = Some((load, shard));
        }
    }
    let best = best.map(|(_, shard)| shard);
    best.ok_or_else(|| refuse(RefusalKind::Invalid, "there is no mail shard"))
}

/// The account is on its shard: mail and logins may come.
pub(super) fn activate_account(
    commit: &mut Commit<'_>,
    command: &ActivateAccountCommand,
) -> Outcome {
    let Some(mut row) = commit.directory_account(command.account)? else {
        return Err(refuse(RefusalKind::NotFound, "there is no such account"));
    };
    if row.state == i32::from(AccountState::Removing) {
        return Err(refuse(
            RefusalKind::FailedPrecondition,
            "the account is being removed",
        ));
    }
    row.state = AccountState::Active.into();
    row.credential = None;
    let space = commit.space();
    commit.put(
        Family::Directory,
        directory::account(space, command.account),
        &row,
    );
    commit
        .rows
        .delete(Family::Directory, directory::saga(space, command.account));
    Ok(entry(command.account, row))
}

/// Hides an account from mail and logins, so that it can be removed.
pub(super) fn close_account(commit: &mut Commit<'_>, command: &CloseAccountCommand) -> Outcome {
    let missing = || refuse(RefusalKind::NotFound, "there is no such account");
    let address = commit.address(&command.domain, &command.local_part)?;
    let id = address.map_or(0, |address| address.account);
    let mut row = commit.directory_account(id)?.ok_or_else(missing)?;
    if row.moving.is_some() {
        let why = "the account is moving to another shard: wait until it is there \
                   (postino account moves)";
        return Err(refuse(RefusalKind::FailedPrecondition, why));
    }
    row.state = AccountState::Removing.into();
    row.credential = None;
    let space = commit.space();
    commit.put(Family::Directory, directory::account(space, id), &row);
    commit
        .rows
        .put(Family::Directory, directory::saga(space, id), fixed(&[]));
    Ok(entry(id, row))
}

/// The account is gone from its shard: its address is free.
pub(super) fn forget_account(commit: &mut Commit<'_>, command: &ForgetAccountCommand) -> Outcome {
    let Some(row) = commit.directory_account(command.account)? else {
        return Ok(Answer::Done(Done {}));
    };
    if row.state != i32::from(AccountState::Removing) {
        return Err(refuse(
            RefusalKind::FailedPrecondition,
            "the account is not being removed",
        ));
    }
    let space = commit.space();
    let key = directory::address(space, &row.domain, &row.local_part);
    commit.rows.delete(Family::Directory, key);
    commit.rows.delete(
        Family::Directory,
        directory::account(space, command.account),
    );
    commit
        .rows
        .delete(Family::Directory, directory::saga(space, command.account));
    commit.count_address(&row.domain, |count| count.saturating_sub(1))?;
    commit.count_load(row.shard, |count| count.saturating_sub(1))?;
    Ok(Answer::Done(Done {}))
}

/// Adds an alias, or changes where one leads.
pub(super) fn set_alias(commit: &mut Commit<'_>, command: SetAliasCommand) -> Outcome {
    commit.domain(&command.domain)?;
    match commit.address(&command.domain, &command.local_part)? {
        Some(taken) if taken.account != 0 => {
            let message = "the address is an account; remove that first";
            return Err(refuse(RefusalKind::AlreadyExists, message));
        }
        Some(_) => {}
        None => commit.count_address(&command.domain, |count| count + 1)?,
    }
    let row = AddressRow {
        account: 0,
        targets: command.targets,
        address: command.address,
    };
    let key = directory::address(commit.space(), &command.domain, &command.local_part);
    commit.put(Family::Directory, key, &row);
    Ok(Answer::Done(Done {}))
}

pub(super) fn remove_alias(commit: &mut Commit<'_>, command: &RemoveAliasCommand) -> Outcome {
    let address = commit.address(&command.domain, &command.local_part)?;
    if address.is_none_or(|address| address.account != 0) {
        return Err(refuse(RefusalKind::NotFound, "there is no such alias"));
    }
    let key = directory::address(commit.space(), &command.domain, &command.local_part);
    commit.rows.delete(Family::Directory, key);
    commit.count_address(&command.domain, |count| count.saturating_sub(1))?;
    Ok(Answer::Done(Done {}))
}

/// Gives a node its id: from the log's index, higher than any before, so never used again.
pub(super) fn allocate_node(commit: &mut Commit<'_>, command: AllocateNodeCommand) -> Outcome {
    let mut control = commit.control()?;
    // The first node of a cluster is 1 and never asks.
    let id = commit.index.max(control.last_node + 1).max(2);
    control.last_node = id;
    let space = commit.space();
    commit.put(Family::Directory, directory::control(space), &control);
    let nodes = directory::all_nodes(&commit.rows, space)?.into_iter();
    let before = nodes.filter(|(_, row)| {
        row.endpoint == command.endpoint && row.standing() != NodeState::Removed
    });
    let row = NodeRow {
        replaces: before.map(|(id, _)| id).max().unwrap_or(0),
        endpoint: command.endpoint,
        zone: String::new(),
        state: NodeState::Joining.into(),
    };
    commit.put(Family::Directory, directory::node(space, id), &row);
    Ok(Answer::Node(AllocatedNode { node: id }))
}
