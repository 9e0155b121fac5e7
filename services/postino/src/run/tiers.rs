//! What runs, in the order in which it stops: whoever others need stops after them.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use postino_net::Shutdown;
use tokio::task::JoinSet;

/// Tasks that stop together.
struct Tier {
    name: &'static str,
    shutdown: Shutdown,
    tasks: JoinSet<Result<()>>,
}

impl Tier {
    fn new(name: &'static str, drain: Duration) -> Self {
        Self {
            name,
            shutdown: Shutdown::new(drain),
            tasks: JoinSet::new(),
        }
    }

    async fn stop(&mut self) -> Result<()> {
        self.shutdown.begin();
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.unwrap_or_else(|panic| Err(panic.into()));
            outcome = outcome.and(ended);
        }
        tracing::debug!(tier = self.name, "stopped");
        outcome
    }
}

/// Which tier a task belongs to, in the order of stopping.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Takes in what clients send.
    Front,
    /// Works off what was taken in.
    Queue,
    /// Gives leads to other nodes, while clients can still ask where they are.
    Leads,
    /// Is needed by both: routing, gRPC, the store.
    Base,
}

/// All tasks of the process.
pub(crate) struct Tiers {
    stop: Shutdown,
    tiers: [Tier; 4],
}

impl Tiers {
    /// Nothing runs yet. `drain` is the time that each tier gets; a second signal cuts it short.
    pub(crate) fn new(drain: Duration) -> Self {
        let tiers = ["front", "queue", "leads", "base"].map(|name| Tier::new(name, drain));
        Self {
            stop: Shutdown::new(drain),
            tiers,
        }
    }

    /// The shutdown that the tasks of a tier obey.
    pub(crate) fn shutdown(&self, place: Place) -> Shutdown {
        self.tiers[place as usize].shutdown.clone()
    }

    /// Adds a task. One that ends before it is told to stops the process.
    pub(crate) fn spawn<E: Into<anyhow::Error>>(
        &mut self,
        place: Place,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let (stop, tier) = (self.stop.clone(), &mut self.tiers[place as usize]);
        let shutdown = tier.shutdown.clone();
        tier.tasks.spawn(async move {
            let outcome = task.await.map_err(|error| error.into().context(name));
            if !shutdown.is_begun() {
                tracing::error!(task = name, "ended before it was told to");
                stop.begin();
                return outcome.and_then(|()| anyhow::bail!("{name} ended"));
            }
            outcome
        });
    }

    /// Runs until a signal, or until a task ends; then stops the tiers one after the other.
    pub(crate) async fn until_stopped(mut self) -> Result<()> {
        let signals = tokio::spawn(self.stop.clone().on_signals());
        self.stop.begun().await;
        tracing::info!("stopping");
        let all: Vec<Shutdown> = self
            .tiers
            .iter()
            .map(|tier| tier.shutdown.clone())
            .collect();
        // `on_signals` ends with the second signal.
        let hurry = tokio::spawn(async move {
            let _ = signals.await;
            all.iter().for_each(Shutdown::abort);
        });
        let mut outcome = Ok(());
        for tier in &mut self.tiers {
            outcome = outcome.and(tier.stop().await);
        }
        hurry.abort();
        outcome
    }
}
