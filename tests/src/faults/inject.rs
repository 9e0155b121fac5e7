//! Carrying faults out, and undoing them.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use rustix::process::Signal;
use tokio::time::sleep;

use super::arena::{Arena, RESERVE};
use super::proxy::Weather;
use super::schedule::{Fault, Left, Step, Victim, Ways};
use crate::process::is_alive;

/// How long after a disk was freed a store may end because of it.
const LATE_FAILURE: Duration = Duration::from_secs(8);

impl Arena {
    /// Carries out one fault after the other; each is undone before the next.
    pub async fn suffer(&self, seed: u64, steps: &[Step]) -> Result<()> {
        let mut random = Rng::with_seed(seed);
        let start = Instant::now();
        for step in steps {
            sleep(step.after).await;
            let at = start.elapsed().as_secs_f32();
            println!("{at:6.1} s: {:?} for {:.1?}", step.fault, step.lasting);
            let about = || format!("{:?} {at:.1} s after the start", step.fault);
            self.begin(step.fault).with_context(about)?;
            match step.fault {
                Fault::Reset(ways) => self.reset(&mut random, ways, step.lasting).await,
                _ => sleep(step.lasting).await,
            }
            let ended = self.end(step.fault).await;
            ended.with_context(|| format!("the end of {}", about()))?;
            self.all_run().with_context(about)?;
        }
        Ok(())
    }

    fn begin(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(victim) => self.signal(victim, Signal::KILL),
            Fault::Terminate(victim) => self.signal(victim, Signal::TERM),
            Fault::Stop(victim) => self.signal(victim, Signal::STOP),
            Fault::Deaf(store) => self.network.deafen(store, true),
            Fault::Mute(store) => self.network.mute(store, true),
            Fault::Slow(ways, delay) => {
                self.proxy.set(ways, Weather::Slow(delay));
                Ok(())
            }
            Fault::Stall(ways) => {
                self.proxy.set(ways, Weather::Still);
                Ok(())
            }
            Fault::Cut(ways) => {
                self.proxy.set(ways, Weather::Lost);
                Ok(())
            }
            Fault::Reset(_) => Ok(()),
            Fault::Clock(victim, seconds) => self.set_clocks(victim, seconds),
            Fault::Full(left) => self.disk.fill(match left {
                Left::Half => RESERVE / 2,
                Left::Eighth => RESERVE / 8,
                Left::Nothing => 0,
            }),
        }
    }

    async fn end(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(victim) | Fault::Terminate(victim) => {
                // Each is ready only once a majority is there.
                let names = self.names(victim);
                let starts = names.iter().map(|name| self.cluster.start_ended(name));
                let started = futures::future::join_all(starts).await;
                started.into_iter().collect()
            }
            Fault::Stop(victim) => self.signal(victim, Signal::CONT),
            Fault::Deaf(store) => self.network.deafen(store, false),
            Fault::Mute(store) => self.network.mute(store, false),
            Fault::Slow(ways, _) | Fault::Stall(ways) | Fault::Cut(ways) => {
                self.proxy.set(ways, Weather::Fine);
                Ok(())
            }
            Fault::Reset(_) => Ok(()),
            Fault::Clock(victim, _) => self.set_clocks(victim, 0),
            Fault::Full(_) => {
                self.disk.empty()?;
                self.start_if_it_ended().await
            }
        }
    }

    /// A store that could not write must end rather than lose anything, and a write that fails after
    /// the disk was freed counts, too: RocksDB looks for room when it likes. It may want more of it
    /// than is left in every case, to merge files.
    async fn start_if_it_ended(&self) -> Result<()> {
        let small = self.small();
        let pid = self.cluster.node(&small)?.pid;
        let freed = Instant::now();
        while is_alive(pid) {
            if freed.elapsed() > LATE_FAILURE {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.without_room.fetch_add(1, Ordering::Relaxed);
        self.cluster.start(&small).await
    }

    /// Resets connections at moments that are drawn.
    async fn reset(&self, random: &mut Rng, ways: Ways, lasting: Duration) {
        let end = Instant::now() + lasting;
        while Instant::now() < end {
            self.proxy.reset(ways);
            let pause = Duration::from_millis(random.u64(20..800));
            sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        }
    }

    fn names(&self, victim: Victim) -> Vec<String> {
        match victim {
            Victim::Store(number) => vec![format!("store-{number}")],
            Victim::Process(name) => vec![name.to_owned()],
            Victim::Stores => (1..=self.stores).map(|n| format!("store-{n}")).collect(),
        }
    }

    /// All at once: none sees another one fall.
    fn signal(&self, victim: Victim, signal: Signal) -> Result<()> {
        let names = self.names(victim);
        let mut names = names.iter();
        names.try_for_each(|name| self.cluster.signal(name, signal))
    }

    fn set_clocks(&self, victim: Victim, seconds: i64) -> Result<()> {
        let names = self.names(victim);
        let mut names = names.iter();
        names.try_for_each(|name| self.clocks.set(name, seconds))
    }

    /// An error if a process has ended that nobody ended.
    pub(super) fn all_run(&self) -> Result<()> {
        for node in self.cluster.nodes()? {
            ensure!(is_alive(node.pid), "{} has ended by itself", node.name);
        }
        Ok(())
    }
}
