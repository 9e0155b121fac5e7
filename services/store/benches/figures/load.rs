//! Writers that each do the next thing when the last is done, and what that costs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;

use crate::cost::Cost;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// How many write at once.
    pub(crate) writers: usize,
    /// Bytes of each write.
    pub(crate) size: usize,
    /// How long they are measured, after a quarter of that to warm up.
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) done: f64,
    pub(crate) took: Duration,
    pub(crate) syncs: f64,
    pub(crate) cost: Cost,
}

impl Reading {
    pub(crate) fn per_second(&self) -> f64 {
        self.done / self.took.as_secs_f64()
    }
}

/// What the writers and the one who measures them share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: AtomicU64,
    syncs: AtomicU64,
    stop: AtomicBool,
}

impl Tally {
    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, writes: usize) {
        self.done.fetch_add(writes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn done(&self) -> f64 {
        self.done.load(Ordering::Relaxed) as f64
    }

    pub(crate) fn syncs(&self) -> f64 {
        self.syncs.load(Ordering::Relaxed) as f64
    }

    /// Measures writers that are at work, and ends them. `syncs` tells how many there were.
    pub(crate) fn measure(&self, load: &Load, syncs: impl Fn() -> Result<f64>) -> Result<Reading> {
        let measured = self.watch(load, syncs);
        self.stop.store(true, Ordering::Relaxed);
        measured
    }

    fn watch(&self, load: &Load, syncs: impl Fn() -> Result<f64>) -> Result<Reading> {
        std::thread::sleep(load.time / 4);
        let (cost, begin) = (Cost::now()?, Instant::now());
        let (done, synced) = (self.done(), syncs()?);
        std::thread::sleep(load.time);
        let reading = Reading {
            done: self.done() - done,
            syncs: syncs()? - synced,
            took: begin.elapsed(),
            cost: Cost::now()?.since(cost),
        };
        ensure!(reading.done > 0.0, "nothing was done in {:?}", load.time);
        Ok(reading)
    }
}

/// Bytes that do not compress: slices of one large random block, so that making them is free.
#[derive(Debug, Clone)]
pub(crate) struct Octets(Bytes);

impl Octets {
    const BLOCK: usize = 32 << 20;

    pub(crate) fn new() -> Self {
        let mut block = vec![0; Self::BLOCK];
        fastrand::fill(&mut block);
        Self(block.into())
    }

    /// Some of them; at most 16 MiB.
    pub(crate) fn take(&self, size: usize) -> Bytes {
        let size = size.min(Self::BLOCK / 2);
        let start = fastrand::usize(..Self::BLOCK - size);
        self.0.slice(start..start + size)
    }
}
