//! What must hold of a mailbox, look after look: what a UID named once it names for ever, new
//! messages come above UIDNEXT (RFC 3501 section 2.3.1.1), and mod-sequences rise with every change
//! (RFC 7162 section 3.1).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// What one look shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// HIGHESTMODSEQ.
    pub highest: u64,
    /// Messages from some UID on.
    pub messages: Vec<Message>,
    /// Whether these are all that there are.
    pub is_whole: bool,
}

/// A message in a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its UID.
    pub uid: u32,
    /// Its Message-ID header, as it is.
    pub id: String,
    /// Its mod-sequence.
    pub mod_seq: u64,
    /// Its flags, sorted.
    pub flags: Vec<String>,
}

/// What is known of a mailbox that nobody removes messages from.
#[derive(Debug, Default)]
pub struct Mailbox {
    last: Option<(u32, u32, u64)>,
    messages: BTreeMap<u32, Message>,
}

impl Mailbox {
    /// What all of these show, one after the other.
    pub fn seen(looks: &[Look]) -> Result<Self> {
        let mut mailbox = Self::default();
        for look in looks {
            mailbox.take(look)?;
        }
        Ok(mailbox)
    }

    /// How many messages are known.
    pub fn known(&self) -> usize {
        self.messages.len()
    }

    /// The UID from which on the last few known ones are.
    pub fn recent(&self, few: usize) -> u32 {
        let uid = self.messages.keys().rev().nth(few);
        uid.copied().unwrap_or(1)
    }

    /// Takes the next look; an error says what must not be.
    pub fn take(&mut self, look: &Look) -> Result<()> {
        let now = (look.uid_validity, look.uid_next, look.highest);
        let (validity, uid_next, highest) = self.last.unwrap_or((look.uid_validity, 1, 0));
        ensure!(
            validity == now.0,
            "UIDVALIDITY was {validity}, and is {}",
            now.0
        );
        ensure!(
            uid_next <= now.1,
            "UIDNEXT was {uid_next}, and is {}",
            now.1
        );
        ensure!(
            highest <= now.2,
            "HIGHESTMODSEQ was {highest}, and is {}",
            now.2
        );
        // An empty mailbox says 1, which its first message may have (RFC 7162 section 3.1.2.1).
        let floor = if uid_next == 1 { 0 } else { highest };
        let mut below = 0;
        for message in &look.messages {
            let uid = message.uid;
            ensure!(uid > below, "UID {uid} comes after {below}");
            below = uid;
            match self.messages.get(&uid) {
                Some(known) => unchanged(known, message)?,
                None => {
                    ensure!(
                        uid >= uid_next,
                        "UID {uid} is new, but UIDNEXT was {uid_next}"
                    );
                    ensure!(
                        message.mod_seq > floor,
                        "the message of UID {uid} is new with mod-sequence {}, but HIGHESTMODSEQ \
                         was {floor}",
                        message.mod_seq
                    );
                }
            }
        }
        if look.is_whole {
            let there: BTreeSet<u32> = look.messages.iter().map(|message| message.uid).collect();
            if let Some(uid) = self.messages.keys().find(|uid| !there.contains(uid)) {
                bail!("the message of UID {uid} is gone");
            }
        }
        self.last = Some(now);
        let messages = look.messages.iter().cloned();
        self.messages.extend(messages.map(|m| (m.uid, m)));
        Ok(())
    }
}

fn unchanged(before: &Message, now: &Message) -> Result<()> {
    let uid = now.uid;
    ensure!(
        before.id == now.id,
        "UID {uid} named {}, and names {}",
        before.id,
        now.id
    );
    ensure!(
        before.mod_seq <= now.mod_seq,
        "the mod-sequence of UID {uid} was {}, and is {}",
        before.mod_seq,
        now.mod_seq
    );
    ensure!(
        before.flags == now.flags || before.mod_seq < now.mod_seq,
        "UID {uid} had {:?}, and has {:?}, at mod-sequence {}",
        before.flags,
        now.flags,
        now.mod_seq
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(uid: u32, id: &str, mod_seq: u64, flags: &[&str]) -> Message {
        Message {
            uid,
            id: id.to_owned(),
            mod_seq,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    fn look(uid_next: u32, highest: u64, messages: Vec<Message>) -> Look {
        Look {
            uid_validity: 1,
            uid_next,
            highest,
            messages,
            is_whole: false,
        }
    }

    #[test]
    fn what_must_not_happen_to_a_mailbox_is_seen() -> Result<()> {
        let before = [
            look(
                3,
                7,
                vec![message(1, "a", 4, &[]), message(2, "b", 7, &["\\Flagged"])],
            ),
            look(
                5,
                9,
                vec![
                    message(2, "b", 8, &[]),
                    message(3, "c", 9, &[]),
                    message(4, "d", 9, &[]),
                ],
            ),
        ];
        assert_eq!(Mailbox::seen(&before)?.known(), 4);
        let after = |look: Look| Mailbox::seen(&[&before[..], &[look]].concat()).map(drop);
        after(look(6, 10, vec![message(5, "e", 10, &[])]))?;
        after(look(5, 10, vec![message(2, "b", 10, &["\\Flagged"])]))?;
        for (bad, says) in [
            (look(4, 9, vec![]), "UIDNEXT"),
            (look(5, 8, vec![]), "HIGHESTMODSEQ"),
            (
                look(5, 9, vec![message(4, "e", 9, &[])]),
                "named d, and names e",
            ),
            (look(5, 9, vec![message(2, "b", 7, &[])]), "was 8, and is 7"),
            (look(5, 9, vec![message(2, "b", 8, &["\\Seen"])]), "had []"),
            (
                look(6, 10, vec![message(5, "e", 9, &[])]),
                "is new with mod-sequence 9",
            ),
            (
                Look {
                    uid_validity: 2,
                    ..look(5, 9, vec![])
                },
                "UIDVALIDITY",
            ),
            (
                Look {
                    is_whole: true,
                    ..look(5, 9, vec![message(2, "b", 8, &[])])
                },
                "is gone",
            ),
        ] {
            let said = after(bad.clone()).expect_err(says).to_string();
            assert!(said.contains(says), "{bad:?}: {said}");
        }
        // Not there at UIDNEXT 7, so it must not come under 6.
        let late = [
            look(7, 1, vec![message(1, "a", 1, &[])]),
            look(8, 2, vec![message(6, "f", 2, &[])]),
        ];
        let said = Mailbox::seen(&late).expect_err("a late UID").to_string();
        assert!(said.contains("UIDNEXT was 7"), "{said}");
        Ok(())
    }
}
