//! The sites this process works: who may connect now, who waits, and connections to use again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postino_types::{EnhancedStatus, Reply};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::asked::Asked;
use crate::feedback::{Concurrency, Limits, Signal};
use crate::work::now_ms;

/// A site without work is forgotten after this time, and with it what was learnt.
const FORGET: Duration = Duration::from_secs(600);

/// How long a letter stays away from a site with a full waiting room.
const FULL: Duration = Duration::from_secs(5);

/// No attempt is made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Postponed {
    /// There may be one after this time.
    pub(crate) wait: Duration,
    /// What is said of a letter that waits longer than a moment: what the site last failed with.
    pub(crate) reason: Option<Reply>,
}

impl Postponed {
    /// Only for a moment, for a reason that is not the site's: something inside the cluster, or too
    /// many letters that wait.
    pub(crate) fn briefly(wait: Duration) -> Self {
        Self { wait, reason: None }
    }

    /// Because the site is dead for now.
    fn paused(wait: Duration, last: &str) -> Self {
        let text = format!("the site is left alone for a while, after: {last}");
        let reason = Some(Reply::new(451, EnhancedStatus::temporary(4, 1), text));
        Self { wait, reason }
    }

    /// By the process that works the site, which does not say why.
    pub(crate) fn elsewhere(wait: Duration) -> Self {
        match wait > FULL {
            true => Self::paused(wait, "failures that another process saw"),
            false => Self::briefly(wait),
        }
    }
}

/// Settings of [`Sites`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct SiteSettings {
    /// Concurrency of one site.
    pub(crate) limits: Limits,
    /// Deliveries to all sites at once.
    pub(crate) connections: usize,
    /// Letters that wait for one site.
    pub(crate) waiting: usize,
    /// How long an unused connection is kept.
    pub(crate) idle: Duration,
}

/// All sites; `C` is an open connection.
pub(crate) struct Sites<C> {
    sites: Mutex<HashMap<String, Arc<Site<C>>>>,
    all: Arc<Semaphore>,
    settings: SiteSettings,
}

struct Site<C> {
    state: Mutex<State<C>>,
}

struct State<C> {
    concurrency: Concurrency,
    running: u32,
    waiting: VecDeque<oneshot::Sender<Result<Turn<C>, Postponed>>>,
    idle: Vec<(Instant, C)>,
    used: Instant,
    /// Why the last host of the site took no part.
    last_failure: String,
}

/// A delivery's place among those that run at a site; dropping it lets the next one in.
pub(crate) struct Slot<C> {
    turn: Turn<C>,
    /// Of the connections to all sites.
    _connection: OwnedSemaphorePermit,
}

struct Turn<C> {
    site: Arc<Site<C>>,
}

impl<C> Sites<C> {
    /// No sites yet.
    pub(crate) fn new(settings: SiteSettings) -> Self {
        let all = Arc::new(Semaphore::new(settings.connections));
        Self {
            sites: Mutex::default(),
            all,
            settings,
        }
    }

    /// Waits for a place at a site, in order of arrival. A letter that an operator asked for ends
    /// the site's pause.
    pub(crate) async fn enter(
        &self,
        name: &str,
        asked: Option<Asked>,
    ) -> Result<Slot<C>, Postponed> {
        let site = self.site(name);
        let waiting = site.ask(self.settings.waiting, asked);
        let turn = match waiting {
            Ask::Now => Turn { site },
            Ask::Postponed(postponed) => return Err(postponed),
            // The sender is only dropped with the site, which we hold.
            Ask::Wait(turn) => turn
                .await
                .unwrap_or_else(|_| Err(Postponed::briefly(FULL)))?,
        };
        let connection = Arc::clone(&self.all).acquire_owned().await;
        let connection = connection.map_err(|_| Postponed::briefly(FULL))?;
        Ok(Slot {
            turn,
            _connection: connection,
        })
    }

    /// Connections that have been unused for too long, for the caller to close. Also forgets the
    /// sites that have not been used for long.
    pub(crate) fn expire(&self, now: Instant) -> Vec<C> {
        let mut expired = Vec::new();
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites.retain(|_, site| {
            let mut state = site.lock();
            let (old, young) = std::mem::take(&mut state.idle)
                .into_iter()
                .partition(|(since, _)| now.duration_since(*since) >= self.settings.idle);
            state.idle = young;
            let old: Vec<(Instant, C)> = old;
            expired.extend(old.into_iter().map(|(_, connection)| connection));
            let busy = state.running > 0 || !state.waiting.is_empty() || !state.idle.is_empty();
            busy || now.duration_since(state.used) < FORGET
        });
        expired
    }

    /// All unused connections, for the caller to close.
    pub(crate) fn drain(&self) -> Vec<C> {
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |site: &Arc<Site<C>>| std::mem::take(&mut site.lock().idle);
        sites
            .values()
            .flat_map(idle)
            .map(|(_, connection)| connection)
            .collect()
    }

    fn site(&self, name: &str) -> Arc<Site<C>> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = sites.get(name) {
            return Arc::clone(site);
        }
        let site = Arc::new(Site {
            state: Mutex::new(State::new(self.settings.limits)),
        });
        sites.insert(name.to_owned(), Arc::clone(&site));
        site
    }
}

enum Ask<C> {
    Now,
    Wait(oneshot::Receiver<Result<Turn<C>, Postponed>>),
    Postponed(Postponed),
}

impl<C> State<C> {
    fn new(limits: Limits) -> Self {
        Self {
            concurrency: Concurrency::new(limits),
            running: 0,
            waiting: VecDeque::new(),
            idle: Vec::new(),
            used: Instant::now(),
            last_failure: String::new(),
        }
    }
}

impl<C> State<C> {
    /// Whether and why nobody is let in.
    fn postponed(&self, now: Instant) -> Option<Postponed> {
        let pause = self.concurrency.pause(now)?;
        Some(Postponed::paused(pause, &self.last_failure))
    }
}

impl<C> Site<C> {
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, room: usize, asked: Option<Asked>) -> Ask<C> {
        let now = Instant::now();
        let mut state = self.lock();
        state.used = now;
        if let Some(asked) = asked {
            let asked = asked.instant(now_ms(), now);
            state.concurrency.ask(asked, now);
        }
        if let Some(postponed) = state.postponed(now) {
            return Ask::Postponed(postponed);
        }
        if state.waiting.is_empty() && state.running < state.concurrency.window(now) {
            state.running += 1;
            return Ask::Now;
        }
        if state.waiting.len() >= room {
            return Ask::Postponed(Postponed::briefly(FULL));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Ask::Wait(receiver)
    }

    /// Lets waiting deliveries in, or sends them away if the site is dead.
    fn wake(self: &Arc<Self>) {
        loop {
            let now = Instant::now();
            let mut state = self.lock();
            let postponed = state.postponed(now);
            if postponed.is_none() && state.running >= state.concurrency.window(now) {
                return;
            }
            let Some(next) = state.waiting.pop_front() else {
                return;
            };
            let message = match postponed {
                Some(postponed) => Err(postponed),
                None => {
                    state.running += 1;
                    Ok(Turn {
                        site: Arc::clone(self),
                    })
                }
            };
            drop(state);
            // One who gave up waiting gives the turn back by dropping it, here and now.
            let _ = next.send(message);
        }
    }
}

impl<C> Slot<C> {
    /// Tells the site how the delivery went.
    pub(crate) fn learn(&self, signal: Signal) {
        let mut state = self.turn.site.lock();
        let running = state.running;
        state.concurrency.learn(signal, running, Instant::now());
    }

    /// Tells the site that no host of it took part, and why.
    pub(crate) fn failed(&self, reply: &Reply) {
        self.turn.site.lock().last_failure = reply.to_string();
        self.learn(Signal::Failed);
    }

    /// An unused connection that fits, the one used last first.
    pub(crate) fn take_idle(&self, fits: impl Fn(&C) -> bool) -> Option<C> {
        let mut state = self.turn.site.lock();
        let place = state
            .idle
            .iter()
            .rposition(|(_, connection)| fits(connection))?;
        Some(state.idle.remove(place).1)
    }

    /// Keeps a connection for the next letter.
    pub(crate) fn keep(&self, connection: C) {
        self.turn
            .site
            .lock()
            .idle
            .push((Instant::now(), connection));
    }
}

impl<C> Drop for Turn<C> {
    fn drop(&mut self) {
        {
            let mut state = self.site.lock();
            state.running = state.running.saturating_sub(1);
            state.used = Instant::now();
        }
        self.site.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn sites(most: u32, waiting: usize) -> Sites<u32> {
        Sites::new(SiteSettings {
            limits: Limits {
                initial: most,
                most,
                failed_cohorts: 1,
                min_pause: Duration::from_secs(60),
                max_pause: Duration::from_secs(60),
            },
            connections: 100,
            waiting,
            idle: Duration::from_secs(5),
        })
    }

    fn slot(entered: Option<Result<Slot<u32>, Postponed>>) -> Slot<u32> {
        entered
            .expect("entered at once")
            .unwrap_or_else(|_| panic!("postponed"))
    }

    #[tokio::test]
    async fn a_site_lets_in_as_many_as_it_takes_and_then_in_order() {
        let sites = sites(2, 10);
        let first = slot(sites.enter("a", None).now_or_never());
        let _second = slot(sites.enter("a", None).now_or_never());
        let mut third = Box::pin(sites.enter("a", None));
        let mut fourth = Box::pin(sites.enter("a", None));
        assert!((&mut third).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none());
        slot(sites.enter("b", None).now_or_never());
        drop(first);
        assert!((&mut fourth).now_or_never().is_none(), "third comes first");
        drop(slot(third.now_or_never()));
        slot(fourth.now_or_never());
    }

    #[tokio::test]
    async fn one_who_gives_up_waiting_does_not_take_the_place_along() {
        let sites = sites(1, 10);
        let first = slot(sites.enter("a", None).now_or_never());
        let mut gone = Box::pin(sites.enter("a", None));
        assert!((&mut gone).now_or_never().is_none());
        let mut stays = Box::pin(sites.enter("a", None));
        assert!((&mut stays).now_or_never().is_none());
        drop(gone);
        drop(first);
        // Granted, and dropped before it is looked at.
        drop(stays);
        slot(sites.enter("a", None).now_or_never());
    }

    #[tokio::test]
    async fn a_dead_site_sends_everybody_away() {
        let sites = sites(1, 10);
        let first = slot(sites.enter("a", None).now_or_never());
        let mut second = Box::pin(sites.enter("a", None));
        assert!((&mut second).now_or_never().is_none());
        first.failed(&Reply::plain(421, "not today"));
        drop(first);
        let why = "451 4.4.1 the site is left alone for a while, after: 421 not today";
        for entered in [second.now_or_never(), sites.enter("a", None).now_or_never()] {
            let Some(Err(postponed)) = entered else {
                panic!("let in");
            };
            let reason = postponed.reason.map(|reply| reply.to_string());
            assert_eq!(reason.as_deref(), Some(why));
        }
    }

    #[tokio::test]
    async fn an_operator_ends_the_pause() {
        let sites = sites(5, 10);
        let asked_before = Some(Asked::at(now_ms() - 10_000));
        for _ in 0..5 {
            slot(sites.enter("a", None).now_or_never()).failed(&Reply::plain(421, "x"));
        }
        let refused = sites.enter("a", asked_before).now_or_never();
        assert!(matches!(refused, Some(Err(_))), "the pause began later");
        let asked_later = Some(Asked::at(now_ms() + 10_000));
        let probe = slot(sites.enter("a", asked_later).now_or_never());
        let mut second = Box::pin(sites.enter("a", None));
        assert!((&mut second).now_or_never().is_none(), "one finds out");
        probe.learn(Signal::Answered);
        drop(probe);
        slot(second.now_or_never());
    }

    #[test]
    fn a_peer_gives_no_reason_but_a_long_wait_has_one() {
        assert_eq!(Postponed::elsewhere(FULL), Postponed::briefly(FULL));
        let paused = Postponed::elsewhere(FULL * 2);
        assert_eq!(paused.wait, FULL * 2);
        assert!(paused.reason.is_some());
    }

    #[tokio::test]
    async fn a_full_waiting_room_postpones() {
        let sites = sites(1, 1);
        let _first = slot(sites.enter("a", None).now_or_never());
        let mut second = Box::pin(sites.enter("a", None));
        assert!((&mut second).now_or_never().is_none());
        let third = sites.enter("a", None).now_or_never();
        let postponed = third.and_then(Result::err);
        assert_eq!(postponed, Some(Postponed::briefly(FULL)));
    }

    #[tokio::test]
    async fn connections_are_used_again_while_they_are_young() {
        let sites = sites(2, 1);
        let first = slot(sites.enter("a", None).now_or_never());
        first.keep(7);
        first.keep(8);
        assert_eq!(first.take_idle(|&connection| connection != 8), Some(7));
        assert!(sites.expire(Instant::now()).is_empty());
        assert_eq!(sites.expire(Instant::now() + Duration::from_secs(6)), [8]);
        first.keep(9);
        assert_eq!(sites.drain(), [9]);
        drop(first);
        sites.expire(Instant::now() + FORGET * 2);
        assert!(sites.sites.lock().expect("lock").is_empty());
    }
}
