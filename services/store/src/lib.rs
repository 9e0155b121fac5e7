//! The replicated store: mailboxes, spool and directory, in Raft groups on RocksDB.
//!
//! How a call travels: `service` checks it and proposes a command (`command`) to the group of its
//! shard; [`raft`] has it on disk at a majority; `apply` changes the rows of the shard (`model`) in
//! [`db`]; the answer goes back, and `notify` tells who follows. Reads pass a barrier and look at a
//! snapshot. What leaders do beside that is in `lead`.

mod apply;
pub mod cluster;
mod command;
mod config;
pub mod db;
pub mod identity;
mod lead;
mod model;
mod notify;
pub mod raft;
mod service;
mod shards;
mod store;

pub use config::{DatabaseConfig, RaftConfig, StoreConfig, StoreConfigError};
pub use store::{Readiness, Store, StoreError};
