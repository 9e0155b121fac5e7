//! What a call to the store can fail with, as far as a mail client cares.

use postino_client::{CallError, UploadError};
use postino_proto::FaultKind;
use tonic::Code;

/// A failed call to the store.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreError {
    /// There is no such mailbox or message.
    #[error("not found")]
    NotFound,
    /// There is one already.
    #[error("already exists")]
    AlreadyExists,
    /// The account's quota is used up.
    #[error("over quota")]
    OverQuota,
    /// Over a limit of size.
    #[error("too big")]
    TooBig,
    /// Held by another session.
    #[error("in use")]
    InUse,
    /// The store will never do this.
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody could do it now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Something that should not happen.
    #[error("broken: {0}")]
    Broken(String),
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            // Of a call whose outcome is not known, the client is told that it failed: it may find
            // the change made, but never one that it takes for made and is not.
            CallError::Unavailable(_) | CallError::Unknown(_) => Self::Unavailable(text),
            CallError::Fault(fault) => match fault.kind {
                FaultKind::OverQuota => Self::OverQuota,
                FaultKind::TooBig => Self::TooBig,
                FaultKind::InUse => Self::InUse,
                kind if kind.is_temporary() => Self::Unavailable(text),
                _ => Self::Broken(text),
            },
            CallError::Refused { code, .. } => match code {
                Code::NotFound => Self::NotFound,
                Code::AlreadyExists => Self::AlreadyExists,
                Code::FailedPrecondition | Code::InvalidArgument | Code::PermissionDenied => {
                    Self::Refused(text)
                }
                Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::Cancelled => Self::Unavailable(text),
                _ => Self::Broken(text),
            },
        }
    }
}

impl From<UploadError> for StoreError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::NotAccepted(error) => error.into(),
            UploadError::Unknown(text) => Self::Unavailable(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use postino_proto::Fault;

    use super::*;

    #[test]
    fn faults_say_more_than_codes() {
        let fault = |kind| StoreError::from(CallError::Fault(Fault::new(kind, "why")));
        let code = |code| {
            let text = "why".to_owned();
            StoreError::from(CallError::Refused { code, text })
        };
        assert!(matches!(fault(FaultKind::OverQuota), StoreError::OverQuota));
        assert!(matches!(
            fault(FaultKind::NotLeader),
            StoreError::Unavailable(_)
        ));
        assert!(matches!(
            fault(FaultKind::WrongCluster),
            StoreError::Broken(_)
        ));
        assert!(matches!(
            code(Code::ResourceExhausted),
            StoreError::Unavailable(_)
        ));
        assert!(matches!(code(Code::NotFound), StoreError::NotFound));
        assert!(matches!(code(Code::DataLoss), StoreError::Broken(_)));
    }
}
