//! The commands of a client, as values.
//!
//! Each family has its file, with the parser and the encoder side by side. A command that is not
//! here is a syntax error; [`Command`] is complete for this version of the server.

mod append;
mod authentication;
mod fetch;
mod mailbox;
mod message;
mod parameters;
mod search;
mod store;

pub use append::AppendHead;
pub use authentication::Login;
pub use fetch::{Fetch, FetchItem, Partial, Peek, Section, SectionText};
pub use mailbox::{List, ListKind, Mailbox, Status, StatusItem};
pub use message::Numbering;
pub use parameters::Identification;
pub use search::{Charset, DateField, Search, SearchKey, SearchProgram};
pub use store::{FlagOperation, Reporting, Store};

pub(crate) use parameters::put_pairs;
pub(crate) use store::parse_flags;

use postino_types::SpecialUse;

use crate::cursor::{Cursor, Parsed, SyntaxError};
use crate::sequence::SequenceSet;
use crate::string::LiteralKind;
use crate::tag::Tag;

/// A command without its tag. `APPEND` is none of them: its message streams, see
/// [`crate::Event::Append`].
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `CAPABILITY`
    Capability,
    /// `NOOP`
    Noop,
    /// `LOGOUT`
    Logout,
    /// `ID` (RFC 2971)
    Id(Identification),
    /// `STARTTLS`
    StartTls,
    /// `AUTHENTICATE` with its mechanism in upper case and, with SASL-IR (RFC 4959), the initial
    /// response, still in base64.
    Authenticate {
        /// Upper case.
        mechanism: String,
        /// Base64; `=` stands for an empty response.
        initial: Option<postino_types::Secret>,
    },
    /// `LOGIN`
    Login(Login),
    /// `ENABLE` (RFC 5161): capabilities in upper case
    Enable(Vec<String>),
    /// `SELECT`
    Select(Mailbox),
    /// `EXAMINE`
    Examine(Mailbox),
    /// `CREATE`, with the special use of RFC 6154 section 3
    Create(Mailbox, Option<SpecialUse>),
    /// `DELETE`
    Delete(Mailbox),
    /// `RENAME`
    Rename {
        /// The name now.
        from: Mailbox,
        /// The name after.
        to: Mailbox,
    },
    /// `SUBSCRIBE`
    Subscribe(Mailbox),
    /// `UNSUBSCRIBE`
    Unsubscribe(Mailbox),
    /// `LIST` and `LSUB`
    List(List),
    /// `NAMESPACE` (RFC 2342)
    Namespace,
    /// `STATUS`
    Status(Status),
    /// `CHECK`
    Check,
    /// `CLOSE`
    Close,
    /// `UNSELECT` (RFC 3691)
    Unselect,
    /// `EXPUNGE`; with UIDs, `UID EXPUNGE` (RFC 4315)
    Expunge(Option<SequenceSet>),
    /// `SEARCH` and `UID SEARCH`
    Search(Numbering, Search),
    /// `FETCH` and `UID FETCH`
    Fetch(Numbering, Fetch),
    /// `STORE` and `UID STORE`
    Store(Numbering, Store),
    /// `COPY` and `UID COPY`
    Copy(Numbering, SequenceSet, Mailbox),
    /// `MOVE` and `UID MOVE` (RFC 6851)
    Move(Numbering, SequenceSet, Mailbox),
    /// `IDLE` (RFC 2177); the next line is its end
    Idle,
}

impl Command {
    /// Reads what stands after the tag and its space.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let name = cursor.keyword()?;
        match name.as_str() {
            "CAPABILITY" => Ok(Self::Capability),
            "NOOP" => Ok(Self::Noop),
            "LOGOUT" => Ok(Self::Logout),
            "ID" => parameters::parse_id(cursor).map(Self::Id),
            "STARTTLS" => Ok(Self::StartTls),
            "AUTHENTICATE" => authentication::parse_authenticate(cursor),
            "LOGIN" => Login::parse(cursor).map(Self::Login),
            "ENABLE" => parameters::parse_enable(cursor).map(Self::Enable),
            "SELECT" => Mailbox::parse_argument(cursor).map(Self::Select),
            "EXAMINE" => Mailbox::parse_argument(cursor).map(Self::Examine),
            "CREATE" => mailbox::parse_create(cursor),
            "DELETE" => Mailbox::parse_argument(cursor).map(Self::Delete),
            "RENAME" => Ok(Self::Rename {
                from: Mailbox::parse_argument(cursor)?,
                to: Mailbox::parse_argument(cursor)?,
            }),
            "SUBSCRIBE" => Mailbox::parse_argument(cursor).map(Self::Subscribe),
            "UNSUBSCRIBE" => Mailbox::parse_argument(cursor).map(Self::Unsubscribe),
            "LIST" => List::parse(cursor, ListKind::List).map(Self::List),
            "LSUB" => List::parse(cursor, ListKind::Lsub).map(Self::List),
            "NAMESPACE" => Ok(Self::Namespace),
            "STATUS" => Status::parse(cursor).map(Self::Status),
            "CHECK" => Ok(Self::Check),
            "CLOSE" => Ok(Self::Close),
            "UNSELECT" => Ok(Self::Unselect),
            "EXPUNGE" => Ok(Self::Expunge(None)),
            "IDLE" => Ok(Self::Idle),
            "UID" => {
                cursor.space()?;
                let name = cursor.keyword()?;
                match name.as_str() {
                    "EXPUNGE" => {
                        cursor.space()?;
                        SequenceSet::parse(cursor).map(|set| Self::Expunge(Some(set)))
                    }
                    name => message::parse(cursor, name, Numbering::Uid),
                }
            }
            name => message::parse(cursor, name, Numbering::Sequence),
        }
    }

    /// Writes the command with its tag and line end, as a client sends it. Strings that cannot be
    /// quoted become literals of this kind.
    pub fn encode(&self, tag: &Tag, literals: LiteralKind, out: &mut Vec<u8>) {
        out.extend_from_slice(tag.as_str().as_bytes());
        out.push(b' ');
        self.encode_after_tag(literals, out);
        out.extend_from_slice(b"\r\n");
    }

    fn encode_after_tag(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        let mut word = |text: &str| out.extend_from_slice(text.as_bytes());
        match self {
            Self::Capability => word("CAPABILITY"),
            Self::Noop => word("NOOP"),
            Self::Logout => word("LOGOUT"),
            Self::Id(identification) => parameters::encode_id(identification, literals, out),
            Self::StartTls => word("STARTTLS"),
            Self::Authenticate { mechanism, initial } => {
                word("AUTHENTICATE ");
                word(mechanism);
                if let Some(initial) = initial {
                    word(" ");
                    word(initial.expose());
                }
            }
            Self::Login(login) => login.encode(literals, out),
            Self::Enable(capabilities) => {
                word("ENABLE ");
                word(&capabilities.join(" "));
            }
            Self::Select(name) => name.encode_argument("SELECT", literals, out),
            Self::Examine(name) => name.encode_argument("EXAMINE", literals, out),
            Self::Create(name, special_use) => {
                mailbox::encode_create(name, *special_use, literals, out);
            }
            Self::Delete(name) => name.encode_argument("DELETE", literals, out),
            Self::Rename { from, to } => {
                from.encode_argument("RENAME", literals, out);
                out.push(b' ');
                to.encode(literals, out);
            }
            Self::Subscribe(name) => name.encode_argument("SUBSCRIBE", literals, out),
            Self::Unsubscribe(name) => name.encode_argument("UNSUBSCRIBE", literals, out),
            Self::List(list) => list.encode(literals, out),
            Self::Namespace => word("NAMESPACE"),
            Self::Status(status) => status.encode(literals, out),
            Self::Check => word("CHECK"),
            Self::Close => word("CLOSE"),
            Self::Unselect => word("UNSELECT"),
            Self::Expunge(None) => word("EXPUNGE"),
            Self::Expunge(Some(uids)) => word(&format!("UID EXPUNGE {uids}")),
            Self::Search(numbering, search) => {
                word(numbering.prefix());
                search.encode(literals, out);
            }
            Self::Fetch(numbering, fetch) => {
                word(numbering.prefix());
                fetch.encode(literals, out);
            }
            Self::Store(numbering, store) => {
                word(numbering.prefix());
                store.encode(out);
            }
            Self::Copy(numbering, set, target) => {
                word(&format!("{}COPY {set} ", numbering.prefix()));
                target.encode(literals, out);
            }
            Self::Move(numbering, set, target) => {
                word(&format!("{}MOVE {set} ", numbering.prefix()));
                target.encode(literals, out);
            }
            Self::Idle => word("IDLE"),
        }
    }

    /// The name, for logs and metrics; it never holds anything that the client chose.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Capability => "CAPABILITY",
            Self::Noop => "NOOP",
            Self::Logout => "LOGOUT",
            Self::Id(_) => "ID",
            Self::StartTls => "STARTTLS",
            Self::Authenticate { .. } => "AUTHENTICATE",
            Self::Login(_) => "LOGIN",
            Self::Enable(_) => "ENABLE",
            Self::Select(_) => "SELECT",
            Self::Examine(_) => "EXAMINE",
            Self::Create(..) => "CREATE",
            Self::Delete(_) => "DELETE",
            Self::Rename { .. } => "RENAME",
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::Unsubscribe(_) => "UNSUBSCRIBE",
            Self::List(list) => list.kind.name(),
            Self::Namespace => "NAMESPACE",
            Self::Status(_) => "STATUS",
            Self::Check => "CHECK",
            Self::Close => "CLOSE",
            Self::Unselect => "UNSELECT",
            Self::Expunge(_) => "EXPUNGE",
            Self::Search(..) => "SEARCH",
            Self::Fetch(..) => "FETCH",
            Self::Store(..) => "STORE",
            Self::Copy(..) => "COPY",
            Self::Move(..) => "MOVE",
            Self::Idle => "IDLE",
        }
    }
}

/// The error for a command that this server does not have.
fn unknown_command() -> SyntaxError {
    SyntaxError("unknown command")
}

#[cfg(test)]
pub(crate) mod tests;
