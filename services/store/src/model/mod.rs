//! What the rows of a shard's state are: their keys, their values, and how they are found.
//!
//! Keys are big-endian behind the shard's space, and those of mailboxes start with the account,
//! so that an account is a few ranges. Values are one byte of format, then a prost message or
//! fixed fields. Both are golden: an upgrade reads what the last version wrote.
//!
//! | module      | family              | rows                                                    |
//! |-------------|---------------------|---------------------------------------------------------|
//! | `spool`     | Spool, Dedupe       | letters, recipients, due times, marks, lease, uploads   |
//! | `account`   | Mailbox             | account with quota, credential                          |
//! | `mailbox`   | Mailbox, Change     | mailboxes, names, subscriptions, UID runs, mod-sequences|
//! | `message`   | Mailbox             | the small row of each message                           |
//! | `email`     | Email               | immutable emails, counts of references                  |
//! | `directory` | Directory           | domains, addresses, accounts, shards, nodes             |

pub(crate) mod account;
pub(crate) mod directory;
pub(crate) mod email;
pub(crate) mod mailbox;
pub(crate) mod message;
mod rows;
pub(crate) mod spool;

pub(crate) use rows::{Flow, Range, Rows, Visitor, decode, encode, fixed, last_u32, last_u64};

#[cfg(test)]
mod tests;
