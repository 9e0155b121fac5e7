//! Credentials: made from a password, and checked (services/ARCHITECTURE.md, "Credentials").
//!
//! A record holds an argon2id hash and, unless switched off, SCRAM-SHA-256 keys; never the
//! password. It is checked where the client is, with bounded concurrency and memory.

mod authenticator;
mod checker;
mod make;
mod password;
mod scram;

pub use authenticator::{AuthError, Authenticated, Authenticator};
pub use checker::{CheckError, Checker, Verdict};
pub use make::{CredentialError, Params, make};
