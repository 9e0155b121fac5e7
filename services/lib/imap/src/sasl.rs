//! How `AUTHENTICATE PLAIN` carries the message of SASL PLAIN: in base64, on a line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postino_types::sasl::Plain;

/// A response that is no PLAIN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlainError {
    /// The client sent `*` (RFC 3501 section 6.2.2).
    #[error("cancelled")]
    Cancelled,
    /// Not base64, or not a message of the mechanism.
    #[error("not a PLAIN response")]
    Malformed,
}

/// Reads a response line or an initial response.
pub fn plain(line: &[u8]) -> Result<Plain, PlainError> {
    if line == b"*" {
        return Err(PlainError::Cancelled);
    }
    let message = STANDARD.decode(line).map_err(|_| PlainError::Malformed)?;
    Plain::decode(&message).map_err(|_| PlainError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_types::Secret;

    #[test]
    fn responses_are_read() {
        let expected = Plain {
            authorization: Some("Ursel".into()),
            ..Plain::new("Kurt", Secret::new("xipj3plmq"))
        };
        assert_eq!(plain(b"VXJzZWwAS3VydAB4aXBqM3BsbXE="), Ok(expected));
    }

    #[test]
    fn other_responses_are_refused() {
        assert_eq!(plain(b"*"), Err(PlainError::Cancelled));
        for bad in ["", "=", "AA==", "AAA=", "YQBi", "!", "AGEAYgBj", "/wBhAGI="] {
            assert_eq!(plain(bad.as_bytes()), Err(PlainError::Malformed), "{bad}");
        }
    }
}
