//! `Admin`: what every `postino` command calls. Any node takes a call; one that does not lead the
//! control group hands it on to the one that does.

use postino_client::Channel;
use postino_proto::admin::v1::admin_client::AdminClient;
use postino_proto::admin::v1::admin_server::Admin;
use postino_proto::admin::v1::*;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::*;
use postino_types::{Domain, EmailAddress, ShardId};
use tonic::{Code, Request, Response, Status};

use super::directory::account_entry;
use super::pages::Pages;
use super::{Context, admin_queue, mover, required, saga};
use crate::db::Family;
use crate::model::directory::{self as rows, AddressRow};
use crate::model::{Flow, Rows, decode};
use crate::raft::Group;
use crate::shards::{broken, unexpected};

/// Accounts in one answer.
const ACCOUNTS_PAGE: u32 = 1_000;

impl Context {
    /// A client for the node at `endpoint`.
    fn admin_at(&self, endpoint: &str) -> Result<AdminClient<Channel>, Status> {
        let max = self.shards.max_message();
        Ok(AdminClient::new(self.shards.channel_to(endpoint)?)
            .max_decoding_message_size(max)
            .max_encoding_message_size(max))
    }
}

fn domain(text: &str) -> Result<String, Status> {
    let domain = text.parse::<Domain>();
    let domain = domain.map_err(|error| Status::invalid_argument(format!("{text:?}: {error}")))?;
    match domain.is_literal() {
        true => Err(Status::invalid_argument(
            "an address literal is no domain to add",
        )),
        false => Ok(domain.as_str().to_owned()),
    }
}

/// An address, folded into domain and local part.
struct Folded {
    domain: String,
    local_part: String,
    /// As it is printed.
    address: String,
}

fn address(text: &str) -> Result<Folded, Status> {
    let address = text.parse::<EmailAddress>();
    let address =
        address.map_err(|error| Status::invalid_argument(format!("{text:?}: {error}")))?;
    Ok(Folded {
        domain: domain(address.domain().as_str())?,
        local_part: address.local().folded(),
        address: address.to_string(),
    })
}

/// An address of an account: without a tag, which would never be looked up.
fn account_address(text: &str) -> Result<Folded, Status> {
    let parsed = text.parse::<EmailAddress>();
    if parsed.is_ok_and(|address| address.without_tag().is_some()) {
        return Err(Status::invalid_argument("an account's address has no +tag"));
    }
    address(text)
}

/// An address, or a whole domain as `@domain`.
fn alias_address(text: &str) -> Result<Folded, Status> {
    match text.strip_prefix('@') {
        Some(rest) => {
            let domain = domain(rest)?;
            Ok(Folded {
                address: format!("@{domain}"),
                domain,
                local_part: String::new(),
            })
        }
        None => account_address(text),
    }
}

/// A credential made by the client: it must at least have a hash.
fn credential(credential: Option<Credential>) -> Result<Credential, Status> {
    let credential = required(credential, "the credential")?;
    match credential.password_hash.is_empty() {
        true => Err(Status::invalid_argument("the credential has no hash")),
        false => Ok(credential),
    }
}

impl Context {
    async fn control(&self, group: &Group, kind: Kind) -> Result<Answer, Status> {
        let committed = self.shards.propose(group, kind, None).await?;
        Ok(committed.answer)
    }

    async fn find_account(&self, group: &Group, text: &str) -> Result<AccountEntry, Status> {
        let folded = address(text)?;
        let found = self.shards.read(group, move |snapshot, space| {
            let (domain, local) = (&folded.domain, &folded.local_part);
            let row = rows::find_address(snapshot, space, domain, local).map_err(broken)?;
            let id = row.map_or(0, |row| row.account);
            account_entry(snapshot, space, id).map_err(broken)
        });
        let found = found.await?;
        found.ok_or_else(|| Status::not_found(format!("there is no account {text}")))
    }
}

#[tonic::async_trait]
impl Admin for Context {
    async fn add_domain(
        &self,
        request: Request<AddDomainRequest>,
    ) -> Result<Response<AddDomainResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.add_domain);
        let domain = domain(&request.domain)?;
        self.control(&group, Kind::AddDomain(AddDomainCommand { domain }))
            .await?;
        Ok(Response::new(AddDomainResponse {}))
    }

    async fn list_domains(
        &self,
        request: Request<ListDomainsRequest>,
    ) -> Result<Response<ListDomainsResponse>, Status> {
        let (group, _) = control_or_forward!(self, request, admin_at.list_domains);
        let domains = self.shards.read(&group, |snapshot, space| {
            let mut domains = Vec::new();
            let visited =
                snapshot.visit(Family::Directory, &rows::domains(space), &mut |key, _| {
                    domains.push(rows::parse_domain(space, key)?);
                    Ok(Flow::Continue(()))
                });
            visited.map_err(broken)?;
            Ok(domains)
        });
        let domains = domains.await?;
        Ok(Response::new(ListDomainsResponse { domains }))
    }

    async fn remove_domain(
        &self,
        request: Request<RemoveDomainRequest>,
    ) -> Result<Response<RemoveDomainResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.remove_domain);
        let domain = domain(&request.domain)?;
        let command = RemoveDomainCommand { domain };
        self.control(&group, Kind::RemoveDomain(command)).await?;
        Ok(Response::new(RemoveDomainResponse {}))
    }

    async fn add_account(
        &self,
        request: Request<AddAccountRequest>,
    ) -> Result<Response<AddAccountResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.add_account);
        let folded = account_address(&request.address)?;
        let asked = credential(request.credential)?;
        let command = CreateAccountCommand {
            domain: folded.domain,
            local_part: folded.local_part,
            address: folded.address,
            credential: Some(asked.clone()),
            mail_shards: self.shards.node()?.identity().shard_count,
            quota_octets: self.config.quota_size.get(),
            quota_messages: self.config.quota_messages,
        };
        let entry = match self.control(&group, Kind::CreateAccount(command)).await {
            Ok(Answer::Account(entry)) => entry,
            Ok(answer) => return unexpected(&answer),
            Err(status) if status.code() == Code::AlreadyExists => {
                let entry = self.find_account(&group, &request.address).await;
                match entry {
                    Ok(entry) if saga::made_by(self, &group, &entry, &asked).await? => entry,
                    _ => return Err(status),
                }
            }
            Err(status) => return Err(status),
        };
        saga::advance(self, entry.account)
            .await
            .map_err(|status| saga::under_way(&entry, &status))?;
        Ok(Response::new(AddAccountResponse {
            account: entry.account,
            shard: entry.shard,
        }))
    }

    async fn get_credential_cost(
        &self,
        _: Request<GetCredentialCostRequest>,
    ) -> Result<Response<CredentialCost>, Status> {
        Ok(Response::new(self.credential_cost))
    }

    async fn list_accounts(
        &self,
        request: Request<ListAccountsRequest>,
    ) -> Result<Response<ListAccountsResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.list_accounts);
        let after = match request.after_address.as_str() {
            "" => None,
            text => Some(address(text)?),
        };
        let only = match request.domain.as_str() {
            "" => None,
            text => Some(domain(text)?),
        };
        let limit = match request.limit {
            0 => ACCOUNTS_PAGE,
            limit => limit.min(ACCOUNTS_PAGE),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = self.shards.read(&group, move |snapshot, space| {
            let mut range = match &only {
                Some(domain) => rows::addresses_of(space, domain),
                None => rows::addresses(space),
            };
            if let Some(after) = &after {
                range = range.after(rows::address(space, &after.domain, &after.local_part));
            }
            let mut accounts = Vec::new();
            let visited = snapshot.visit(Family::Directory, &range, &mut |_, value| {
                let row: AddressRow = decode(bytes::Bytes::copy_from_slice(value))?;
                accounts.extend(account_entry(snapshot, space, row.account)?);
                Ok(match accounts.len() <= limit {
                    true => Flow::Continue(()),
                    false => Flow::Break(()),
                })
            });
            visited.map_err(broken)?;
            let more = accounts.len() > limit;
            accounts.truncate(limit);
            Ok(ListAccountsResponse { accounts, more })
        });
        page.await.map(Response::new)
    }

    async fn remove_account(
        &self,
        request: Request<RemoveAccountRequest>,
    ) -> Result<Response<RemoveAccountResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.remove_account);
        let folded = address(&request.address)?;
        let command = CloseAccountCommand {
            domain: folded.domain,
            local_part: folded.local_part,
        };
        let entry = match self.control(&group, Kind::CloseAccount(command)).await? {
            Answer::Account(entry) => entry,
            answer => return unexpected(&answer),
        };
        saga::advance(self, entry.account).await?;
        Ok(Response::new(RemoveAccountResponse {}))
    }

    async fn set_password(
        &self,
        request: Request<SetPasswordRequest>,
    ) -> Result<Response<SetPasswordResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.set_password);
        let credential = credential(request.credential)?;
        let entry = self.find_account(&group, &request.address).await?;
        if entry.state() != AccountState::Active {
            return Err(Status::failed_precondition(
                "the account is being made or removed; try again soon",
            ));
        }
        let command = SetCredentialCommand {
            account: entry.account,
            credential: Some(credential),
        };
        let shard = ShardId::new(entry.shard);
        self.shards
            .propose_anywhere(shard, Kind::SetCredential(command))
            .await?;
        Ok(Response::new(SetPasswordResponse {}))
    }

    async fn move_account(
        &self,
        request: Request<MoveAccountRequest>,
    ) -> Result<Response<MoveAccountResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.move_account);
        let folded = address(&request.address)?;
        let command = BeginAccountMoveCommand {
            domain: folded.domain,
            local_part: folded.local_part,
            to: request.shard,
            mail_shards: self.shards.node()?.identity().shard_count,
        };
        match self
            .control(&group, Kind::BeginAccountMove(command))
            .await?
        {
            Answer::Account(entry) => {
                self.mover.wake();
                Ok(Response::new(MoveAccountResponse {
                    account: Some(entry),
                }))
            }
            answer => unexpected(&answer),
        }
    }

    async fn call_off_account_move(
        &self,
        request: Request<CallOffAccountMoveRequest>,
    ) -> Result<Response<CallOffAccountMoveResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.call_off_account_move);
        let folded = address(&request.address)?;
        let command = CallOffAccountMoveCommand {
            domain: folded.domain,
            local_part: folded.local_part,
        };
        match self
            .control(&group, Kind::CallOffAccountMove(command))
            .await?
        {
            Answer::Account(entry) => {
                self.mover.interrupt(entry.account);
                Ok(Response::new(CallOffAccountMoveResponse {
                    account: Some(entry),
                }))
            }
            answer => unexpected(&answer),
        }
    }

    async fn list_account_moves(
        &self,
        request: Request<ListAccountMovesRequest>,
    ) -> Result<Response<ListAccountMovesResponse>, Status> {
        let (group, _) = control_or_forward!(self, request, admin_at.list_account_moves);
        let moves = mover::list(self, &group).await?;
        Ok(Response::new(ListAccountMovesResponse { moves }))
    }

    async fn add_alias(
        &self,
        request: Request<AddAliasRequest>,
    ) -> Result<Response<AddAliasResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.add_alias);
        let folded = alias_address(&request.address)?;
        if request.targets.is_empty() {
            return Err(Status::invalid_argument("an alias needs a target"));
        }
        let mut targets = Vec::with_capacity(request.targets.len());
        for target in &request.targets {
            targets.push(address(target)?.address);
        }
        let command = SetAliasCommand {
            domain: folded.domain,
            local_part: folded.local_part,
            address: folded.address,
            targets,
        };
        self.control(&group, Kind::SetAlias(command)).await?;
        Ok(Response::new(AddAliasResponse {}))
    }

    async fn list_aliases(
        &self,
        request: Request<ListAliasesRequest>,
    ) -> Result<Response<ListAliasesResponse>, Status> {
        let (group, _) = control_or_forward!(self, request, admin_at.list_aliases);
        let aliases = self.shards.read(&group, |snapshot, space| {
            let mut aliases = Vec::new();
            let range = rows::addresses(space);
            let visited = snapshot.visit(Family::Directory, &range, &mut |_, value| {
                let row: AddressRow = decode(bytes::Bytes::copy_from_slice(value))?;
                if row.account == 0 {
                    aliases.push(AliasEntry {
                        address: row.address,
                        targets: row.targets,
                    });
                }
                Ok(Flow::Continue(()))
            });
            visited.map_err(broken)?;
            Ok(aliases)
        });
        let aliases = aliases.await?;
        Ok(Response::new(ListAliasesResponse { aliases }))
    }

    async fn remove_alias(
        &self,
        request: Request<RemoveAliasRequest>,
    ) -> Result<Response<RemoveAliasResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, admin_at.remove_alias);
        let folded = alias_address(&request.address)?;
        let command = RemoveAliasCommand {
            domain: folded.domain,
            local_part: folded.local_part,
        };
        self.control(&group, Kind::RemoveAlias(command)).await?;
        Ok(Response::new(RemoveAliasResponse {}))
    }

    type ListQueueStream = Pages<ListQueueResponse>;

    async fn list_queue(
        &self,
        _request: Request<ListQueueRequest>,
    ) -> Result<Response<Self::ListQueueStream>, Status> {
        admin_queue::list(self).map(Response::new)
    }

    async fn show_letter(
        &self,
        request: Request<ShowLetterRequest>,
    ) -> Result<Response<ShowLetterResponse>, Status> {
        let letter = admin_queue::show(self, request.into_inner().queue_id).await?;
        Ok(Response::new(ShowLetterResponse {
            letter: Some(letter),
        }))
    }

    async fn retry_queue(
        &self,
        request: Request<RetryQueueRequest>,
    ) -> Result<Response<RetryQueueResponse>, Status> {
        let letters = admin_queue::retry(self, request.into_inner().queue_id).await?;
        Ok(Response::new(RetryQueueResponse { letters }))
    }

    async fn release_queue(
        &self,
        _request: Request<ReleaseQueueRequest>,
    ) -> Result<Response<ReleaseQueueResponse>, Status> {
        let letters = admin_queue::release(self).await?;
        Ok(Response::new(ReleaseQueueResponse { letters }))
    }
}
