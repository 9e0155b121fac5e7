//! Response codes (RFC 3501 section 7.1, RFC 5530, RFC 4315, RFC 7162).

use std::fmt;

use postino_types::{FlagSet, ModSeq, Uid, UidValidity};

/// UIDs in the order in which they are told, as ranges where they ascend by one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UidSet(Vec<(u32, u32)>);

impl UidSet {
    /// Adds a UID at the end.
    pub fn push(&mut self, uid: Uid) {
        self.push_range(uid, uid);
    }

    /// Adds the UIDs from `first` to `last`.
    pub fn push_range(&mut self, first: Uid, last: Uid) {
        match self.0.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(first.get()) => *end = last.get(),
            _ => self.0.push((first.get(), last.get())),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        let mut set = Self::default();
        uids.into_iter().for_each(|uid| set.push(uid));
        set
    }
}

impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}:{last}")?,
            }
        }
        Ok(())
    }
}

/// A response code: what a program can understand of a status response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseCode {
    /// The text has to be shown to the user.
    Alert,
    /// Charsets that SEARCH takes.
    BadCharset,
    /// The capabilities, spelled out.
    Capability(Vec<&'static str>),
    /// Flags that can be changed for good; `\*` tells that new keywords can be made.
    PermanentFlags {
        /// The flags.
        flags: FlagSet,
        /// Whether `\*` is among them.
        new_keywords: bool,
    },
    /// The mailbox was opened by EXAMINE.
    ReadOnly,
    /// The mailbox was opened by SELECT.
    ReadWrite,
    /// Creating the target mailbox would help.
    TryCreate,
    /// The next UID.
    UidNext(Uid),
    /// The validity of the UIDs.
    UidValidity(UidValidity),
    /// The sequence number of the first message without `\Seen`.
    Unseen(u32),
    /// RFC 4315: the new message.
    AppendUid(UidValidity, Uid),
    /// RFC 4315: the target's validity, the messages copied, the copies.
    CopyUid(UidValidity, UidSet, UidSet),
    /// RFC 4315: the mailbox has no lasting UIDs.
    UidNotSticky,
    /// RFC 7162: the highest mod-sequence.
    HighestModSeq(ModSeq),
    /// RFC 7162: the mailbox has no mod-sequences.
    NoModSeq,
    /// RFC 7162: messages that a conditional STORE left alone.
    Modified(String),
    /// RFC 7162: the mailbox that was selected no longer is.
    Closed,
    /// RFC 7889, RFC 4469: the message is too large.
    TooBig,
    /// RFC 5530: a back end is down; try later.
    Unavailable,
    /// RFC 5530: wrong user or password.
    AuthenticationFailed,
    /// RFC 5530: authenticated, but not allowed to act as that user.
    AuthorizationFailed,
    /// RFC 5530: authenticate anew.
    Expired,
    /// RFC 5530: TLS is needed.
    PrivacyRequired,
    /// RFC 5530: ask an administrator.
    ContactAdmin,
    /// RFC 5530: not allowed.
    NoPerm,
    /// RFC 5530: held by another.
    InUse,
    /// RFC 5530: somebody else expunged some of the messages.
    ExpungeIssued,
    /// RFC 5530: the server's data is damaged.
    Corruption,
    /// RFC 5530: a bug of the server.
    ServerBug,
    /// RFC 5530: a bug of the client.
    ClientBug,
    /// RFC 5530: this can never work.
    Cannot,
    /// RFC 5530: too much of something.
    Limit,
    /// RFC 5530: the quota is used up.
    OverQuota,
    /// RFC 5530: there is one already.
    AlreadyExists,
    /// RFC 5530: there is none.
    NonExistent,
    /// RFC 6154: the special use is not supported.
    UseAttr,
}

impl fmt::Display for ResponseCode {
    /// The code without its brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert => f.write_str("ALERT"),
            Self::BadCharset => f.write_str("BADCHARSET (UTF-8 US-ASCII)"),
            Self::Capability(names) => write!(f, "CAPABILITY {}", names.join(" ")),
            Self::PermanentFlags {
                flags,
                new_keywords,
            } => {
                let mut names: Vec<&str> = flags.iter().map(|flag| flag.as_str()).collect();
                if *new_keywords {
                    names.push("\\*");
                }
                write!(f, "PERMANENTFLAGS ({})", names.join(" "))
            }
            Self::ReadOnly => f.write_str("READ-ONLY"),
            Self::ReadWrite => f.write_str("READ-WRITE"),
            Self::TryCreate => f.write_str("TRYCREATE"),
            Self::UidNext(uid) => write!(f, "UIDNEXT {uid}"),
            Self::UidValidity(validity) => write!(f, "UIDVALIDITY {validity}"),
            Self::Unseen(sequence) => write!(f, "UNSEEN {sequence}"),
            Self::AppendUid(validity, uid) => write!(f, "APPENDUID {validity} {uid}"),
            Self::CopyUid(validity, source, target) => {
                write!(f, "COPYUID {validity} {source} {target}")
            }
            Self::UidNotSticky => f.write_str("UIDNOTSTICKY"),
            Self::HighestModSeq(value) => write!(f, "HIGHESTMODSEQ {value}"),
            Self::NoModSeq => f.write_str("NOMODSEQ"),
            Self::Modified(set) => write!(f, "MODIFIED {set}"),
            Self::Closed => f.write_str("CLOSED"),
            Self::TooBig => f.write_str("TOOBIG"),
            Self::Unavailable => f.write_str("UNAVAILABLE"),
            Self::AuthenticationFailed => f.write_str("AUTHENTICATIONFAILED"),
            Self::AuthorizationFailed => f.write_str("AUTHORIZATIONFAILED"),
            Self::Expired => f.write_str("EXPIRED"),
            Self::PrivacyRequired => f.write_str("PRIVACYREQUIRED"),
            Self::ContactAdmin => f.write_str("CONTACTADMIN"),
            Self::NoPerm => f.write_str("NOPERM"),
            Self::InUse => f.write_str("INUSE"),
            Self::ExpungeIssued => f.write_str("EXPUNGEISSUED"),
            Self::Corruption => f.write_str("CORRUPTION"),
            Self::ServerBug => f.write_str("SERVERBUG"),
            Self::ClientBug => f.write_str("CLIENTBUG"),
            Self::Cannot => f.write_str("CANNOT"),
            Self::Limit => f.write_str("LIMIT"),
            Self::OverQuota => f.write_str("OVERQUOTA"),
            Self::AlreadyExists => f.write_str("ALREADYEXISTS"),
            Self::NonExistent => f.write_str("NONEXISTENT"),
            Self::UseAttr => f.write_str("USEATTR"),
        }
    }
}
