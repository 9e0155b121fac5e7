//! The server's machine: one session with a client of SMTP.
//!
//! The driver feeds what it reads ([`Session::receive`]) and carries out what
//! [`Session::next_action`] says until it says nothing; then it reads again. What the machine
//! cannot know (is this recipient ours, is this password right, is the letter on disk) it asks by
//! an action, and goes on when the answer comes in as an event. Recipients that were pipelined
//! are asked for together; their replies keep the order of the commands.
//!
//! | state | waits for |
//! |---|---|
//! | `Commands` | a command line, or verdicts on recipients |
//! | `Sender` | the verdict on `MAIL` |
//! | `Opening` | the verdict on `DATA` |
//! | `Body` | the letter, up to CRLF.CRLF |
//! | `HandOver` | that the letter is stored |
//! | `Sasl` | the next line of an `AUTH` exchange |
//! | `Authenticating` | the verdict on credentials |
//! | `Handshake` | TLS |
//! | `Closed` | nothing |

mod action;
mod auth;
mod body;
mod dispatch;
mod replies;
mod session;
mod settings;

pub use action::{Action, Authentication, Event, HandOver, Ticket, Verdict};
pub use session::{Channel, Hello, Session};
pub use settings::{AuthOffer, Limits, PlaintextAuth, Role, Settings, TlsOffer};
