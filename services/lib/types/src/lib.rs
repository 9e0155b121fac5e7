//! The nouns of Postino: values that every crate speaks, and that cannot be invalid.
//!
//! Each type is checked once, where it is parsed; from then on the type is the proof.
//! This crate is pure: no clock, no socket, no random source of its own.

mod address;
mod credential;
mod flag;
mod ids;
mod mailbox_name;
mod queue_id;
mod reply;
pub mod sasl;

pub use address::{AddressError, Domain, EmailAddress, LocalPart, Recipient, ReversePath};
pub use credential::Secret;
pub use flag::{Flag, FlagError, FlagSet, Keyword};
pub use ids::{
    AccountId, EmailId, IdError, LeaseEpoch, MailboxId, ModSeq, NodeId, ShardId, Uid, UidValidity,
};
pub use mailbox_name::{MailboxName, MailboxNameError, SEPARATOR, SpecialUse};
pub use queue_id::{QueueId, QueueIdError};
pub use reply::{EnhancedStatus, EnhancedStatusError, Permanence, Reply, StatusClass};
