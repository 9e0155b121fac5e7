//! Somebody who looks at a mailbox again and again, while it changes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

use super::uids::{Look, Mailbox, Message};
use crate::PASSWORD;
use crate::imap::{Imap, Line};
use crate::wait::seconds;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Messages that are looked at once more, although they are known.
const AGAIN: usize = 20;

/// One who looks at one mailbox.
#[derive(Debug)]
pub struct Observer {
    server: SocketAddr,
    user: &'static str,
    mailbox: &'static str,
    looks: Vec<Look>,
    known: Mailbox,
}

impl Observer {
    /// Has seen nothing yet.
    pub fn new(server: SocketAddr, user: &'static str, mailbox: &'static str) -> Self {
        Self {
            server,
            user,
            mailbox,
            looks: Vec::new(),
            known: Mailbox::default(),
        }
    }

    /// Whose mailbox, and which.
    pub fn name(&self) -> String {
        format!("{} {}", self.user, self.mailbox)
    }

    /// All looks, in order.
    pub fn into_looks(self) -> Vec<Look> {
        self.looks
    }

    /// Looks until then. Faults make looks fail; the run goes on after one that must not be, too:
    /// what was seen is judged at its end.
    pub async fn look(mut self, stop: Instant) -> Self {
        while Instant::now() < stop {
            let from = self.known.recent(AGAIN);
            if let Ok(Ok(look)) = timeout(seconds(20), self.fetch(from)).await {
                self.keep(look);
            }
            sleep(PAUSE).await;
        }
        self
    }

    /// Looks at the whole mailbox once.
    pub async fn look_once(&mut self) -> Result<()> {
        let look = self.fetch(1).await?;
        self.keep(look);
        Ok(())
    }

    fn keep(&mut self, look: Look) {
        let _ = self.known.take(&look);
        self.looks.push(look);
    }

    async fn fetch(&self, from: u32) -> Result<Look> {
        let mut imap = Imap::login(self.server, self.user, PASSWORD).await?;
        let selected = imap.ok(&format!("EXAMINE {}", self.mailbox)).await?;
        let code = |name: &str| {
            let line = selected.find(name).with_context(|| format!("no {name}"))?;
            let value = line.text.split_once(name).map(|(_, rest)| rest.trim());
            let digits = value.and_then(|rest| rest.split(']').next());
            Ok::<u64, anyhow::Error>(digits.context("a number")?.parse()?)
        };
        let mut look = Look {
            uid_validity: code("[UIDVALIDITY ")?.try_into()?,
            uid_next: code("[UIDNEXT ")?.try_into()?,
            highest: code("[HIGHESTMODSEQ ")?,
            messages: Vec::new(),
            is_whole: from == 1,
        };
        if look.uid_next > from {
            let items = "FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]";
            let fetched = imap.ok(&format!("UID FETCH {from}:* ({items})")).await?;
            // Others tell what happened in the meantime.
            let lines = fetched.untagged.iter().filter(|l| !l.literals.is_empty());
            let messages: Result<Vec<Message>> = lines.map(message).collect();
            look.messages = messages?;
            look.messages.retain(|message| message.uid >= from);
        }
        Ok(look)
    }
}

/// What a FETCH response with a header says.
fn message(line: &Line) -> Result<Message> {
    let text = &line.text;
    let after = |name: &str| {
        let found = text.split_once(name).map(|(_, rest)| rest);
        found.with_context(|| format!("no {name} in {text}"))
    };
    let number = |name: &str| {
        let digits = after(name)?.split(|c: char| !c.is_ascii_digit()).next();
        Ok::<u64, anyhow::Error>(digits.context("digits")?.parse()?)
    };
    let flags = after("FLAGS (")?.split(')').next().unwrap_or_default();
    // \Recent is the session's own.
    let flags = flags.split_whitespace().filter(|flag| *flag != "\\Recent");
    let mut flags: Vec<String> = flags.map(str::to_owned).collect();
    flags.sort_unstable();
    let header = line.literals.first().context("no header")?;
    Ok(Message {
        uid: number("UID ")?.try_into()?,
        id: String::from_utf8_lossy(header).trim().to_owned(),
        mod_seq: number("MODSEQ (")?,
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_response_is_read() -> Result<()> {
        let line = Line {
            text: "* 3 FETCH (UID 7 FLAGS (\\Seen \\Recent \\Flagged) MODSEQ (12) \
                   BODY[HEADER.FIELDS (MESSAGE-ID)] {21})"
                .into(),
            literals: vec![b"Message-ID: <a@b>\r\n\r\n".to_vec()],
        };
        let expected = Message {
            uid: 7,
            id: "Message-ID: <a@b>".into(),
            mod_seq: 12,
            flags: vec!["\\Flagged".into(), "\\Seen".into()],
        };
        assert_eq!(message(&line)?, expected);
        Ok(())
    }
}
