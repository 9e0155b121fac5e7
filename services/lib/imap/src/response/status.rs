//! Status responses, greeting and continuation (RFC 3501 sections 7.1 and 7.5).

use super::ResponseCode;
use crate::string::put_text;
use crate::tag::Tag;

/// How a command ended, or what an untagged remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// It worked.
    Ok,
    /// It failed.
    No,
    /// It could not be understood, or is not allowed now.
    Bad,
}

impl Condition {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
        }
    }
}

fn put(out: &mut Vec<u8>, start: &str, word: &str, code: Option<&ResponseCode>, text: &str) {
    out.extend_from_slice(start.as_bytes());
    out.push(b' ');
    out.extend_from_slice(word.as_bytes());
    if let Some(code) = code {
        out.extend_from_slice(format!(" [{code}]").as_bytes());
    }
    out.push(b' ');
    put_text(out, text);
    out.extend_from_slice(b"\r\n");
}

/// Writes the response that ends a command.
pub fn put_tagged(
    out: &mut Vec<u8>,
    tag: &Tag,
    condition: Condition,
    code: Option<&ResponseCode>,
    text: &str,
) {
    put(out, tag.as_str(), condition.as_str(), code, text);
}

/// Writes a remark that ends no command.
pub fn put_untagged(
    out: &mut Vec<u8>,
    condition: Condition,
    code: Option<&ResponseCode>,
    text: &str,
) {
    put(out, "*", condition.as_str(), code, text);
}

/// Writes the greeting of a connection on which nobody is logged in.
pub fn put_greeting(out: &mut Vec<u8>, capabilities: Vec<&'static str>, text: &str) {
    let code = ResponseCode::Capability(capabilities);
    put(out, "*", "OK", Some(&code), text);
}

/// Writes that the connection closes now.
pub fn put_bye(out: &mut Vec<u8>, code: Option<&ResponseCode>, text: &str) {
    put(out, "*", "BYE", code, text);
}

/// Writes `+`: the client shall go on. For AUTHENTICATE the text is base64, often empty.
pub fn put_continuation(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"+ ");
    put_text(out, text);
    out.extend_from_slice(b"\r\n");
}
