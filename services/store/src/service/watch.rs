//! Streams that follow an account or a shard, and the locks that last as long as a stream.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postino_proto::mail::v1::TraceContext;
use postino_proto::store::v1::{DueLetter, FollowEvent, HoldMaildropEvent, WatchEvent};
use postino_proto::{Fault, FaultKind};
use postino_types::ShardId;
use prost::Message;
use tokio::sync::watch::Receiver;
use tokio::time::MissedTickBehavior;
use tonic::Status;

use super::Context;
use super::mailstore::standing;
use super::pages::{self, End, Pages};
use super::spool::check_epoch;
use crate::model::mailbox;
use crate::raft::{Group, Leadership};
use crate::shards::{broken, elsewhere};

/// A sign of life comes this often, if nothing else does.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(SIGN_OF_LIFE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Returns when the node no longer leads the shard in this term.
async fn led_until(mut leadership: Receiver<Leadership>, term: u64) {
    let over = |now: &Leadership| !now.is_leader || now.term != term;
    // An error means that the group has stopped.
    let _ = leadership.wait_for(over).await;
}

/// What has happened to an account's mailboxes, from a mod-sequence on if one is given.
pub(super) fn watch(
    context: &Context,
    group: Group,
    account: u64,
    since: Option<u64>,
) -> Pages<WatchEvent> {
    let context = context.clone();
    let follower = context.notifier.follow_account(group.shard(), account);
    let term = group.leadership().borrow().term;
    pages::stream(move |pages| async move {
        let over = led_until(group.leadership(), term);
        tokio::pin!(over);
        let mut ticks = ticks();
        let mut mod_seq = None;
        // Read after the follower is there, so that nothing falls between the two.
        let mut missed = match since {
            Some(since) => changed_since(&context, &group, account, since).await?,
            None => Vec::new(),
        };
        loop {
            let changed = tokio::select! {
                () = follower.arrived() => true,
                _ = ticks.tick() => false,
                () = &mut over => return Err(elsewhere(&group).into()),
                () = pages.closed() => return Ok::<(), End>(()),
            };
            let mut waiting = follower.take();
            waiting.mailboxes.extend(missed.drain(..));
            let known = match mod_seq {
                // Something may have arrived just after the tick.
                Some(known) if !changed && waiting.mailboxes.is_empty() => known,
                _ => highest_mod_seq(&context, &group, account).await?,
            };
            mod_seq = Some(known);
            let filed = waiting.filed.into_iter();
            let event = WatchEvent {
                term,
                mod_seq: known,
                mailboxes: waiting.mailboxes.into_iter().collect(),
                // Another version's trace is no reason to break the stream.
                filed: filed.flat_map(TraceContext::decode).collect(),
            };
            pages.send(event).await?;
        }
    })
}

/// The mailboxes of an account that have changed after a mod-sequence.
async fn changed_since(
    context: &Context,
    group: &Group,
    id: u64,
    since: u64,
) -> Result<Vec<u64>, Status> {
    let read = context.read_account(group, id, move |snapshot, space| {
        let all = mailbox::all(snapshot, space, id)
            .map_err(broken)?
            .into_iter();
        let changed = all.filter(|(_, row)| row.highest_mod_seq > since);
        Ok(changed.map(|(mailbox, _)| mailbox).collect())
    });
    read.await
}

async fn highest_mod_seq(context: &Context, group: &Group, id: u64) -> Result<u64, Status> {
    let look = context.shards.look(group.shard(), move |snapshot, space| {
        standing(snapshot, space, id).map(|row| row.highest_mod_seq)
    });
    look.await
}

/// What has come into a shard's spool, for the holder of its lease.
pub(super) fn follow(context: &Context, group: Group, epoch: u64) -> Pages<FollowEvent> {
    let context = context.clone();
    let follower = context.notifier.follow_spool(group.shard());
    let term = group.leadership().borrow().term;
    pages::stream(move |pages| async move {
        let over = led_until(group.leadership(), term);
        tokio::pin!(over);
        let mut ticks = ticks();
        loop {
            tokio::select! {
                () = follower.arrived() => {}
                _ = ticks.tick() => {
                    let check = move |snapshot: &crate::db::Snapshot<'_>, space| {
                        check_epoch(snapshot, space, epoch)
                    };
                    context.shards.look(group.shard(), check).await?;
                }
                () = &mut over => return Err(elsewhere(&group).into()),
                () = pages.closed() => return Ok::<(), End>(()),
            }
            let due = follower.take().due.into_iter();
            let letters = due.map(|(queue_id, due_ms)| DueLetter { queue_id, due_ms });
            pages
                .send(FollowEvent {
                    letters: letters.collect(),
                })
                .await?;
        }
    })
}

/// The maildrops that POP3 sessions hold, on the leaders of their shards.
#[derive(Debug, Default)]
pub(super) struct Maildrops {
    held: Mutex<HashSet<(ShardId, u64)>>,
}

/// One maildrop, free again when this is dropped.
struct HeldMaildrop {
    maildrops: Arc<Maildrops>,
    key: (ShardId, u64),
}

impl Maildrops {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<(ShardId, u64)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(self: &Arc<Self>, shard: ShardId, account: u64) -> Result<HeldMaildrop, Status> {
        let key = (shard, account);
        match self.lock().insert(key) {
            true => Ok(HeldMaildrop {
                maildrops: Arc::clone(self),
                key,
            }),
            false => Err(Fault::new(FaultKind::InUse, "another session has the maildrop").into()),
        }
    }
}

impl Drop for HeldMaildrop {
    fn drop(&mut self) {
        self.maildrops.lock().remove(&self.key);
    }
}

/// Holds a maildrop while the stream is open and this node leads.
pub(super) fn hold_maildrop(
    context: &Context,
    group: Group,
    account: u64,
) -> Result<Pages<HoldMaildropEvent>, Status> {
    let held = context.maildrops.hold(group.shard(), account)?;
    let context = context.clone();
    let term = group.leadership().borrow().term;
    Ok(pages::stream(move |pages| async move {
        let over = led_until(group.leadership(), term);
        tokio::pin!(over);
        let mut ticks = ticks();
        let ended = loop {
            tokio::select! {
                _ = ticks.tick() => {
                    // An account that has moved is held where it is now.
                    if let Err(status) = highest_mod_seq(&context, &group, account).await {
                        break Err(End::Failed(status));
                    }
                    pages.send(HoldMaildropEvent {}).await?;
                }
                () = &mut over => break Err(End::Failed(elsewhere(&group))),
                () = pages.closed() => break Ok(()),
            }
        };
        drop(held);
        ended
    }))
}
