//! `ID` (RFC 2971) and `ENABLE` (RFC 5161).

use crate::cursor::{Cursor, Empty, Parsed, SyntaxError};
use crate::string::{LiteralKind, put_nstring, put_string};

/// Most field-value pairs of `ID` (RFC 2971 section 3.3).
const MAX_PAIRS: usize = 30;

/// What a client says of itself: field-value pairs, or `NIL`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identification(pub Vec<(Box<str>, Option<Box<str>>)>);

pub(super) fn parse_id(cursor: &mut Cursor<'_>) -> Parsed<Identification> {
    cursor.space()?;
    if cursor.take_word("NIL") {
        return Ok(Identification::default());
    }
    let pairs = cursor.list(Empty::Allowed, |cursor| {
        let field = cursor.string()?;
        cursor.space()?;
        Ok((field, cursor.nstring()?))
    })?;
    match pairs.len() <= MAX_PAIRS {
        true => Ok(Identification(pairs)),
        false => Err(SyntaxError("more than 30 fields")),
    }
}

pub(super) fn encode_id(id: &Identification, literals: LiteralKind, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ID ");
    put_pairs(id, literals, out);
}

/// Writes `NIL` or the list of pairs, as `ID` and its response have them.
pub(crate) fn put_pairs(id: &Identification, literals: LiteralKind, out: &mut Vec<u8>) {
    if id.0.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    for (at, (field, value)) in id.0.iter().enumerate() {
        out.push(if at == 0 { b'(' } else { b' ' });
        put_string(out, field.as_bytes(), literals);
        out.push(b' ');
        put_nstring(out, value.as_ref().map(|v| v.as_bytes()), literals);
    }
    out.push(b')');
}

pub(super) fn parse_enable(cursor: &mut Cursor<'_>) -> Parsed<Vec<String>> {
    let mut capabilities = Vec::new();
    while cursor.take(b' ') {
        cursor.count()?;
        capabilities.push(cursor.keyword()?);
    }
    match capabilities.is_empty() {
        true => Err(SyntaxError("a capability is missing")),
        false => Ok(capabilities),
    }
}
