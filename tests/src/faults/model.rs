//! A cluster as it should be, small and in memory: what people see of it, call by call, is a history
//! that the checker must accept.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::history::History;
use super::register::{Event, Moment, Op};
use super::uids::{Look, Message};
use crate::load::journal::Fate;
use crate::replicas::Replica;
use crate::{ALICE, BOB};

/// Things that happen in a history.
const STEPS: usize = 800;
/// Messages with a flag.
const MESSAGES: u32 = 8;
/// Sessions that work on flags.
const SESSIONS: usize = 4;
/// Messages that are looked at once more.
const AGAIN: usize = 20;

/// What happened in a run of this seed.
pub(super) fn history(seed: u64) -> History {
    let mut model = Model::new(seed);
    for _ in 0..STEPS {
        match model.random.u32(..10) {
            0..3 => model.letter(),
            3..9 => model.session(),
            _ => model.look(),
        }
    }
    model.end()
}

/// A mailbox of the model.
#[derive(Default)]
struct Mailbox {
    highest: u64,
    messages: Vec<Message>,
    looks: Vec<Look>,
    /// How many messages the onlooker knows.
    known: usize,
}

impl Mailbox {
    fn add(&mut self, id: String) {
        self.highest += 1;
        self.messages.push(Message {
            uid: self.messages.len() as u32 + 1,
            id: format!("Message-ID: <{id}>"),
            mod_seq: self.highest,
            flags: Vec::new(),
        });
    }

    fn look(&mut self, again: usize) {
        // UIDs are one more than places.
        let from = self.known.saturating_sub(again + 1);
        self.known = self.messages.len();
        self.looks.push(Look {
            uid_validity: 7,
            uid_next: self.messages.len() as u32 + 1,
            highest: self.highest.max(1),
            messages: self.messages[from..].to_vec(),
            is_whole: from == 0,
        });
    }

    fn flag(&mut self, uid: u32) -> &mut Message {
        self.highest += 1;
        let message = &mut self.messages[uid as usize - 1];
        message.mod_seq = self.highest;
        message
    }

    fn is_flagged(&self, uid: u32) -> bool {
        !self.messages[uid as usize - 1].flags.is_empty()
    }
}

/// What a session is about.
#[derive(Clone, Copy)]
struct Call {
    uid: u32,
    op: Op,
    /// What it will hear, once it is done.
    answer: Option<Moment>,
}

struct Model {
    random: Rng,
    history: History,
    inbox: Mailbox,
    drafts: Mailbox,
    sessions: [(u32, Option<Call>); SESSIONS],
    people: u32,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut drafts = Mailbox::default();
        for uid in 1..=MESSAGES {
            drafts.add(format!("draft{uid}@e2e.test"));
        }
        Self {
            random: Rng::with_seed(seed),
            history: History::default(),
            inbox: Mailbox::default(),
            drafts,
            sessions: [0, 1, 2, 3].map(|who| (who, None)),
            people: SESSIONS as u32,
        }
    }

    /// A letter to one or to both. Some senders hear nothing; of those letters some are there.
    fn letter(&mut self) {
        let id = format!("{:016x}@e2e.test", self.random.u64(..));
        let is_heard = self.random.u32(..10) > 0;
        let arrives = is_heard || self.random.bool();
        let fate = match is_heard {
            true => Fate::Acknowledged,
            false => Fate::Unknown,
        };
        let to = match self.random.bool() {
            true => &[BOB][..],
            false => &[ALICE, BOB],
        };
        for address in to {
            let letters = self.history.letters.entry((*address).into()).or_default();
            letters.insert(id.clone(), fate);
            let mailboxes = &mut self.history.mailboxes;
            let there = mailboxes.entry((*address).into()).or_default();
            if arrives {
                there.insert(id.clone(), 1);
            }
        }
        if arrives {
            self.inbox.add(id);
        }
    }

    /// One of the sessions calls, or its call is carried out, or it hears the answer; now and then
    /// it breaks, and another person takes its place.
    fn session(&mut self) {
        let place = self.random.usize(..SESSIONS);
        let (who, call) = self.sessions[place];
        let Some(call) = call else {
            let op = [Op::Write(true), Op::Write(false), Op::Read, Op::Read];
            let op = op[self.random.usize(..op.len())];
            let uid = self.random.u32(1..=MESSAGES);
            self.note(uid, who, Moment::Call(op));
            let answer = None;
            self.sessions[place].1 = Some(Call { uid, op, answer });
            return;
        };
        if self.random.u32(..60) == 0 {
            self.people += 1;
            self.sessions[place] = (self.people, None);
            return;
        }
        self.sessions[place].1 = match call.answer {
            None => {
                let answer = Some(self.carry_out(call.uid, call.op));
                Some(Call { answer, ..call })
            }
            Some(answer) => {
                self.note(call.uid, who, answer);
                None
            }
        };
    }

    fn carry_out(&mut self, uid: u32, op: Op) -> Moment {
        match op {
            Op::Write(true) => self.drafts.flag(uid).flags = vec!["\\Flagged".into()],
            Op::Write(false) => self.drafts.flag(uid).flags.clear(),
            Op::Read => return Moment::Seen(self.drafts.is_flagged(uid)),
        }
        Moment::Written
    }

    fn note(&mut self, uid: u32, who: u32, moment: Moment) {
        let events = self.history.flags.entry(uid).or_default();
        events.push(Event { who, moment });
    }

    fn look(&mut self) {
        self.inbox.look(AGAIN);
        self.drafts.look(AGAIN);
    }

    fn end(mut self) -> History {
        self.people += 1;
        let who = self.people;
        for uid in 1..=MESSAGES {
            self.note(uid, who, Moment::Call(Op::Read));
            let seen = self.carry_out(uid, Op::Read);
            self.note(uid, who, seen);
        }
        for mailbox in [&mut self.inbox, &mut self.drafts] {
            mailbox.look(usize::MAX - 1);
        }
        let names = [(format!("{BOB} INBOX"), self.inbox.looks)];
        let looks = names
            .into_iter()
            .chain([(format!("{ALICE} Drafts"), self.drafts.looks)]);
        self.history.looks = BTreeMap::from_iter(looks);
        let replica = |shard: u32, node: u64| Replica {
            shard,
            node: Some(node),
            index: 40 + u64::from(shard),
            checksum: Some(format!("{shard:064x}")),
            result: "agrees".into(),
        };
        let shards = (1..3).flat_map(|shard| (1..4).map(move |node| replica(shard, node)));
        self.history.replicas = Some(shards.collect());
        self.history
    }
}
