//! The checker, checked: histories of a cluster as it should be hold, and when one is changed in one
//! place, the invariant that this breaks is the one that is named.

use fastrand::Rng;

use super::history::History;
use super::model;
use super::register::{Event, Moment, Op};
use super::uids::{Look, Message};
use crate::load::journal::Fate;
use crate::replicas::Replica;

/// Each mutant is tried in so many histories.
const HISTORIES: u64 = 40;

/// Changes a history in one place, which is drawn; `None`: there is no such place.
type Mutant = fn(&mut History, &mut Rng) -> Option<()>;

/// Every mutant, and what the checker must say of it.
const MUTANTS: [(&str, Mutant, &str); 14] = [
    ("a lost letter", lost, "1 lost"),
    ("a doubled letter", doubled, "1 doubled"),
    ("a letter that nobody sent", strange, "sent by nobody"),
    ("a reused UID", reused, " names "),
    ("a UID that comes late", late, "is new, but UIDNEXT was"),
    ("UIDs out of order", disorder, " comes after "),
    ("another UIDVALIDITY", invalid, "UIDVALIDITY was"),
    ("a falling UIDNEXT", next_falls, "UIDNEXT was"),
    ("a message gone", gone, "is gone"),
    (
        "a falling HIGHESTMODSEQ",
        highest_falls,
        "HIGHESTMODSEQ was",
    ),
    (
        "a falling mod-sequence",
        mod_seq_falls,
        "the mod-sequence of",
    ),
    ("a change without a mod-sequence", silent, "at mod-sequence"),
    ("a stale flag", stale, "not linearizable"),
    ("an unequal replica", unequal, "elsewhere"),
];

#[test]
fn every_mutant_of_a_history_is_caught() {
    for (name, mutant, says) in MUTANTS {
        for seed in 0..HISTORIES {
            let mut history = model::history(seed);
            mutant(&mut history, &mut Rng::with_seed(seed)).expect(name);
            let said = match history.check() {
                Ok(_) => panic!("{name} {seed} is not caught"),
                Err(error) => format!("{error:#}"),
            };
            assert!(said.contains(says), "{name} {seed}: {said}");
        }
    }
}

#[test]
fn histories_of_a_cluster_as_it_should_be_hold() {
    for seed in 0..10 * HISTORIES {
        let proof = model::history(seed).check();
        let proof = proof.unwrap_or_else(|error| panic!("{seed}: {error:#}"));
        assert!(proof.letters.found > 0 && proof.observed.0 > 0 && proof.flags.0 > 0);
        assert_eq!(proof.replicas, Some(6));
    }
}

#[test]
fn a_history_that_is_kept_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.json");
    let history = model::history(1);
    history.write(&path).unwrap();
    assert_eq!(History::read(&path).unwrap(), history);
}

fn any<T>(random: &mut Rng, from: Vec<T>) -> Option<T> {
    let place = random.usize(..from.len().max(1));
    from.into_iter().nth(place)
}

/// How often a letter with its 250 is in its mailbox.
fn kept<'a>(history: &'a mut History, random: &mut Rng) -> Option<&'a mut usize> {
    let (letters, mailboxes) = (&history.letters, &mut history.mailboxes);
    let all = mailboxes.iter_mut().flat_map(|(address, there)| {
        let sent = &letters[address];
        let is_kept = move |id: &String| sent.get(id) == Some(&Fate::Acknowledged);
        there.iter_mut().filter(move |(id, _)| is_kept(id))
    });
    any(random, all.map(|(_, count)| count).collect())
}

fn lost(history: &mut History, random: &mut Rng) -> Option<()> {
    *kept(history, random)? = 0;
    Some(())
}

fn doubled(history: &mut History, random: &mut Rng) -> Option<()> {
    *kept(history, random)? = 2;
    Some(())
}

fn strange(history: &mut History, random: &mut Rng) -> Option<()> {
    let there = any(random, history.mailboxes.values_mut().collect())?;
    there.insert("nobody@e2e.test".into(), 1);
    Some(())
}

/// A look that is not the first one at its mailbox, and the one before; `fits` says which may be.
fn looks<'a>(
    history: &'a mut History,
    random: &mut Rng,
    fits: impl Fn(&Look, &Look) -> bool,
) -> Option<(&'a mut Look, &'a mut Look)> {
    let mut places = Vec::new();
    for (name, looks) in &history.looks {
        let pairs = looks.windows(2).enumerate();
        let fitting = pairs.filter(|(_, pair)| fits(&pair[0], &pair[1]));
        places.extend(fitting.map(|(place, _)| (name.clone(), place)));
    }
    let (name, place) = any(random, places)?;
    let (before, now) = history.looks.get_mut(&name)?.split_at_mut(place + 1);
    Some((before.last_mut()?, now.first_mut()?))
}

/// Two looks, and a place in each where they show the same message.
fn twice<'a>(
    history: &'a mut History,
    random: &mut Rng,
    fits: impl Fn(&Message, &Message) -> bool,
) -> Option<(&'a mut Message, &'a mut Message)> {
    let pairs = |before: &Look, now: &Look| -> Vec<(usize, usize)> {
        let places = before.messages.iter().enumerate();
        let pairs = places.filter_map(|(place, old)| {
            let mut new = now.messages.iter();
            let there = new.position(|new| new.uid == old.uid && fits(old, new))?;
            Some((place, there))
        });
        pairs.collect()
    };
    let (before, now) = looks(history, random, |before, now| {
        !pairs(before, now).is_empty()
    })?;
    let (old, new) = any(random, pairs(before, now))?;
    Some((&mut before.messages[old], &mut now.messages[new]))
}

fn reused(history: &mut History, random: &mut Rng) -> Option<()> {
    let (_, now) = twice(history, random, |_, _| true)?;
    now.id = "Message-ID: <other@e2e.test>".into();
    Some(())
}

fn late(history: &mut History, random: &mut Rng) -> Option<()> {
    // The first message of a look was not there in the look before, nor ever.
    let first = |look: &Look| look.messages.first().map(|message| message.uid);
    let mut of: Vec<_> = history.looks.values_mut().collect();
    of.retain(|looks| looks.last().and_then(first).is_some());
    let looks = any(random, of)?;
    let uid = first(looks.last()?)?;
    let (last, before) = looks.split_last_mut()?;
    for look in before {
        look.is_whole = false;
        look.messages.retain(|message| message.uid != uid);
    }
    last.is_whole = true;
    Some(())
}

fn disorder(history: &mut History, random: &mut Rng) -> Option<()> {
    let (_, now) = looks(history, random, |_, now| now.messages.len() > 1)?;
    let place = random.usize(1..now.messages.len());
    now.messages.swap(place - 1, place);
    Some(())
}

fn invalid(history: &mut History, random: &mut Rng) -> Option<()> {
    let (_, now) = looks(history, random, |_, _| true)?;
    now.uid_validity += 1;
    Some(())
}

fn next_falls(history: &mut History, random: &mut Rng) -> Option<()> {
    let (before, now) = looks(history, random, |before, _| before.uid_next > 1)?;
    now.uid_next = before.uid_next - 1;
    now.messages.clear();
    now.is_whole = false;
    Some(())
}

fn gone(history: &mut History, random: &mut Rng) -> Option<()> {
    let fits = |before: &Look, now: &Look| !before.messages.is_empty() && now.is_whole;
    let (before, now) = looks(history, random, fits)?;
    let uid = any(random, before.messages.iter().collect())?.uid;
    now.messages.retain(|message| message.uid != uid);
    Some(())
}

fn highest_falls(history: &mut History, random: &mut Rng) -> Option<()> {
    let (before, now) = looks(history, random, |before, _| before.highest > 1)?;
    now.highest = before.highest - 1;
    Some(())
}

fn mod_seq_falls(history: &mut History, random: &mut Rng) -> Option<()> {
    let (before, now) = twice(history, random, |before, _| before.mod_seq > 1)?;
    now.mod_seq = before.mod_seq - 1;
    Some(())
}

fn silent(history: &mut History, random: &mut Rng) -> Option<()> {
    let (_, now) = twice(history, random, |before, now| before.mod_seq == now.mod_seq)?;
    now.flags.push("\\Forged".into());
    Some(())
}

/// Somebody reads, while nobody writes, and the next one reads something else.
fn stale(history: &mut History, random: &mut Rng) -> Option<()> {
    let mut places = Vec::new();
    for (uid, events) in &history.flags {
        let mut writing = 0_usize;
        for (place, event) in events.iter().enumerate() {
            match event.moment {
                Moment::Call(Op::Write(_)) => writing += 1,
                Moment::Written => writing -= 1,
                Moment::Seen(value) if writing == 0 => places.push((*uid, place, value)),
                Moment::Call(Op::Read) | Moment::Seen(_) => {}
            }
        }
    }
    // A read that began while somebody wrote may be older than what the next one sees.
    places.retain(|(uid, place, _)| {
        let events = &history.flags[uid];
        *place > 0
            && events[place - 1].moment == Moment::Call(Op::Read)
            && events[place - 1].who == events[*place].who
    });
    let (uid, place, value) = any(random, places)?;
    let event = |moment| Event {
        who: u32::MAX,
        moment,
    };
    let events = history.flags.get_mut(&uid)?;
    events.insert(place + 1, event(Moment::Seen(!value)));
    events.insert(place + 1, event(Moment::Call(Op::Read)));
    Some(())
}

fn unequal(history: &mut History, random: &mut Rng) -> Option<()> {
    let replica: &mut Replica = any(random, history.replicas.as_mut()?.iter_mut().collect())?;
    replica.checksum = Some("0".repeat(64));
    Some(())
}
