//! SASL PLAIN (RFC 4616), as `AUTHENTICATE PLAIN` carries it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postino_types::Secret;

/// A response that is no PLAIN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlainError {
    /// The client sent `*` (RFC 3501 section 6.2.3).
    #[error("cancelled")]
    Cancelled,
    /// Not base64, not UTF-8, or without the two NULs.
    #[error("not a PLAIN response")]
    Malformed,
}

/// Who wants to act as whom, with which password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Whose rights are asked for; empty: those of `authentication`.
    pub authorization: Box<str>,
    /// Whose password it is.
    pub authentication: Box<str>,
    /// The password.
    pub password: Secret,
}

impl Plain {
    /// Reads the base64 of a response line or an initial response.
    pub fn decode(line: &[u8]) -> Result<Self, PlainError> {
        if line == b"*" {
            return Err(PlainError::Cancelled);
        }
        let bytes = STANDARD.decode(line).map_err(|_| PlainError::Malformed)?;
        let text = String::from_utf8(bytes).map_err(|_| PlainError::Malformed)?;
        let mut fields = text.split('\0');
        match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some(authorization), Some(authentication), Some(password), None)
                if !authentication.is_empty() && !password.is_empty() =>
            {
                Ok(Self {
                    authorization: authorization.into(),
                    authentication: authentication.into(),
                    password: Secret::new(password),
                })
            }
            _ => Err(PlainError::Malformed),
        }
    }

    /// The base64, for a client.
    pub fn encode(&self) -> String {
        STANDARD.encode(format!(
            "{}\0{}\0{}",
            self.authorization,
            self.authentication,
            self.password.expose()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_goes_both_ways() {
        let plain = Plain {
            authorization: "Ursel".into(),
            authentication: "Kurt".into(),
            password: Secret::new("xipj3plmq"),
        };
        assert_eq!(plain.encode(), "VXJzZWwAS3VydAB4aXBqM3BsbXE=");
        assert_eq!(Plain::decode(b"VXJzZWwAS3VydAB4aXBqM3BsbXE="), Ok(plain));
    }

    #[test]
    fn other_responses_are_refused() {
        assert_eq!(Plain::decode(b"*"), Err(PlainError::Cancelled));
        for bad in ["", "=", "AA==", "AAA=", "YQBi", "!", "AGEAYgBj", "/wBhAGI="] {
            assert_eq!(
                Plain::decode(bad.as_bytes()),
                Err(PlainError::Malformed),
                "{bad}"
            );
        }
    }
}
