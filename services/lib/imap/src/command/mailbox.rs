//! Commands on mailboxes: names, `CREATE`, `LIST`, `LSUB`, `STATUS`.

use postino_types::{MailboxName, MailboxNameError, SEPARATOR, SpecialUse};

use super::Command;
use crate::cursor::{Cursor, Empty, Parsed, SyntaxError};
use crate::string::{LiteralKind, put_astring, put_string};
use crate::utf7;

/// A mailbox name as a client gave it, in UTF-8. It need not be one that can exist, so that a
/// command with a bad name is refused with `NO` and not as a syntax error.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox(Box<str>);

impl Mailbox {
    /// The name with this text in UTF-8.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text in UTF-8.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, if it can exist.
    pub fn name(&self) -> Result<MailboxName, MailboxNameError> {
        self.0.parse()
    }

    /// The name to create: a separator at its end only says that children will follow (RFC 3501
    /// section 6.3.3).
    pub fn name_to_create(&self) -> Result<MailboxName, MailboxNameError> {
        self.0.strip_suffix(SEPARATOR).unwrap_or(&self.0).parse()
    }

    /// A text that is no modified UTF-7 stands for itself: clients send raw UTF-8, and `&`.
    fn from_wire(text: Box<str>) -> Self {
        match utf7::decode(&text) {
            Ok(name) => Self(name.into()),
            Err(_) => Self(text),
        }
    }

    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.astring().map(Self::from_wire)
    }

    /// A space and a name.
    pub(crate) fn parse_argument(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.space()?;
        Self::parse(cursor)
    }

    pub(crate) fn encode(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        put_astring(out, &utf7::encode(&self.0), literals);
    }

    pub(crate) fn encode_argument(&self, command: &str, literals: LiteralKind, out: &mut Vec<u8>) {
        out.extend_from_slice(command.as_bytes());
        out.push(b' ');
        self.encode(literals, out);
    }
}

const SPECIAL_USES: [SpecialUse; 5] = [
    SpecialUse::Archive,
    SpecialUse::Drafts,
    SpecialUse::Junk,
    SpecialUse::Sent,
    SpecialUse::Trash,
];

/// `CREATE name [(USE (\Attribute))]` (RFC 6154 section 3).
pub(super) fn parse_create(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let name = Mailbox::parse_argument(cursor)?;
    if !cursor.take(b' ') {
        return Ok(Command::Create(name, None));
    }
    cursor.expect(b'(', "a parenthesis is missing")?;
    if !cursor.take_word("USE") {
        return Err(SyntaxError("unknown parameter of CREATE"));
    }
    cursor.space()?;
    let uses = cursor.list(Empty::Refused, |cursor| {
        cursor.expect(b'\\', "an attribute is missing")?;
        let attribute = cursor.atom()?;
        SPECIAL_USES
            .into_iter()
            .find(|u| u.attribute()[1..].eq_ignore_ascii_case(attribute))
            .ok_or(SyntaxError("the special use is not supported"))
    })?;
    cursor.expect(b')', "a parenthesis is missing")?;
    match *uses {
        [special_use] => Ok(Command::Create(name, Some(special_use))),
        _ => Err(SyntaxError("a mailbox has one special use")),
    }
}

pub(super) fn encode_create(
    name: &Mailbox,
    special_use: Option<SpecialUse>,
    literals: LiteralKind,
    out: &mut Vec<u8>,
) {
    name.encode_argument("CREATE", literals, out);
    if let Some(special_use) = special_use {
        out.extend_from_slice(format!(" (USE ({}))", special_use.attribute()).as_bytes());
    }
}

/// Which of the two listing commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// `LIST`
    List,
    /// `LSUB`
    Lsub,
}

impl ListKind {
    /// The command's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "LIST",
            Self::Lsub => "LSUB",
        }
    }
}

/// `LIST` or `LSUB`. Reference and pattern are in UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Which of the two.
    pub kind: ListKind,
    /// The reference name.
    pub reference: Box<str>,
    /// The name with wildcards; see [`crate::Pattern`].
    pub pattern: Box<str>,
}

impl List {
    pub(crate) fn parse(cursor: &mut Cursor<'_>, kind: ListKind) -> Parsed<Self> {
        let reference = Mailbox::parse_argument(cursor)?.0;
        cursor.space()?;
        let pattern = Mailbox::from_wire(cursor.list_pattern()?).0;
        Ok(Self {
            kind,
            reference,
            pattern,
        })
    }

    pub(crate) fn encode(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        out.extend_from_slice(self.kind.name().as_bytes());
        out.push(b' ');
        put_astring(out, &utf7::encode(&self.reference), literals);
        out.push(b' ');
        put_string(out, utf7::encode(&self.pattern).as_bytes(), literals);
    }
}

/// What `STATUS` can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusItem {
    /// `MESSAGES`
    Messages,
    /// `RECENT`
    Recent,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`: how many, not the first
    Unseen,
    /// `HIGHESTMODSEQ` (RFC 7162 section 3.1.7)
    HighestModSeq,
}

impl StatusItem {
    /// All items.
    pub const ALL: [Self; 6] = [
        Self::Messages,
        Self::Recent,
        Self::UidNext,
        Self::UidValidity,
        Self::Unseen,
        Self::HighestModSeq,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "MESSAGES",
            Self::Recent => "RECENT",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
            Self::HighestModSeq => "HIGHESTMODSEQ",
        }
    }
}

/// `STATUS`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Of which mailbox.
    pub mailbox: Mailbox,
    /// What is asked.
    pub items: Vec<StatusItem>,
}

impl Status {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mailbox = Mailbox::parse_argument(cursor)?;
        cursor.space()?;
        let items = cursor.list(Empty::Refused, |cursor| {
            let name = cursor.keyword()?;
            StatusItem::ALL
                .into_iter()
                .find(|item| item.as_str() == name)
                .ok_or(SyntaxError("unknown item of STATUS"))
        })?;
        Ok(Self { mailbox, items })
    }

    pub(crate) fn encode(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        self.mailbox.encode_argument("STATUS", literals, out);
        let items: Vec<&str> = self.items.iter().map(|item| item.as_str()).collect();
        out.extend_from_slice(format!(" ({})", items.join(" ")).as_bytes());
    }
}
