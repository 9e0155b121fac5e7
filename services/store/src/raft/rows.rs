//! Where the log lies in the database, and what its rows look like.
//!
//! | family | key                                      | value                        |
//! |--------|------------------------------------------|------------------------------|
//! | Log    | space, index                             | version, Entry, no bodies    |
//! | Bodies | space, index, number in the entry        | the body, nothing else       |
//! | Raft   | shard, generation 0, tag 1               | version, Vote                |
//! | Raft   | space, tag 2                             | version, LogId: purged up to |
//! | Raft   | space, tag 3                             | version, Applied             |
//! | Raft   | shard, generation 0, tag 4               | version, term, index         |
//!
//! A vote outlives every generation of its shard: a replica that forgot it could
//! vote twice in a term. So does the entry with which a node that
//! has let its rows go ceased to be a member (`release`).

use postino_types::ShardId;
use prost::Message;

use super::codec::{self, CodecError, To};
use super::release::Place;
use super::types::{Body, Entry};
use crate::db::{Family, Key, Space, WriteBatch};

const VERSION: u8 = 1;

const VOTE: u8 = 1;
const PURGED: u8 = 2;
const APPLIED: u8 = 3;
const REMOVED: u8 = 4;

pub(crate) fn log_key(space: Space, index: u64) -> Key {
    space.key().u64(index)
}

/// Where a body lies; `number` counts the commands of its entry from zero.
pub(crate) fn body_key(space: Space, index: u64, number: u32) -> Key {
    space.key().u64(index).u32(number)
}

pub(crate) fn vote_key(shard: ShardId) -> Key {
    Space::new(shard, 0).key().u8(VOTE)
}

pub(crate) fn removed_key(shard: ShardId) -> Key {
    Space::new(shard, 0).key().u8(REMOVED)
}

/// A row's value that is a place in a log.
pub(crate) fn place(place: Place) -> Vec<u8> {
    let mut row = vec![VERSION];
    row.extend_from_slice(&place.term.to_be_bytes());
    row.extend_from_slice(&place.index.to_be_bytes());
    row
}

/// Reads what [`place`] wrote.
pub(crate) fn parse_place(row: &[u8]) -> Result<Place, CodecError> {
    let invalid = || CodecError::Invalid("a place in a log");
    match row.split_first() {
        Some((&VERSION, numbers)) => {
            let (term, index) = numbers.split_first_chunk().ok_or_else(invalid)?;
            Ok(Place {
                term: u64::from_be_bytes(*term),
                index: u64::from_be_bytes(index.try_into().map_err(|_| invalid())?),
            })
        }
        Some((&version, _)) => Err(CodecError::Version(version)),
        None => Err(CodecError::Missing("the format version")),
    }
}

pub(crate) fn purged_key(space: Space) -> Key {
    space.key().u8(PURGED)
}

pub(crate) fn applied_key(space: Space) -> Key {
    space.key().u8(APPLIED)
}

/// A row's value: one byte of version, then the message.
pub(crate) fn encode(message: &impl Message) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + message.encoded_len());
    row.push(VERSION);
    message
        .encode(&mut row)
        .expect("a vector grows as far as it has to");
    row
}

pub(crate) fn decode<M: Message + Default>(row: &[u8]) -> Result<M, CodecError> {
    match row.split_first() {
        Some((&VERSION, message)) => Ok(M::decode(message)?),
        Some((&version, _)) => Err(CodecError::Version(version)),
        None => Err(CodecError::Missing("the format version")),
    }
}

/// The bytes that an entry takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// In the log, until it is purged.
    pub(crate) row: u64,
    /// Beside it, until nothing refers to them.
    pub(crate) bodies: u64,
}

/// Writes an entry: its row, and its bodies beside it.
pub(crate) fn put_entry(
    batch: &mut WriteBatch,
    space: Space,
    entry: &Entry,
) -> Result<Written, CodecError> {
    let index = entry.log_id.index;
    let mut bodies = 0;
    if let openraft::EntryPayload::Normal(commands) = &entry.payload {
        for (number, command) in (0_u32..).zip(&commands.commands) {
            match &command.body {
                Body::None | Body::Gone(_) => {}
                Body::Inline(body) => {
                    batch.put(Family::Bodies, body_key(space, index, number), body);
                    bodies += body.len() as u64;
                }
                // Only the lean reader makes such entries, and it feeds apply alone.
                Body::Stored(_) => return Err(CodecError::BodyNotJoined),
            }
        }
    }
    let row = encode(&codec::entry_out(entry, To::Disk)?);
    let written = Written {
        row: row.len() as u64,
        bodies,
    };
    batch.put(Family::Log, log_key(space, index), row);
    Ok(written)
}

pub(crate) fn decode_entry(row: &[u8]) -> Result<Entry, CodecError> {
    codec::entry_in(decode(row)?)
}
