//! `LOGIN` and `AUTHENTICATE` (RFC 3501 sections 6.2.2 and 6.2.3, RFC 4959).

use postino_types::Secret;

use super::Command;
use crate::cursor::{Cursor, Parsed};
use crate::string::{LiteralKind, put_astring};

/// The arguments of `LOGIN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's address.
    pub user: Box<str>,
    /// The user's password.
    pub password: Secret,
}

impl Login {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.space()?;
        let user = cursor.astring()?;
        cursor.space()?;
        let password = Secret::new(cursor.astring()?);
        Ok(Self { user, password })
    }

    pub(crate) fn encode(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        out.extend_from_slice(b"LOGIN ");
        put_astring(out, &self.user, literals);
        out.push(b' ');
        put_astring(out, self.password.expose(), literals);
    }
}

pub(super) fn parse_authenticate(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    cursor.space()?;
    let mechanism = cursor.keyword()?;
    let initial = match cursor.take(b' ') {
        true => {
            let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
            let word = cursor.word(is_base64, "the initial response is not base64")?;
            Some(Secret::new(String::from_utf8_lossy(word)))
        }
        false => None,
    };
    Ok(Command::Authenticate { mechanism, initial })
}
