//! Working one shard under its lease: what is due is started, what ends is planned again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use postino_proto::store::v1::{DueLetter, FollowRequest, ListDueRequest};
use postino_types::QueueId;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::agenda::Agenda;
use crate::asked::Asked;
use crate::lease::Lease;
use crate::ports::{CallError, Store};
use crate::schedule::millis;
use crate::settle::{SettleSettings, Settler};
use crate::work::{Desk, Next, now_ms};

/// How long nothing may come from a stream that gives a sign of life every 2 s.
const SILENCE: Duration = Duration::from_secs(5);

/// Settings of a shard's work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardSettings {
    /// How far ahead letters are kept in memory.
    pub(crate) horizon: Duration,
    /// Letters read at once.
    pub(crate) page: u32,
    /// Waiting letters in memory.
    pub(crate) waiting: usize,
    /// Time for what is under way when the shard is given back.
    pub(crate) handover: Duration,
    /// Wait after a call that failed.
    pub(crate) retry: Duration,
    /// Recording outcomes.
    pub(crate) settle: SettleSettings,
}

/// Works a shard until its lease is lost, or `leave` is cancelled and what was begun has ended.
pub(crate) async fn work_shard(
    desk: Arc<Desk>,
    active: Arc<Semaphore>,
    settings: ShardSettings,
    lease: Lease,
    leave: CancellationToken,
) {
    let (settler, settling) = Settler::new(
        Arc::clone(&desk.store),
        lease.clone(),
        settings.settle,
        desk.metrics.clone(),
    );
    // Aborted with this task: everything under a lease ends with it.
    let mut side_tasks = JoinSet::new();
    side_tasks.spawn(postino_telemetry::in_current_role(settling));
    let (news, events) = mpsc::channel(64);
    let reader = Reader {
        store: Arc::clone(&desk.store),
        lease: lease.clone(),
        settings,
    };
    let reader = Arc::new(reader);
    let following = Arc::clone(&reader).follow(news);
    let following = side_tasks.spawn(postino_telemetry::in_current_role(following));
    let mut shard = Shard {
        desk,
        active,
        settings,
        lease,
        settler,
        reader,
        agenda: Agenda::new(settings.waiting),
        letters: JoinSet::new(),
        tasks: HashMap::new(),
        counted: (0, 0),
    };
    shard.run(events, &leave).await;
    following.abort();
    shard.finish().await;
    drop(shard);
    while side_tasks.join_next().await.is_some() {}
}

/// What the store says of a shard.
enum News {
    /// Letters came, or their plan changed.
    Letters(Vec<DueLetter>),
    /// Events may have been lost: the index has to be read again.
    Gap,
}

struct Shard {
    desk: Arc<Desk>,
    active: Arc<Semaphore>,
    settings: ShardSettings,
    lease: Lease,
    settler: Settler,
    reader: Arc<Reader>,
    agenda: Agenda,
    letters: JoinSet<Next>,
    /// Which letter each task of `letters` works on: one that panics cannot say it itself.
    tasks: HashMap<task::Id, QueueId>,
    /// What the gauges were told: waiting and working letters.
    counted: (i64, i64),
}

impl Shard {
    async fn run(&mut self, mut events: mpsc::Receiver<News>, leave: &CancellationToken) {
        let mut listing: Option<task::JoinHandle<Option<Listed>>> = None;
        let mut list_again = Instant::now();
        // After a failure, not at once.
        let mut list_not_before = list_again;
        let lost = self.lease.tenure.lost().clone();
        loop {
            let room = self.start_due();
            self.count();
            let may_list = listing.is_none() && Instant::now() >= list_not_before;
            if may_list && self.wants_listing(list_again) {
                listing = Some(self.list());
                list_again = Instant::now() + self.settings.horizon / 2;
            }
            let due = self.agenda.next_due_ms().filter(|_| room == Room::Free);
            tokio::select! {
                () = leave.cancelled() => break,
                () = lost.cancelled() => break,
                () = until_ms(due) => {}
                () = sleep_until(list_again) => {}
                // Room for another letter may be made by another shard.
                () = sleep(Duration::from_millis(50)), if room == Room::Full => {}
                Some(ended) = self.letters.join_next_with_id() => self.ended(ended),
                Some(news) = events.recv() => match news {
                    News::Letters(letters) => {
                        let now = now_ms();
                        parsed(&letters).for_each(|(id, due_ms)| self.agenda.told(id, due_ms, now));
                    }
                    News::Gap => list_again = Instant::now(),
                },
                listed = finished(&mut listing) => {
                    listing = None;
                    if !self.listed(listed) {
                        list_not_before = Instant::now() + self.settings.retry;
                        list_again = list_not_before;
                    }
                }
            }
        }
        if let Some(listing) = listing {
            listing.abort();
        }
    }

    /// Starts the letters that are due, as far as there is room.
    fn start_due(&mut self) -> Room {
        while self
            .agenda
            .next_due_ms()
            .is_some_and(|due_ms| due_ms <= now_ms())
        {
            if !self.lease.tenure.holds(Instant::now()) {
                return Room::Full;
            }
            let Ok(permit) = Arc::clone(&self.active).try_acquire_owned() else {
                return Room::Full;
            };
            let Some(id) = self.agenda.take_due(now_ms()) else {
                break;
            };
            let asked = self.agenda.take_asked(id).map(Asked::at);
            let (desk, lease) = (Arc::clone(&self.desk), self.lease.clone());
            let settler = self.settler.clone();
            let work = postino_telemetry::in_current_role(async move {
                let next = desk.work(id, asked, &lease, &settler).await;
                drop(permit);
                next
            });
            let task = self.letters.spawn(work).id();
            self.tasks.insert(task, id);
        }
        Room::Free
    }

    fn ended(&mut self, ended: Result<(task::Id, Next), JoinError>) {
        let (task, next) = match ended {
            Ok((task, next)) => (task, Ok(next)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(id) = self.tasks.remove(&task) else {
            return;
        };
        self.agenda.done(id);
        match next {
            Ok(Next::Done) => {}
            Ok(Next::Scheduled(at_ms)) => self.agenda.note(id, at_ms),
            Ok(Next::Postponed(at_ms)) => self.agenda.postpone(id, at_ms),
            // What had no outcome recorded is due in the store as before, and is tried again.
            Err(error) => {
                tracing::error!(queue_id = %id, %error, "the work on a letter broke off");
                let wait = millis(self.desk.schedule.min_backoff);
                self.agenda.postpone(id, now_ms().saturating_add(wait));
            }
        }
    }

    fn wants_listing(&self, list_again: Instant) -> bool {
        let half_empty = self.agenda.waiting() < self.settings.waiting / 2;
        let half = millis(self.settings.horizon / 2);
        let near = self.agenda.horizon_ms() < now_ms().saturating_add(half);
        Instant::now() >= list_again || (half_empty && near)
    }

    fn list(&mut self) -> task::JoinHandle<Option<Listed>> {
        let until_ms = now_ms().saturating_add(millis(self.settings.horizon));
        let from_ms = self.agenda.horizon_ms();
        // Events that come while the index is read must not be taken for distant ones.
        self.agenda.extend(until_ms);
        // Letters that are worked on stand in the index, too.
        let most = self.settings.waiting + self.agenda.working();
        let reader = Arc::clone(&self.reader);
        let listing = async move { reader.list(from_ms, until_ms, most).await };
        tokio::spawn(postino_telemetry::in_current_role(listing))
    }

    /// Takes in what was read; false if it has to be read again.
    fn listed(&mut self, listed: Option<Listed>) -> bool {
        let Some(listed) = listed else {
            self.agenda.retract(0);
            return false;
        };
        self.agenda.retract(listed.complete_until_ms);
        parsed(&listed.letters).for_each(|(id, due_ms)| self.agenda.note_listed(id, due_ms));
        listed.failed.is_none()
    }

    /// Waits for what is under way.
    async fn finish(&mut self) {
        let lost = self.lease.tenure.lost().clone();
        let rest = async { while self.letters.join_next().await.is_some() {} };
        tokio::select! {
            ended = timeout(self.settings.handover, rest) => {
                if ended.is_err() {
                    tracing::warn!("attempts that did not end in time are broken off");
                }
            }
            () = lost.cancelled() => {}
        }
        self.letters.abort_all();
        while self.letters.join_next().await.is_some() {}
    }

    fn count(&mut self) {
        let now = (
            as_gauge(self.agenda.waiting()),
            as_gauge(self.agenda.working()),
        );
        self.desk.metrics.waiting.inc_by(now.0 - self.counted.0);
        self.desk.metrics.active.inc_by(now.1 - self.counted.1);
        self.counted = now;
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.desk.metrics.waiting.inc_by(-self.counted.0);
        self.desk.metrics.active.inc_by(-self.counted.1);
    }
}

/// Whether another letter may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Free,
    Full,
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn until_ms(due_ms: Option<u64>) {
    match due_ms {
        Some(due_ms) => sleep(Duration::from_millis(due_ms.saturating_sub(now_ms()))).await,
        None => std::future::pending().await,
    }
}

async fn finished(listing: &mut Option<task::JoinHandle<Option<Listed>>>) -> Option<Listed> {
    match listing {
        Some(listing) => listing.await.ok().flatten(),
        None => std::future::pending().await,
    }
}

fn parsed(letters: &[DueLetter]) -> impl Iterator<Item = (QueueId, u64)> {
    letters
        .iter()
        .filter_map(|letter| match letter.queue_id.parse() {
            Ok(id) => Some((id, letter.due_ms)),
            Err(error) => {
                tracing::error!(queue_id = letter.queue_id, %error, "the store names a broken id");
                None
            }
        })
}

/// What was read of the due-time index.
struct Listed {
    letters: Vec<DueLetter>,
    /// All letters due before this time are among them.
    complete_until_ms: u64,
    failed: Option<CallError>,
}

/// Reads a shard's index and events.
struct Reader {
    store: Arc<dyn Store>,
    lease: Lease,
    settings: ShardSettings,
}

impl Reader {
    /// Reads the letters due until a time, page by page, up to `most` of them. `None` if nothing
    /// could be read.
    async fn list(&self, from_ms: u64, until_ms: u64, most: usize) -> Option<Listed> {
        let mut listed = Listed {
            letters: Vec::new(),
            complete_until_ms: until_ms,
            failed: None,
        };
        let mut request = ListDueRequest {
            shard: self.lease.shard.get(),
            lease_epoch: self.lease.epoch.get(),
            until_ms,
            cursor: Default::default(),
            limit: self.settings.page,
        };
        loop {
            match self.store.list_due(request.clone()).await {
                Ok(page) => {
                    listed.letters.extend(page.letters);
                    if page.next_cursor.is_empty() {
                        return Some(listed);
                    }
                    request.cursor = page.next_cursor;
                }
                Err(error) => {
                    if error == CallError::LeaseLost {
                        self.lease.tenure.lose();
                    }
                    tracing::debug!(%error, from_ms, "the due-time index cannot be read yet");
                    listed.failed = Some(error);
                }
            }
            if listed.failed.is_some() || listed.letters.len() >= most {
                let last = listed.letters.last()?;
                listed.complete_until_ms = last.due_ms;
                return Some(listed);
            }
        }
    }

    /// Passes the shard's events on; after each interruption the index is to be read again.
    async fn follow(self: Arc<Self>, news: mpsc::Sender<News>) {
        let request = FollowRequest {
            shard: self.lease.shard.get(),
            lease_epoch: self.lease.epoch.get(),
        };
        loop {
            match self.store.follow(request).await {
                Ok(mut events) => {
                    if news.send(News::Gap).await.is_err() {
                        return;
                    }
                    while let Ok(Some(Ok(event))) = timeout(SILENCE, events.next()).await {
                        if event.letters.is_empty() {
                            continue;
                        }
                        if news.send(News::Letters(event.letters)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(CallError::LeaseLost) => return self.lease.tenure.lose(),
                Err(error) => tracing::debug!(%error, "a shard cannot be followed yet"),
            }
            sleep(self.settings.retry).await;
        }
    }
}
