//! Somebody who uses a mailbox while something is done to the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use crate::imap::Imap;
use crate::{BOB, Cluster, PASSWORD};

/// Somebody who reads and changes flags all the while, and to whom nothing is ever refused.
pub struct Reader {
    enough: Arc<AtomicBool>,
    reading: JoinHandle<Result<usize>>,
}

impl Reader {
    /// Logs in as Bob, and begins.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let mut bob = Imap::login(cluster.imap()?, BOB, PASSWORD).await?;
        bob.ok("SELECT INBOX").await?;
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        let reading = tokio::spawn(async move {
            let mut commands = 0;
            while !stop.load(Ordering::Relaxed) {
                for command in [
                    "STORE 1 +FLAGS (\\Flagged)",
                    "FETCH 1 (FLAGS BODY.PEEK[HEADER])",
                    "STORE 1 -FLAGS (\\Flagged)",
                    "STATUS Drafts (MESSAGES UIDNEXT)",
                ] {
                    bob.ok(command).await.with_context(|| command.to_owned())?;
                    commands += 1;
                }
            }
            Ok(commands)
        });
        Ok(Self { enough, reading })
    }

    /// Ends, and fails if anything was refused.
    pub async fn end(self) -> Result<()> {
        self.enough.store(true, Ordering::Relaxed);
        let commands = self.reading.await??;
        println!("{commands} IMAP commands");
        ensure!(commands > 100, "only {commands} IMAP commands");
        Ok(())
    }
}
