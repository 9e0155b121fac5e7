//! How fast the log is on this machine, by hand:
//! `cargo test --release -p postino-store load -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;

use super::sandbox::{Node, Volume, leader, leads, three};
use crate::identity::ClusterId;
use crate::raft::{Group, Proposal};

const SHARDS: u32 = 16;
const SECONDS: u64 = 5;

/// 10 KiB that do not compress.
fn letter() -> Bytes {
    Bytes::from((0..10 << 10).map(|_| fastrand::u8(..)).collect::<Vec<_>>())
}

/// Closed loop: each connection proposes the next letter when the last is applied.
async fn drive(what: &str, node: &Node, groups: &[Group], connections: usize) {
    let before = node.raft.counters().snapshot();
    let (started, cpu) = (Instant::now(), cpu_time());
    let end = started + Duration::from_secs(SECONDS);
    let work = (0..connections).map(|connection| {
        let groups = groups.to_vec();
        tokio::spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < end {
                let group = &groups[(connection + fastrand::usize(..groups.len())) % groups.len()];
                let proposal = Proposal::new("deliver").with_body(letter());
                group.propose(proposal).await.unwrap();
                done += 1;
            }
            done
        })
    });
    let done: u64 = join_all(work).await.into_iter().map(Result::unwrap).sum();
    let (took, cpu) = (started.elapsed(), cpu_time() - cpu);
    let after = node.raft.counters().snapshot();
    let syncs = after.syncs - before.syncs;
    println!(
        "{what}, {connections} connections: {:.0}/s, {:.0} µs of CPU each, {:.2} entries and {:.3} \
         syncs each, {} µs per sync, {} MiB resident",
        done as f64 / took.as_secs_f64(),
        cpu.as_micros() as f64 / done as f64,
        (after.entries - before.entries) as f64 / done as f64,
        syncs as f64 / done as f64,
        (after.sync_micros - before.sync_micros) / syncs.max(1),
        resident() >> 20,
    );
}

fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    // utime and stime, in ticks of 10 ms.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a test"]
async fn load() {
    let volume = Volume::new(ClusterId::random().unwrap(), 1, SHARDS);
    let node = volume.start().await;
    node.raft.initialize().await.unwrap();
    for group in node.raft.groups() {
        leads(group).await;
    }
    println!("at rest: {} MiB resident", resident() >> 20);
    for connections in [1, 20, 64] {
        drive("one node", &node, &node.raft.groups()[1..], connections).await;
    }
    drive("one node, one shard", &node, &node.raft.groups()[1..2], 20).await;
    let started = Instant::now();
    for _ in 0..1000 {
        node.group().read_barrier().await.unwrap();
    }
    println!("read barrier: {} µs", started.elapsed().as_micros() / 1000);
    node.stop().await;

    let (_volumes, nodes) = three(SHARDS).await;
    let first = leader(&nodes).await;
    for connections in [1, 20, 64] {
        let leading = &nodes[first];
        drive(
            "three nodes",
            leading,
            &leading.raft.groups()[1..],
            connections,
        )
        .await;
    }
    let started = Instant::now();
    for _ in 0..1000 {
        nodes[first].group().read_barrier().await.unwrap();
    }
    println!("read barrier: {} µs", started.elapsed().as_micros() / 1000);
    for node in nodes {
        node.stop().await;
    }
}
