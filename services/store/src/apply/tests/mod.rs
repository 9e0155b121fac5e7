//! Apply on a real database, with entries made up: no Raft is needed to see what a command does.

mod accounts;
mod determinism;
mod directory;
mod holding;
mod levels;
mod mailboxes;
mod moving;
mod placement;
mod reaping;
mod settling;
mod spooling;

use std::sync::Arc;

use bytes::Bytes;
use postino_proto::mail::v1::{EmailContent, Envelope, Recipient};
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::*;
use postino_types::{QueueId, ShardId};
use prost::Message;

use super::Applier;
use crate::command;
use crate::db::{Db, DbSettings, Family, Key, Space, WriteBatch};
use crate::levels::Levels;
use crate::model::email::{self, BodyPart};
use crate::model::mailbox::{self, INBOX, MailboxRow};
use crate::model::message::{self, MessageRow as Row};
use crate::model::{Rows, account, last_u32};
use crate::notify::Notifier;
use crate::raft::{BodyRef, CommittedCommand, CommittedEntry, Machine, Progress};

const SHARD: ShardId = ShardId::new(1);
const START_MS: u64 = 1_700_000_000_000;

/// A shard with accounts 1 and 2, and a log of what was applied to it.
struct Bench {
    _directory: tempfile::TempDir,
    db: Db,
    applier: Applier,
    notifier: Arc<Notifier>,
    space: Space,
    index: u64,
    now_ms: u64,
    log: Vec<CommittedEntry>,
}

impl Bench {
    fn empty(shard: ShardId) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        let notifier = Arc::new(Notifier::default());
        Self {
            applier: Applier::new(db.clone(), Arc::clone(&notifier), Levels::up_to(3)),
            notifier,
            space: db.space(shard).unwrap(),
            db,
            _directory: directory,
            index: 0,
            now_ms: START_MS,
            log: Vec::new(),
        }
    }

    fn new() -> Self {
        let mut bench = Self::empty(SHARD);
        for account in [1, 2] {
            bench.done(Kind::InitAccount(InitAccountCommand {
                account,
                address: format!("a{account}@example.org"),
                credential: Some(Credential::default()),
                quota_octets: 1000,
                quota_messages: 0,
            }));
        }
        bench
    }

    /// An entry with these commands and the lengths of their bodies.
    fn entry(&mut self, commands: Vec<(Kind, u64)>) -> CommittedEntry {
        self.index += 1;
        let (index, shard) = (self.index, self.space.shard());
        let command = |(number, (kind, body_len)): (u32, (Kind, u64))| CommittedCommand {
            command: command::encode(kind),
            body_len,
            body: BodyRef {
                shard,
                index,
                number,
            },
        };
        CommittedEntry {
            index,
            term: 3,
            time_ms: self.now_ms,
            commands: (0..).zip(commands).map(command).collect(),
        }
    }

    /// Applies entries; their bodies lie there already, as the log's append leaves them.
    fn apply_entries(&self, entries: Vec<CommittedEntry>) -> Vec<Answer> {
        let mut batch = self.db.batch();
        for command in entries.iter().flat_map(|entry| &entry.commands) {
            let body = vec![b'x'; usize::try_from(command.body_len).unwrap()];
            if !body.is_empty() {
                batch.put(Family::Bodies, command.body.key(self.space), body);
            }
        }
        self.db.write(batch).unwrap();
        let progress = Progress::new(self.space, Vec::new());
        let answers = self
            .applier
            .apply(self.space.shard(), entries, progress)
            .unwrap();
        let answers = answers.into_iter().flatten();
        answers
            .map(|answer| command::decode_answer(answer).unwrap())
            .collect()
    }

    fn apply_with_body(&mut self, kind: Kind, body_len: u64) -> Answer {
        let entry = self.entry(vec![(kind, body_len)]);
        self.log.push(entry.clone());
        self.apply_entries(vec![entry]).pop().unwrap()
    }

    fn apply(&mut self, kind: Kind) -> Answer {
        self.apply_with_body(kind, 0)
    }

    fn done(&mut self, kind: Kind) {
        let answer = self.apply(kind);
        assert!(!matches!(answer, Answer::Refused(_)), "{answer:?}");
    }

    fn refused(&mut self, kind: Kind) -> RefusalKind {
        match self.apply(kind) {
            Answer::Refused(refused) => refused.kind(),
            answer => panic!("not refused: {answer:?}"),
        }
    }

    fn count(&self, family: Family, prefix: Key) -> usize {
        let range = crate::model::Range::prefix(prefix);
        Rows::page(&self.db, family, &range, usize::MAX)
            .unwrap()
            .len()
    }

    fn mailbox(&self, account: u64, id: u64) -> MailboxRow {
        mailbox::find(&self.db, self.space, account, id)
            .unwrap()
            .unwrap()
    }

    fn named(&self, account: u64, name: &str) -> Option<u64> {
        mailbox::find_named(&self.db, self.space, account, name).unwrap()
    }

    fn account(&self, id: u64) -> Option<account::AccountRow> {
        match account::standing(&self.db, self.space, id).unwrap() {
            account::Standing::Here(row) => Some(row),
            _ => None,
        }
    }

    fn messages(&self, account: u64, mailbox: u64) -> Vec<(u32, Row)> {
        let range = message::all(self.space, account, mailbox);
        let rows = Rows::page(&self.db, Family::Mailbox, &range, usize::MAX).unwrap();
        let read =
            |(key, row): (Vec<u8>, Bytes)| (last_u32(&key).unwrap(), Row::decode(&row).unwrap());
        rows.into_iter().map(read).collect()
    }

    /// Octets of bodies that came and went.
    fn gone(&self) -> u64 {
        let entries = self.log.iter().flat_map(|entry| &entry.commands);
        let came: u64 = entries.map(|command| command.body_len).sum();
        let range = crate::model::Range::prefix(self.space.key());
        let rows = Rows::page(&self.db, Family::Bodies, &range, usize::MAX).unwrap();
        came - rows.iter().map(|(_, body)| body.len() as u64).sum::<u64>()
    }

    fn emails(&self) -> usize {
        let range = email::emails_all(self.space);
        Rows::page(&self.db, Family::Email, &range, usize::MAX)
            .unwrap()
            .len()
    }

    fn runs(&self, account: u64, id: u64) -> Vec<(u32, u32)> {
        let row = self.mailbox(account, id);
        let runs = mailbox::uid_runs(&self.db, self.space, account, id, &row).unwrap();
        runs.iter().map(|run| (run.first, run.last)).collect()
    }

    /// Delivers `count` letters of 100 octets to account 1.
    fn fill(&mut self, count: u64) {
        for number in 0..count {
            let accept = accept(1000 + number, &[(0, 1)], 1);
            assert!(accepted(self.apply_with_body(accept, 100)).filed);
        }
    }

    /// Every count of a mailbox is what its messages say.
    fn check_counts(&self, account: u64, id: u64) {
        let (row, messages) = (self.mailbox(account, id), self.messages(account, id));
        let count = |test: fn(&Row) -> bool| {
            u32::try_from(messages.iter().filter(|(_, row)| test(row)).count()).unwrap()
        };
        assert_eq!(row.exists, count(|_| true));
        assert_eq!(row.unseen, count(Row::is_unseen));
        assert_eq!(row.deleted, count(Row::is_deleted));
        assert_eq!(
            row.size,
            messages.iter().map(|(_, row)| row.size).sum::<u64>()
        );
        let first_unseen = messages.iter().find(|(_, row)| row.is_unseen());
        assert!(first_unseen.is_none_or(|(uid, _)| *uid >= row.unseen_floor));
        let uids: Vec<u32> = messages.iter().map(|(uid, _)| *uid).collect();
        let runs = self.runs(account, id);
        let listed: Vec<u32> = runs
            .iter()
            .flat_map(|(first, last)| *first..=*last)
            .collect();
        assert_eq!(uids, listed);
        for (bit, keyword) in row.keywords.iter().enumerate() {
            let having = messages
                .iter()
                .filter(|(_, row)| row.keywords & (1 << bit) != 0);
            assert_eq!(keyword.count as usize, having.count());
        }
        let changes = mailbox::changed_all(self.space, account, id);
        let changes = Rows::page(&self.db, Family::Change, &changes, usize::MAX).unwrap();
        let changes: Vec<_> = changes
            .iter()
            .map(|(key, _)| mailbox::parse_change(key).unwrap())
            .collect();
        let mut expected: Vec<_> = messages
            .iter()
            .map(|(uid, row)| (row.mod_seq, *uid))
            .collect();
        expected.sort_unstable();
        assert_eq!(changes, expected);
    }
}

fn id(number: u64) -> QueueId {
    QueueId::mint(SHARD, START_MS, number).unwrap()
}

/// A letter of 100 octets with `recipients` recipients, of whom these are local here.
fn accept(number: u64, local: &[(u32, u64)], recipients: u32) -> Kind {
    Kind::Accept(accept_command(number, local, recipients))
}

fn accept_command(number: u64, local: &[(u32, u64)], recipients: u32) -> AcceptCommand {
    let envelope = Envelope {
        reverse_path: "x@example.net".into(),
        recipients: vec![Recipient::default(); recipients as usize],
        ..Envelope::default()
    };
    let email = EmailContent {
        size: 120,
        message_id: format!("m{number}"),
        ..EmailContent::default()
    };
    let target = |(recipient, account): &(u32, u64)| DeliverTarget {
        recipient: *recipient,
        account: *account,
    };
    AcceptCommand {
        queue_id: id(number).to_string(),
        envelope: envelope.encode_to_vec().into(),
        recipients,
        local: local.iter().map(target).collect(),
        email: email.encode_to_vec().into(),
        email_size: 120,
        size: 100,
        trace: Bytes::new(),
        body: Some(BodySource {
            length: 100,
            ..BodySource::default()
        }),
    }
}

fn accepted(answer: Answer) -> Accepted {
    match answer {
        Answer::Accepted(accepted) => accepted,
        answer => panic!("not accepted: {answer:?}"),
    }
}

fn range(first: u32, last: u32) -> UidRange {
    UidRange { first, last }
}
