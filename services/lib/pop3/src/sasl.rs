//! How AUTH carries the message of SASL PLAIN (RFC 5034 section 4): in base64, on a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postino_types::sasl::Plain;

/// Why a response is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SaslError {
    /// It is not base64.
    #[error("the response is not base64")]
    Base64,
    /// It is not what the mechanism sends.
    #[error("the response is not one of SASL PLAIN")]
    Malformed,
}

/// Reads a response.
pub(crate) fn plain(response: &[u8]) -> Result<Plain, SaslError> {
    let message = STANDARD.decode(response).map_err(|_| SaslError::Base64)?;
    Plain::decode(&message).map_err(|_| SaslError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_types::Secret;

    #[test]
    fn responses_are_read() {
        let read = |text: &str| plain(STANDARD.encode(text).as_bytes());
        let alice = Plain::new("alice", Secret::new("pass word"));
        assert_eq!(read("\0alice\0pass word"), Ok(alice));
        assert_eq!(read("\0alice\0"), Err(SaslError::Malformed));
        assert_eq!(plain(b"AGFsaWNl*"), Err(SaslError::Base64));
    }
}
