//! The replicated log: one Raft group per shard, all of them in one database,
//! behind one group commit, over one stream per peer.
//!
//! Nothing outside this module names openraft. What the rest of the store sees:
//!
//! - [`RaftNode`] runs every group of this node; [`RaftService`] answers its peers.
//! - [`Group`] proposes commands to one shard and guards its reads.
//! - [`Machine`] is what a committed command changes; the store implements it.
//!
//! How a proposal travels: [`Group::propose`] queues it; the shard's batcher makes
//! one entry of what waits (`batcher`); openraft appends it to the log (`log`),
//! whose rows are written at once and synced by the one sync thread (`sync`), and
//! sends it to the peers (`network`); when a majority has it on disk it is
//! applied (`apply`), and its answer comes back.
//!
//! Bodies are written once, at append, beside the log (`rows`): the log row keeps
//! their length, replication joins them again, apply only learns where they lie.
//! Purging the log (`purge`) keeps bodies, since the state refers to them, and apply deletes
//! them with the last reference; truncating it deletes them, since nothing can refer to them.
//!
//! A replica that the log no longer reaches gets a snapshot of the state (`snapshot`).

mod address;
mod apply;
mod barrier;
mod batcher;
mod codec;
mod counters;
mod error;
mod exchange;
mod group;
mod log;
mod machine;
mod membership;
mod network;
mod node;
mod purge;
mod reader;
mod release;
mod retention;
mod rows;
mod settings;
mod shipments;
mod snapshot;
mod sync;
mod types;

pub use address::NodeAddress;
pub use counters::{CounterSnapshot, Counters};
pub use error::{MembershipError, ProposeError, RaftError, ReadError};
pub use exchange::{Exchange, Exchanged};
pub use group::{Applied, Group, GroupStatus, Leadership, MemberProgress, Proposal};
pub use machine::{ApplyHalt, BodyRef, CommittedCommand, CommittedEntry, Machine, Progress};
pub(crate) use membership::CAUGHT_UP;
pub(crate) use network::Pacer;
pub use network::RaftService;
pub use node::RaftNode;
pub(crate) use release::Place;
pub(crate) use rows::body_key;
pub use settings::RaftSettings;
pub(crate) use snapshot::{
    Cut, Seed, SnapshotError, Tally, applied_index, cut, hash_row, is_sent, seed,
};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
