//! POP3 (RFC 1939, 2449, 2595, 3206, 5034) as a machine that knows no socket.
//!
//! Octets from the client go into a [`Server`]; [`Server::step`] tells what is to be done, and the
//! answer to that goes back in. What the client is to be sent collects in its output. The machine
//! never waits, reads no clock, and keeps no more of a message than the chunk in hand.

mod command;
mod line;
mod maildrop;
mod sasl;
mod server;
mod stuffing;

pub use command::{Command, CommandError};
pub use maildrop::{Maildrop, Message, MessageNumber};
pub use server::{
    AuthenticateError, CommitError, MaildropError, Plaintext, ReadError, Server, Settings, Step,
    Tls, Wanted,
};
pub use stuffing::Stuffing;
