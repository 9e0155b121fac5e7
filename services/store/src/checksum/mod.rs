//! Checksums of a shard's state at one index of its log, to compare replicas.
//!
//! What is summed up (`digest`) is logical: rows without the shard and the generation of their
//! keys, and the octets of letters wherever they lie. A replica takes a view of its database right
//! behind the entry in question (`checksummer`) and reads it in a thread of its own, so that apply
//! waits for the view alone. Replicas are asked and compared by `service/checksums`.

mod checksummer;
mod digest;

pub(crate) use checksummer::{Checksummer, Limits};
#[cfg(test)]
pub(crate) use digest::rows;

#[cfg(test)]
mod tests;
