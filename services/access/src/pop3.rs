//! POP3: a session on a socket.
//!
//! The protocol's rules are in `postino-pop3`; here a session reads and writes its socket, and
//! takes the steps that its machine asks for: log in, hold the maildrop, read, delete. The
//! maildrop is the account's INBOX.

mod config;
mod hold;
mod inbox;
mod link;
mod metrics;
mod server;
mod session;

pub use config::Pop3Config;
pub(crate) use server::Server;

#[cfg(test)]
mod tests;
