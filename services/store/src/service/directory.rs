//! `Directory`: who is local, where accounts live, what the cluster looks like.

use postino_proto::store::v1::directory_server::Directory;
use postino_proto::store::v1::lookup_response::Entry;
use postino_proto::store::v1::*;
use postino_types::ShardId;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::Context;
use crate::db::{DbError, Family, Space};
use crate::model::directory::{self, DomainRow};
use crate::model::{Flow, Rows, last_u64};
use crate::shards::broken;

#[tonic::async_trait]
impl Directory for Context {
    async fn lookup(
        &self,
        request: Request<LookupRequest>,
    ) -> Result<Response<LookupResponse>, Status> {
        let address = request.into_inner().address;
        let group = self.shards.replica(ShardId::CONTROL)?;
        let split = address.rsplit_once('@');
        let (local_part, domain) =
            split.ok_or_else(|| Status::invalid_argument("an address needs an @"))?;
        if domain.contains('\0') || local_part.contains('\0') {
            return Err(Status::invalid_argument("that is no address"));
        }
        let (local_part, domain) = (local_part.to_owned(), domain.to_owned());
        let found = self.shards.read(&group, move |snapshot, space| {
            lookup(snapshot, space, &domain, &local_part).map_err(broken)
        });
        found.await.map(Response::new)
    }

    async fn get_topology(
        &self,
        _request: Request<GetTopologyRequest>,
    ) -> Result<Response<Topology>, Status> {
        let node = self.shards.node()?;
        let leader = |group: &crate::raft::Group| match group.known_leader() {
            Some((term, leader)) => ShardLeader {
                shard: group.shard().get(),
                term,
                endpoint: leader.endpoint,
            },
            None => ShardLeader {
                shard: group.shard().get(),
                term: group.leadership().borrow().term,
                endpoint: String::new(),
            },
        };
        let control = node.group(ShardId::CONTROL).map(|group| group.status());
        let voters = control.map(|status| status.voters).unwrap_or_default();
        let peers = self.shards.cluster().peers().all();
        // Before the first report is answered, those who vote on the directory must do.
        let nodes = if peers.is_empty() { voters } else { peers };
        Ok(Response::new(Topology {
            cluster_id: node.identity().cluster.to_string(),
            mail_shards: node.identity().shard_count,
            leaders: node.groups().iter().map(leader).collect(),
            endpoints: nodes.into_iter().map(|node| node.endpoint).collect(),
        }))
    }

    async fn announce(
        &self,
        request: Request<AnnounceRequest>,
    ) -> Result<Response<AnnounceResponse>, Status> {
        self.shards.led(ShardId::CONTROL)?;
        let peers = self
            .announced
            .announce(request.into_inner(), Instant::now());
        Ok(Response::new(AnnounceResponse { peers }))
    }
}

fn lookup(
    rows: &impl Rows,
    space: Space,
    domain: &str,
    local_part: &str,
) -> Result<LookupResponse, DbError> {
    if domain.is_empty() && local_part.is_empty() {
        return Ok(LookupResponse {
            domain_is_local: true,
            entry: oldest_account(rows, space)?.map(Entry::Account),
        });
    }
    let row: Option<DomainRow> = rows.row(Family::Directory, directory::domain(space, domain))?;
    if row.is_none() {
        return Ok(LookupResponse::default());
    }
    let address = directory::find_address(rows, space, domain, local_part)?;
    let entry = match address {
        None => None,
        Some(alias) if alias.account == 0 => Some(Entry::Alias(AliasEntry {
            address: alias.address,
            targets: alias.targets,
        })),
        Some(address) => account_entry(rows, space, address.account)?.map(Entry::Account),
    };
    Ok(LookupResponse {
        domain_is_local: true,
        entry,
    })
}

/// The oldest account that takes mail.
fn oldest_account(rows: &impl Rows, space: Space) -> Result<Option<AccountEntry>, DbError> {
    let mut oldest = None;
    let range = directory::accounts(space);
    rows.visit(Family::Directory, &range, &mut |key, _| {
        let entry = account_entry(rows, space, last_u64(key)?)?;
        oldest = entry.filter(|entry| entry.state() == AccountState::Active);
        Ok(match oldest {
            None => Flow::Continue(()),
            Some(_) => Flow::Break(()),
        })
    })?;
    Ok(oldest)
}

/// An account's entry as the API shows it.
pub(super) fn account_entry(
    rows: &impl Rows,
    space: Space,
    id: u64,
) -> Result<Option<AccountEntry>, DbError> {
    let row = directory::find_account(rows, space, id)?;
    Ok(row.map(|row| AccountEntry {
        account: id,
        shard: row.shard,
        address: row.address,
        state: row.state,
        moving: row.moving,
    }))
}
