//! SMTP without I/O: commands and replies, the receiver of letters, and the two machines that
//! speak them.
//!
//! Nothing here knows a socket or a clock. [`server::Session`] and [`client::Client`] are given
//! bytes and events and say what is to be done; `postino-net` and the services do it.
//!
//! Covered: RFC 5321 with SIZE (1870), PIPELINING (2920), ENHANCEDSTATUSCODES (2034), STARTTLS
//! (3207), AUTH PLAIN and LOGIN (4954, 4616), 8BITMIME (6152), and the client side of LMTP (2033).

pub mod client;
mod command;
mod data;
mod dot_stuff;
mod line;
mod reply;
pub mod sasl;
pub mod server;

pub use command::{
    AuthCommand, BodyKind, ClientName, Command, CommandError, Internationalized, MailCommand,
    RcptCommand,
};
pub use data::{Content, DataEvent, DataFault, DataLimits, DataReceiver, DataSummary};
pub use dot_stuff::DotStuffer;
pub use line::{LineError, LineReader};
pub use reply::{ReplyError, ReplyLimits, ReplyParser, encode_reply};
