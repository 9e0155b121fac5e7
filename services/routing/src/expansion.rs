//! Who gets a letter for one address: the expansion of aliases, as a machine without I/O.
//!
//! [`Expansion::step`] names the address to look up next, [`Expansion::answer`] takes what the
//! directory holds for it. Each address passes these stages: the address itself, then without its
//! `+tag`, then the domain's catch-all, then, for a postmaster, the configured
//! postmaster or the oldest account.

use std::collections::{HashSet, VecDeque};

use postino_proto::mail::v1::{LocalTarget, Recipient as Target};
use postino_proto::store::v1::lookup_response::Entry;
use postino_proto::store::v1::{AccountEntry, AccountState, LookupResponse};
use postino_types::{EmailAddress, EnhancedStatus, Recipient, Reply};

/// What the expansion needs to know beside the directory.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Our own host name: `postmaster` there is ours, and `<postmaster>` means it.
    pub hostname: String,
    /// Literals of these addresses are us (RFC 5321 section 4.1.3).
    pub own_addresses: Vec<std::net::IpAddr>,
    /// Where a postmaster's mail goes that has no account, alias or catch-all of its own.
    pub postmaster: Option<EmailAddress>,
    /// How deep aliases may lead to aliases.
    pub depth: usize,
    /// Most targets, and most look-ups, of one address.
    pub targets: usize,
}

/// Whether mail to domains that are not ours may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// The sender is authenticated, or is ourselves.
    Allowed,
    /// Only aliases lead outside.
    Denied,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Look this address up (folded; `@domain` is the catch-all, `@` the oldest account) and call [`Expansion::answer`].
    Lookup(String),
    /// The targets; never empty.
    Targets(Vec<Target>),
    /// The recipient is refused.
    Refused(Reply),
}

/// Which question about an address is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Exact,
    WithoutTag,
    CatchAll,
    /// Of a postmaster that nobody else is: who was here first?
    Oldest,
}

#[derive(Debug, Clone)]
struct Open {
    address: EmailAddress,
    /// 0 is the address of the RCPT command.
    depth: usize,
    stage: Stage,
}

/// The expansion of one recipient.
#[derive(Debug)]
pub struct Expansion<'a> {
    rules: &'a Rules,
    relay: Relay,
    original: String,
    open: VecDeque<Open>,
    /// Addresses met so far: a loop of aliases ends here.
    seen: HashSet<String>,
    lookups: usize,
    targets: Vec<Target>,
    accounts: HashSet<u64>,
    refusal: Option<Reply>,
    /// The reply if nobody is reached.
    otherwise: Reply,
}

impl<'a> Expansion<'a> {
    /// Begins with the recipient of the RCPT command.
    pub fn new(rules: &'a Rules, recipient: &Recipient, relay: Relay) -> Self {
        let mut expansion = Self {
            rules,
            relay,
            original: recipient.to_string(),
            open: VecDeque::new(),
            seen: HashSet::new(),
            lookups: 0,
            targets: Vec::new(),
            accounts: HashSet::new(),
            refusal: None,
            otherwise: unknown_user(),
        };
        match rules.starting_point(recipient) {
            Some(address) => expansion.push(address, 0),
            None => expansion.refuse(unknown_user()),
        }
        expansion
    }

    /// What to do next. Calling it again without an answer gives the same step.
    pub fn step(&self) -> Step {
        if let Some(refusal) = &self.refusal {
            return Step::Refused(refusal.clone());
        }
        match self.open.front() {
            Some(open) => Step::Lookup(open.question()),
            None if self.targets.is_empty() => Step::Refused(self.otherwise.clone()),
            None => Step::Targets(self.targets.clone()),
        }
    }

    /// Takes what the directory holds for the address that [`step`](Self::step) named.
    pub fn answer(&mut self, found: LookupResponse) {
        let Some(open) = self.open.pop_front() else {
            return;
        };
        self.lookups += 1;
        if !found.domain_is_local {
            return self.remote(open);
        }
        match found.entry {
            Some(Entry::Account(account)) => self.account(open, &account),
            Some(Entry::Alias(alias)) => self.alias(&open, &alias.targets),
            None => self.next_stage(open),
        }
        if self.lookups > self.rules.targets.saturating_mul(3) && !self.open.is_empty() {
            self.refuse(too_many());
        }
    }

    fn account(&mut self, open: Open, entry: &AccountEntry) {
        match entry.state() {
            AccountState::Active => {
                let local = LocalTarget {
                    account: entry.account,
                    shard: entry.shard,
                };
                if self.accounts.insert(entry.account) {
                    self.target(open.address.to_string(), Some(local));
                }
            }
            AccountState::Creating => self.refuse(Reply::new(
                451,
                EnhancedStatus::temporary(2, 1),
                "the mailbox is being made, try again",
            )),
            AccountState::Removing | AccountState::Unspecified => self.next_stage(open),
        }
    }

    fn alias(&mut self, open: &Open, targets: &[String]) {
        if open.depth >= self.rules.depth {
            return self.refuse(Reply::new(
                550,
                EnhancedStatus::permanent(4, 6),
                "aliases lead too deep",
            ));
        }
        for target in targets {
            match target.parse() {
                Ok(address) => self.push(address, open.depth + 1),
                // The directory checks targets when they are added; one that an older version
                // let in must not cost the others their copy.
                Err(error) => tracing::warn!(%error, "an alias has a target that is no address"),
            }
        }
    }

    fn next_stage(&mut self, mut open: Open) {
        let stage = match open.stage {
            Stage::Exact if open.address.without_tag().is_some() => Some(Stage::WithoutTag),
            Stage::Exact | Stage::WithoutTag => Some(Stage::CatchAll),
            Stage::CatchAll => None,
            // There is no account at all.
            Stage::Oldest => return,
        };
        match stage {
            Some(stage) => {
                open.stage = stage;
                self.open.push_front(open);
            }
            None => self.nobody(&open),
        }
    }

    /// Nothing in the directory takes the address.
    fn nobody(&mut self, open: &Open) {
        if is_postmaster(&open.address) {
            return self.postmaster(open);
        }
        // A target that is gone costs the other targets of its alias nothing; an expansion that
        // reaches nobody at all is refused by `step`.
        if open.depth > 0 {
            tracing::debug!("an alias leads to an address that does not exist");
        }
    }

    /// RFC 5321 section 4.5.1: postmaster is always accepted. While there is no mailbox at all to
    /// put it in, the letter stays with its sender: neither refused for good nor lost.
    fn postmaster(&mut self, open: &Open) {
        self.otherwise = no_postmaster();
        match &self.rules.postmaster {
            // As an alias: it may lead outside. If it was met before, it leads nowhere.
            Some(address) => self.push(address.clone(), open.depth + 1),
            None => self.open.push_front(Open {
                stage: Stage::Oldest,
                ..open.clone()
            }),
        }
    }

    fn remote(&mut self, open: Open) {
        let (address, depth) = (&open.address, open.depth);
        // Postmaster of our own name is ours, though the name need not be a mail domain.
        let ours = address.domain().as_str() == self.rules.hostname;
        if ours && is_postmaster(address) {
            return self.postmaster(&open);
        }
        if depth == 0 && self.relay == Relay::Denied {
            return self.refuse(Reply::new(
                550,
                EnhancedStatus::permanent(7, 1),
                "relaying denied: authenticate to send to other domains",
            ));
        }
        self.target(address.to_string(), None);
    }

    fn target(&mut self, address: String, local: Option<LocalTarget>) {
        if self.targets.len() >= self.rules.targets {
            return self.refuse(too_many());
        }
        let original = self.original.clone();
        self.targets.push(Target {
            address,
            original,
            local,
            orcpt: String::new(),
        });
    }

    fn push(&mut self, address: EmailAddress, depth: usize) {
        // A loop of aliases, or a second way to the same address.
        if !self.seen.insert(address.folded()) {
            return;
        }
        if self.seen.len() > self.rules.targets.saturating_mul(2) {
            return self.refuse(too_many());
        }
        self.open.push_back(Open {
            address,
            depth,
            stage: Stage::Exact,
        });
    }

    fn refuse(&mut self, reply: Reply) {
        // A temporary refusal wins: the letter may still reach everybody later.
        let temporary = |reply: &Reply| reply.code() < 500;
        if self
            .refusal
            .as_ref()
            .is_none_or(|old| !temporary(old) && temporary(&reply))
        {
            self.refusal = Some(reply);
        }
        self.open.clear();
    }
}

impl Open {
    fn question(&self) -> String {
        match self.stage {
            Stage::Exact => self.address.folded(),
            Stage::WithoutTag => self
                .address
                .without_tag()
                .unwrap_or_else(|| self.address.clone())
                .folded(),
            Stage::CatchAll => format!("@{}", self.address.domain()),
            Stage::Oldest => "@".to_owned(),
        }
    }
}

impl Rules {
    /// The address that a RCPT begins with; `None` for a literal of ours that is no postmaster.
    fn starting_point(&self, recipient: &Recipient) -> Option<EmailAddress> {
        let own = || {
            let at_host = format!("postmaster@{}", self.hostname).parse().ok();
            at_host.or_else(|| self.postmaster.clone())
        };
        match recipient {
            Recipient::Postmaster => own(),
            Recipient::Address(address) => match address.domain().literal_address() {
                Some(ip) if self.own_addresses.contains(&ip) => {
                    is_postmaster(address).then(own).flatten()
                }
                _ => Some(address.clone()),
            },
        }
    }
}

fn is_postmaster(address: &EmailAddress) -> bool {
    let (base, _) = address.local().split_tag();
    base.eq_ignore_ascii_case("postmaster")
}

fn unknown_user() -> Reply {
    Reply::new(550, EnhancedStatus::permanent(1, 1), "no such user here")
}

fn too_many() -> Reply {
    Reply::new(
        550,
        EnhancedStatus::permanent(5, 3),
        "the alias has too many targets",
    )
}

fn no_postmaster() -> Reply {
    let text = "there is no mailbox for the postmaster here yet, try again later";
    Reply::new(451, EnhancedStatus::temporary(3, 5), text)
}

#[cfg(test)]
mod tests;
