//! The delivery queue: letters that are accepted go to mailboxes and to other servers, are tried
//! again when that fails, and returned to their sender when it fails for good.
//!
//! What decides is pure and small: [`schedule`] (when to try again), [`outcome`] (what an attempt
//! means), [`state`] (the table of legal states), [`feedback`] (how many connections a site gets),
//! [`rendezvous`] (who works what), [`agenda`] (what comes next), [`lease`] (how long one may work).
//! The rest carries it out: `leases` take shards, `shard` starts what is due, `work` tries a letter's
//! recipients through `local` and `remote`, `notify` tells senders, `settle` records outcomes.
//!
//! Deliveries into mailboxes happen exactly once; deliveries to other servers at least once: if the
//! process or the connection is lost between the final dot and our commit, the letter is sent again.
//!
//! An eight-bit letter never goes as it is to a server that does not offer 8BITMIME (RFC 6152
//! section 3): it is converted. One that cannot be, since it is signed, say, goes to the next host, and
//! if none takes it, back to its sender.

pub mod agenda;
pub mod asked;
mod clients;
mod config;
pub mod feedback;
mod group;
pub mod lease;
mod leases;
mod local;
mod metrics;
mod notify;
pub mod outcome;
pub mod peers;
pub mod ports;
mod remote;
pub mod rendezvous;
mod run;
pub mod schedule;
mod service;
mod settle;
mod shard;
mod sites;
pub mod state;
mod work;

pub use config::{QueueConfig, RemoteConfig, Starttls};
pub use run::{Clients, DeliveryQueue, QueueError};
pub use service::QueueService;
