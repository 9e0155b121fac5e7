//! Load on any server that speaks SMTP and IMAP, ours or a peer, and the proof of what became of
//! each letter: ids are journaled once their 250 has come, and looked up in the mailboxes after.

pub mod cost;
pub mod imap;
pub mod journal;
pub mod letters;
pub mod mailboxes;
pub mod reader;
pub mod smtp;

/// The longest time that is told apart, microseconds.
const LONGEST: u64 = 600_000_000;

/// The accounts of a load: `u{}@peer.test` stands for u0@peer.test, u1@peer.test …
#[derive(Debug, Clone)]
pub struct Accounts {
    /// An address, with `{}` where the number goes.
    pub pattern: String,
    /// How many there are.
    pub count: usize,
    /// The password of all.
    pub password: String,
}

impl Accounts {
    /// The address of account `n`; numbers beyond the count start over.
    pub fn address(&self, n: usize) -> String {
        self.pattern
            .replace("{}", &(n % self.count.max(1)).to_string())
    }

    /// All addresses.
    pub fn addresses(&self) -> Vec<String> {
        (0..self.count.max(1)).map(|n| self.address(n)).collect()
    }
}
