//! SASL PLAIN (RFC 4616): its one message, without the base64 and the lines that each protocol
//! carries it in.

use crate::{EmailAddress, Secret};

/// Octets that are no message of PLAIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of SASL PLAIN")]
pub struct NotPlain;

/// The message asks for the rights of somebody else than whose password it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("acting for another user is not offered")]
pub struct OtherIdentity;

/// Who wants to act as whom, with which password. It is not checked yet. Mechanisms and commands
/// that know a name and a password only (`LOGIN`, `USER` with `PASS`) give one without an
/// authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Whose rights are asked for (`authzid`); `None`: those of `authentication`.
    pub authorization: Option<Box<str>>,
    /// Whose password it is (`authcid`).
    pub authentication: Box<str>,
    /// The password.
    pub password: Secret,
}

impl Plain {
    /// Somebody who asks for their own rights.
    pub fn new(authentication: impl Into<Box<str>>, password: Secret) -> Self {
        Self {
            authorization: None,
            authentication: authentication.into(),
            password,
        }
    }

    /// Reads `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2): UTF-8, in which neither the
    /// name nor the password is empty, and none holds a NUL.
    pub fn decode(message: &[u8]) -> Result<Self, NotPlain> {
        let text = std::str::from_utf8(message).map_err(|_| NotPlain)?;
        let mut fields = text.split('\0');
        match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some(authorization), Some(authentication), Some(password), None)
                if !authentication.is_empty() && !password.is_empty() =>
            {
                Ok(Self {
                    authorization: (!authorization.is_empty()).then(|| authorization.into()),
                    authentication: authentication.into(),
                    password: Secret::new(password),
                })
            }
            _ => Err(NotPlain),
        }
    }

    /// The message, for a client; it holds the password.
    pub fn encode(&self) -> Secret {
        Secret::new(format!(
            "{}\0{}\0{}",
            self.authorization.as_deref().unwrap_or_default(),
            self.authentication,
            self.password.expose()
        ))
    }

    /// The name to log in with, which is also whose rights are given: nobody may act as somebody
    /// else. An authorization that is the same address in another spelling is the same user, since
    /// log-in names are addresses.
    pub fn user(&self) -> Result<&str, OtherIdentity> {
        match &self.authorization {
            Some(other) if !same_name(other, &self.authentication) => Err(OtherIdentity),
            _ => Ok(&self.authentication),
        }
    }
}

fn same_name(one: &str, other: &str) -> bool {
    let address = |name: &str| name.parse::<EmailAddress>().ok();
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_go_both_ways() {
        // RFC 4616 section 4.
        for (authorization, authentication, password, message) in [
            (None, "tim", "tanstaaftanstaaf", "\0tim\0tanstaaftanstaaf"),
            (Some("Ursel"), "Kurt", "xipj3plmq", "Ursel\0Kurt\0xipj3plmq"),
        ] {
            let plain = Plain {
                authorization: authorization.map(Into::into),
                ..Plain::new(authentication, Secret::new(password))
            };
            assert_eq!(plain.encode().expose(), message);
            assert_eq!(Plain::decode(message.as_bytes()), Ok(plain));
        }
    }

    #[test]
    fn other_messages_are_refused() {
        for bad in [
            &b""[..],
            b"alice",
            b"\0alice",
            b"\0\0x",
            b"\0alice\0",
            b"\0a\0b\0c",
            b"\0a\0b\0",
            b"\xff\0a\0b",
        ] {
            assert_eq!(Plain::decode(bad), Err(NotPlain), "{bad:?}");
        }
    }

    #[test]
    fn nobody_acts_for_another() {
        for (authorization, authentication, allowed) in [
            ("", "alice@example.org", true),
            ("alice@example.org", "alice@example.org", true),
            ("Alice@EXAMPLE.org", "alice@example.org", true),
            ("alice@bücher.example", "alice@xn--bcher-kva.example", true),
            ("bob@example.org", "alice@example.org", false),
            ("Älice@example.org", "älice@example.org", false),
            ("alice", "alice@example.org", false),
            ("alice", "alice", true),
            ("Alice", "alice", false),
        ] {
            let message = format!("{authorization}\0{authentication}\0x");
            let plain = Plain::decode(message.as_bytes()).expect("a message");
            let expected = match allowed {
                true => Ok(authentication),
                false => Err(OtherIdentity),
            };
            assert_eq!(plain.user(), expected, "{authorization}");
        }
    }
}
