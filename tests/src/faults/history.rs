//! All that was seen in a run, and whether it can be: no clock, no network, so that a history can be
//! kept, judged again, and changed in one place to see that the change is found.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::flags::Registers;
use super::register;
use super::uids::{Look, Mailbox};
use crate::load::mailboxes::{Contents, Fates, Verdict, judge};
use crate::replicas::{self, Replica};

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// What became of each letter, by the mailbox that it belongs in.
    pub letters: Fates,
    /// What is in the mailboxes at the end.
    pub mailboxes: Contents,
    /// What was seen of some mailboxes in between, and at the end.
    pub looks: BTreeMap<String, Vec<Look>>,
    /// What happened to flags, by message.
    pub flags: Registers,
    /// What the replicas hold; absent where the build cannot tell.
    pub replicas: Option<Vec<Replica>>,
}

/// What a history proves.
#[derive(Debug)]
pub struct Proof {
    /// The letters.
    pub letters: Verdict,
    /// Messages that an onlooker knew by their UID, and how often somebody looked.
    pub observed: (usize, usize),
    /// Changes and looks at flags whose outcome is known, and those where it is not.
    pub flags: (usize, usize),
    /// Replicas that were compared.
    pub replicas: Option<usize>,
}

impl History {
    /// Reads one that was kept.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Keeps it.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_vec(self)?).with_context(|| path.display().to_string())
    }

    /// An error names what cannot be.
    pub fn check(&self) -> Result<Proof> {
        let letters = self.letters()?;
        let mut observed = (0, 0);
        for (name, looks) in &self.looks {
            let mailbox = Mailbox::seen(looks).with_context(|| name.clone())?;
            ensure!(mailbox.known() > 0, "{name}: nothing was seen");
            observed.0 += mailbox.known();
            observed.1 += looks.len();
        }
        let mut flags = (0, 0);
        for (uid, events) in &self.flags {
            let found = register::misfit(events).map_err(|why| anyhow!("message {uid}: {why}"))?;
            if let Some(place) = found {
                let before = &events[place.saturating_sub(20)..=place];
                bail!("the flag of message {uid} is not linearizable: … {before:?}");
            }
            let is_call =
                |event: &&register::Event| matches!(event.moment, register::Moment::Call(_));
            let calls = events.iter().filter(is_call).count();
            let known = events.len() - calls;
            flags = (flags.0 + known, flags.1 + calls - known);
        }
        ensure!(flags.0 > 0, "no flag was seen");
        if let Some(replicas) = &self.replicas {
            replicas::check(replicas)?;
        }
        Ok(Proof {
            letters,
            observed,
            flags,
            replicas: self.replicas.as_ref().map(Vec::len),
        })
    }

    fn letters(&self) -> Result<Verdict> {
        let verdict = judge(&self.letters, &self.mailboxes);
        verdict.check()?;
        ensure!(verdict.found > 0, "no letter was accepted");
        for (address, there) in &self.mailboxes {
            let sent = self.letters.get(address);
            let is_sent = |id: &&String| sent.is_some_and(|sent| sent.contains_key(*id));
            let strange = there.keys().find(|id| !is_sent(id));
            ensure!(
                strange.is_none(),
                "{strange:?} in the mailbox of {address} was sent by nobody"
            );
        }
        Ok(verdict)
    }
}
