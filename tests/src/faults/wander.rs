//! Accounts that move from shard to shard while faults happen.

use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;
use tokio::time::sleep;

use super::RECOVERY;
use super::arena::Arena;
use crate::wait::until;
use crate::{ALICE, BOB};

/// Mail shards of the cluster.
const SHARDS: u32 = 16;
/// Quiet time between two moves, milliseconds.
const PAUSE: std::ops::Range<u64> = 1_000..5_000;

impl Arena {
    /// Has accounts move all the while, as far as anybody takes the command. Returns how often
    /// somebody did.
    pub async fn wander(&self, seed: u64, stop: Instant) -> usize {
        let mut random = Rng::with_seed(seed);
        let mut moves = 0;
        while Instant::now() < stop {
            sleep(Duration::from_millis(random.u64(PAUSE))).await;
            let user = if random.bool() { ALICE } else { BOB };
            let shard = random.u32(1..=SHARDS).to_string();
            let store = format!("store-{}", random.usize(1..=self.stores));
            let command = ["account", "move", user, "--to", &shard];
            let said = self.cluster.command_at(&store, &command).await;
            // Refused while the account is still on its way, or the store is down.
            moves += usize::from(said.is_ok_and(|output| output.code == 0));
        }
        moves
    }

    /// Waits until every account is where it was to go.
    pub(super) async fn settle(&self) -> Result<()> {
        let settled = async || {
            let moves = self.cluster.command(&["account", "moves", "--json"]).await;
            (moves.ok()?.success().ok()?.trim() == "[]").then_some(())
        };
        until("no account is on its way", RECOVERY, settled).await
    }
}
