//! Rows of the control group.
//!
//! | key                                 | value                                          |
//! |-------------------------------------|------------------------------------------------|
//! | Directory 1, domain                 | [`DomainRow`]                                  |
//! | Directory 2, domain, local part     | [`AddressRow`]: an account or an alias         |
//! | Directory 3, account                | [`AccountRow`]                                 |
//! | Directory 4, shard                  | how many accounts it has                       |
//! | Directory 5, account                | nothing: an account that is being made, removed or moved |
//! | Directory 6                         | [`ControlRow`]                                 |
//! | Directory 7, node                   | [`NodeRow`]                                    |
//! | Directory 8, shard                  | [`ReplicasRow`]                                |
//! | Directory 9, shard                  | [`MoveRow`]: a replica that is moving          |
//!
//! Domains and local parts are folded; an empty local part is the domain's catch-all. One row per
//! address, so that no address is both account and alias.

use postino_proto::store::v1::{AccountMove, Credential, NodeState};

use super::{Flow, Range, Rows, decode, last_u32, last_u64};
use crate::db::{DbError, Family, Key, Space};

const DOMAIN: u8 = 1;
const ADDRESS: u8 = 2;
const ACCOUNT: u8 = 3;
const LOAD: u8 = 4;
const SAGA: u8 = 5;
const CONTROL: u8 = 6;
pub(crate) const NODE: u8 = 7;
pub(crate) const REPLICAS: u8 = 8;
pub(crate) const MOVE: u8 = 9;

/// A domain of ours.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DomainRow {
    #[prost(uint64, tag = "1")]
    pub(crate) addresses: u64,
}

/// What an address stands for.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AddressRow {
    /// 0: this is an alias.
    #[prost(uint64, tag = "1")]
    pub(crate) account: u64,
    #[prost(string, repeated, tag = "2")]
    pub(crate) targets: Vec<String>,
    /// As it was given.
    #[prost(string, tag = "3")]
    pub(crate) address: String,
}

/// Where an account lives.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AccountRow {
    #[prost(string, tag = "1")]
    pub(crate) address: String,
    #[prost(string, tag = "2")]
    pub(crate) domain: String,
    #[prost(string, tag = "3")]
    pub(crate) local_part: String,
    #[prost(uint32, tag = "4")]
    pub(crate) shard: u32,
    /// `AccountState`.
    #[prost(int32, tag = "5")]
    pub(crate) state: i32,
    /// Only while it is being made: its shard keeps it from then on.
    #[prost(message, optional, tag = "6")]
    pub(crate) credential: Option<Credential>,
    #[prost(uint64, tag = "7")]
    pub(crate) quota_octets: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) quota_messages: u64,
    /// While it moves to another shard.
    #[prost(message, optional, tag = "9")]
    pub(crate) moving: Option<AccountMove>,
}

/// The control group's counters.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ControlRow {
    #[prost(uint64, tag = "1")]
    pub(crate) last_account: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) last_node: u64,
    /// Of moves of accounts.
    #[prost(uint64, tag = "3")]
    pub(crate) last_account_move: u64,
}

/// A node that was given an id. Its row stays when it is removed: an id is never used again.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NodeRow {
    #[prost(string, tag = "1")]
    pub(crate) endpoint: String,
    #[prost(string, tag = "2")]
    pub(crate) zone: String,
    /// `NodeState`. Unspecified in the rows of the first version, which only had active nodes.
    #[prost(int32, tag = "3")]
    pub(crate) state: i32,
    /// The node that served at this endpoint when this one came; 0: none.
    #[prost(uint64, tag = "4")]
    pub(crate) replaces: u64,
}

impl NodeRow {
    /// The state, of a row of any version.
    pub(crate) fn standing(&self) -> NodeState {
        match NodeState::try_from(self.state) {
            Ok(NodeState::Unspecified) | Err(_) => NodeState::Active,
            Ok(state) => state,
        }
    }
}

/// The members of a shard, as its leader last reported them.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReplicasRow {
    /// Where in the shard's log this membership stands.
    #[prost(uint64, tag = "1")]
    pub(crate) membership_index: u64,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub(crate) learners: Vec<u64>,
}

impl ReplicasRow {
    /// Whether a node holds a replica.
    pub(crate) fn has(&self, node: u64) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }
}

/// A replica that is moving.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MoveRow {
    /// The log index that began it.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// 0: the shard gets one more.
    #[prost(uint64, tag = "2")]
    pub(crate) from: u64,
    /// 0: the shard gets one less.
    #[prost(uint64, tag = "3")]
    pub(crate) to: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) started_ms: u64,
    /// `MoveCause`.
    #[prost(int32, tag = "5")]
    pub(crate) cause: i32,
}

impl MoveRow {
    /// Whether the replica comes from a node, or goes to it.
    pub(crate) fn concerns(&self, node: u64) -> bool {
        self.from == node || self.to == node
    }
}

pub(crate) fn domain(space: Space, domain: &str) -> Key {
    space.key().u8(DOMAIN).text(domain)
}

pub(crate) fn domains(space: Space) -> Range {
    Range::prefix(space.key().u8(DOMAIN))
}

/// The domain of a key that [`domain`] made.
pub(crate) fn parse_domain(space: Space, key: &[u8]) -> Result<String, DbError> {
    let start = space.key().u8(DOMAIN).as_slice().len();
    let text = key.get(start..key.len().saturating_sub(1));
    let text = text.and_then(|name| std::str::from_utf8(name).ok());
    text.map(str::to_owned)
        .ok_or_else(|| DbError::corrupt("a domain in a key"))
}

pub(crate) fn address(space: Space, domain: &str, local_part: &str) -> Key {
    space.key().u8(ADDRESS).text(domain).text(local_part)
}

pub(crate) fn addresses(space: Space) -> Range {
    Range::prefix(space.key().u8(ADDRESS))
}

pub(crate) fn addresses_of(space: Space, domain: &str) -> Range {
    Range::prefix(space.key().u8(ADDRESS).text(domain))
}

pub(crate) fn account(space: Space, account: u64) -> Key {
    space.key().u8(ACCOUNT).u64(account)
}

/// All accounts, the oldest first.
pub(crate) fn accounts(space: Space) -> Range {
    Range::prefix(space.key().u8(ACCOUNT))
}

pub(crate) fn load(space: Space, shard: u32) -> Key {
    space.key().u8(LOAD).u32(shard)
}

pub(crate) fn saga(space: Space, account: u64) -> Key {
    space.key().u8(SAGA).u64(account)
}

pub(crate) fn sagas(space: Space) -> Range {
    Range::prefix(space.key().u8(SAGA))
}

pub(crate) fn control(space: Space) -> Key {
    space.key().u8(CONTROL)
}

pub(crate) fn node(space: Space, node: u64) -> Key {
    space.key().u8(NODE).u64(node)
}

pub(crate) fn nodes(space: Space) -> Range {
    Range::prefix(space.key().u8(NODE))
}

pub(crate) fn replicas(space: Space, shard: u32) -> Key {
    space.key().u8(REPLICAS).u32(shard)
}

pub(crate) fn replicas_all(space: Space) -> Range {
    Range::prefix(space.key().u8(REPLICAS))
}

pub(crate) fn moving(space: Space, shard: u32) -> Key {
    space.key().u8(MOVE).u32(shard)
}

pub(crate) fn moving_all(space: Space) -> Range {
    Range::prefix(space.key().u8(MOVE))
}

/// Every node that ever had an id, in order.
pub(crate) fn all_nodes(rows: &impl Rows, space: Space) -> Result<Vec<(u64, NodeRow)>, DbError> {
    all(rows, &nodes(space), last_u64)
}

/// The members of every shard that reported, in order.
pub(crate) fn all_replicas(
    rows: &impl Rows,
    space: Space,
) -> Result<Vec<(u32, ReplicasRow)>, DbError> {
    all(rows, &replicas_all(space), last_u32)
}

/// Every move under way, by shard.
pub(crate) fn all_moves(rows: &impl Rows, space: Space) -> Result<Vec<(u32, MoveRow)>, DbError> {
    all(rows, &moving_all(space), last_u32)
}

fn all<I, M: prost::Message + Default>(
    rows: &impl Rows,
    range: &Range,
    id: fn(&[u8]) -> Result<I, DbError>,
) -> Result<Vec<(I, M)>, DbError> {
    let mut found = Vec::new();
    rows.visit(Family::Directory, range, &mut |key, value| {
        found.push((id(key)?, decode(bytes::Bytes::copy_from_slice(value))?));
        Ok(Flow::Continue(()))
    })?;
    Ok(found)
}

/// What stands under an address.
pub(crate) fn find_address(
    rows: &impl Rows,
    space: Space,
    domain: &str,
    local_part: &str,
) -> Result<Option<AddressRow>, DbError> {
    rows.row(Family::Directory, address(space, domain, local_part))
}

/// An account's entry.
pub(crate) fn find_account(
    rows: &impl Rows,
    space: Space,
    id: u64,
) -> Result<Option<AccountRow>, DbError> {
    rows.row(Family::Directory, account(space, id))
}

/// How many accounts a shard has.
pub(crate) fn find_load(rows: &impl Rows, space: Space, shard: u32) -> Result<u64, DbError> {
    let row = rows.get(Family::Directory, load(space, shard))?;
    row.map_or(Ok(0), |row| last_u64(&row))
}
