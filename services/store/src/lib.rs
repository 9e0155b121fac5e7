//! The replicated store: mailboxes, spool and directory, in Raft groups on RocksDB.
//!
//! How a call travels: `service` checks it and proposes a command (`command`) to the group of its
//! shard; [`raft`] has it on disk at a majority; `apply` changes the rows of the shard (`model`) in
//! [`db`]; the answer goes back, and `notify` tells who follows. Reads pass a barrier and look at a
//! snapshot. Replicas are compared by `checksum`. What leaders do beside that is in `lead`; where
//! replicas and leads are, and how they move, is in `placement`. [`backup`] takes all shards out as
//! files, and in again.

mod apply;
pub mod backup;
mod checksum;
pub mod cluster;
mod command;
mod config;
mod damage;
pub mod db;
mod disk;
pub mod identity;
mod lead;
mod levels;
mod model;
mod notify;
mod placement;
pub mod raft;
mod service;
mod shards;
mod store;

pub use config::{DatabaseConfig, PlacementConfig, RaftConfig, StoreConfig};
pub use levels::Levels;
pub use store::{Readiness, Store, StoreError};
