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
//! Purging the log keeps bodies, since the state refers to them; truncating it
//! deletes them, since nothing can.
//!
//! Not here yet: snapshots. A replica must be able to get the whole log from the
//! leader, so the log is never purged; asking for a snapshot is a clear error.

mod address;
mod apply;
mod barrier;
mod batcher;
mod codec;
mod counters;
mod error;
mod group;
mod log;
mod machine;
mod membership;
mod network;
mod node;
mod reader;
mod rows;
mod settings;
mod sync;
mod types;

pub use address::NodeAddress;
pub use counters::{CounterSnapshot, Counters};
pub use error::{MembershipError, ProposeError, RaftError, ReadError};
pub use group::{Applied, Group, GroupStatus, Leadership, Proposal};
pub use machine::{ApplyHalt, BodyRef, CommittedCommand, CommittedEntry, Machine, Progress};
pub use network::RaftService;
pub use node::RaftNode;
pub use settings::RaftSettings;

#[cfg(test)]
mod tests;
