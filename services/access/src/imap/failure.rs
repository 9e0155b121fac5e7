//! How a command ends, and what its client is told: the one place that maps errors to responses.

use std::borrow::Cow;

use postino_imap::response::{Condition, ResponseCode};
use postino_imap::state::Refusal;
use postino_types::MailboxNameError;

use super::link::Closed;
use crate::store_error::StoreError;

/// A command that worked.
#[derive(Debug)]
pub(super) enum Done {
    /// `OK`
    Ok(Option<ResponseCode>, &'static str),
    /// The command has said so itself.
    Told,
}

impl Done {
    pub(super) fn new(text: &'static str) -> Self {
        Self::Ok(None, text)
    }

    pub(super) fn with(code: ResponseCode, text: &'static str) -> Self {
        Self::Ok(Some(code), text)
    }
}

/// A command that did not.
#[derive(Debug)]
pub(super) enum Failure {
    /// `NO`
    No(Option<ResponseCode>, Cow<'static, str>),
    /// `BAD`
    Bad(Cow<'static, str>),
    /// The store said no, or nothing.
    Store(StoreError),
    /// The session ends with `BYE`.
    Bye(Option<ResponseCode>, &'static str),
    /// Nothing can be said any more.
    Closed(Closed),
}

/// How a command ends.
pub(super) type Outcome = Result<Done, Failure>;

impl Failure {
    pub(super) fn no(code: ResponseCode, text: &'static str) -> Self {
        Self::No(Some(code), text.into())
    }

    pub(super) fn bad(text: &'static str) -> Self {
        Self::Bad(text.into())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Closed> for Failure {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::ReadOnly => Self::No(Some(ResponseCode::NoPerm), refusal.to_string().into()),
            Refusal::NeedsAuthentication
            | Refusal::NeedsMailbox
            | Refusal::AlreadyAuthenticated
            | Refusal::LoggedOut => Self::Bad(refusal.to_string().into()),
        }
    }
}

impl From<MailboxNameError> for Failure {
    fn from(error: MailboxNameError) -> Self {
        Self::No(Some(ResponseCode::Cannot), error.to_string().into())
    }
}

/// The response of a failure that can be told: condition, code, text.
pub(super) type Told = (Condition, Option<ResponseCode>, Cow<'static, str>);

/// What is told of a store's error. Its own text is for operators, not for clients.
pub(super) fn told_of_store(error: &StoreError) -> Told {
    let (code, text) = match error {
        StoreError::NotFound => (ResponseCode::NonExistent, "no such mailbox"),
        StoreError::AlreadyExists => (ResponseCode::AlreadyExists, "the mailbox exists"),
        StoreError::OverQuota => (ResponseCode::OverQuota, "the quota is used up"),
        StoreError::TooBig => (ResponseCode::TooBig, "too large"),
        StoreError::InUse => (ResponseCode::InUse, "held by another session"),
        StoreError::Refused(_) => (ResponseCode::Cannot, "this cannot be done"),
        StoreError::Unavailable(_) => (ResponseCode::Unavailable, "try again later"),
        StoreError::Broken(_) => (ResponseCode::ServerBug, "internal error"),
    };
    (Condition::No, Some(code), text.into())
}
