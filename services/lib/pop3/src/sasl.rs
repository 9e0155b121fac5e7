//! SASL PLAIN (RFC 4616) as POP3 carries it (RFC 5034).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postino_types::Secret;

/// A name and a password to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who the client says it is.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Why a SASL response is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// It is not base64.
    #[error("the response is not base64")]
    Base64,
    /// It is not what the mechanism sends.
    #[error("the response is not one of SASL PLAIN")]
    Malformed,
    /// It asks to act as somebody else.
    #[error("acting for another user is not offered")]
    OtherIdentity,
}

/// Reads a base64 response: `[authzid] NUL authcid NUL password`.
pub(crate) fn plain(response: &[u8]) -> Result<Credentials, SaslError> {
    let octets = STANDARD.decode(response).map_err(|_| SaslError::Base64)?;
    let text = String::from_utf8(octets).map_err(|_| SaslError::Malformed)?;
    let mut fields = text.split('\0');
    let (Some(acting_for), Some(user), Some(password), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(SaslError::Malformed);
    };
    match user {
        "" => Err(SaslError::Malformed),
        user if !acting_for.is_empty() && acting_for != user => Err(SaslError::OtherIdentity),
        user => Ok(Credentials {
            user: user.into(),
            password: Secret::new(password),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read() {
        let read = |text: &str| plain(STANDARD.encode(text).as_bytes());
        let alice = Credentials {
            user: "alice".into(),
            password: Secret::new("pass word"),
        };
        assert_eq!(read("\0alice\0pass word"), Ok(alice.clone()));
        assert_eq!(read("alice\0alice\0pass word"), Ok(alice));
        assert_eq!(read("bob\0alice\0x"), Err(SaslError::OtherIdentity));
        for bad in ["", "alice", "\0alice", "\0\0x", "\0a\0b\0c"] {
            assert_eq!(read(bad), Err(SaslError::Malformed), "{bad:?}");
        }
        assert_eq!(plain(b"AGFsaWNl*"), Err(SaslError::Base64));
    }
}
