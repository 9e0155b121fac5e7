//! What a call to another service fails with.

use postino_proto::{Fault, FaultKind};
use postino_types::Permanence;
use tonic::Code;

/// Why a call failed, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody who could do it was reached in time. Certainly not done.
    #[error("the service cannot be reached: {0}")]
    Unavailable(String),
    /// It may have been done, or not.
    #[error("the outcome of a call is not known: {0}")]
    Unknown(String),
    /// The service said why not. Certainly not done.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// The service refused with a gRPC code: NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT …
    /// Certainly not done.
    #[error("{text}")]
    Refused {
        /// The gRPC code.
        code: Code,
        /// The service's text, for people.
        text: String,
    },
}

impl CallError {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Refused {
            code: Code::InvalidArgument,
            text: text.into(),
        }
    }

    /// Whether the same call may work later.
    pub fn permanence(&self) -> Permanence {
        let temporary = match self {
            Self::Unavailable(_) | Self::Unknown(_) => true,
            Self::Fault(fault) => fault.kind.is_temporary(),
            Self::Refused { code, .. } => matches!(
                code,
                Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::Internal
            ),
        };
        match temporary {
            true => Permanence::Temporary,
            false => Permanence::Permanent,
        }
    }

    /// Whether the call may work later.
    pub fn is_temporary(&self) -> bool {
        self.permanence() == Permanence::Temporary
    }

    /// Whether it may have been done, although it failed.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// The kind of fault, if the service named one.
    pub fn fault(&self) -> Option<FaultKind> {
        match self {
            Self::Fault(fault) => Some(fault.kind),
            _ => None,
        }
    }

    /// The gRPC code, if the service refused with one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }
}
