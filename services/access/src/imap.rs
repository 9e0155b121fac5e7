//! IMAP: a session on a socket, one file per command under `command/`.
//!
//! The rules of the protocol are in `postino-imap`; what a session knows beyond them is its
//! selected mailbox's view. All mail is read from and written to the store, so that a client may
//! come back to any other process.

mod command;
mod config;
mod failure;
mod link;
mod metrics;
mod notify;
mod server;
mod session;
mod sets;

pub use config::ImapConfig;
pub(crate) use server::Server;

#[cfg(test)]
mod tests;
