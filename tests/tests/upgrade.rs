//! Two builds of different feature levels side by side: stores are rolled from the one to the other
//! while letters come in, and their replicas stay equal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use postino_tests::Cluster;
use postino_tests::load::letters::Letters;
use postino_tests::replicas::{agree, verify};
use postino_tests::wait::{seconds, until};
use serde_json::Value;

/// Caps the feature level that a process supports, in builds with debug assertions.
const CAP: &str = "POSTINO_FEATURE_LEVEL";
const STORES: [&str; 3] = ["store-1", "store-2", "store-3"];

/// What a list of `cluster status --json` says at a store, once the control group is led.
async fn listed(cluster: &Cluster, at: &str, list: &str) -> Result<Vec<Value>> {
    until(&format!("{list} at {at}"), seconds(30), async || {
        let status = cluster.status_at(at).await.ok()?;
        status[list].as_array().cloned()
    })
    .await
}

/// The levels of the shards, as a store says.
async fn levels(cluster: &Cluster, at: &str) -> Result<Vec<u64>> {
    let shards = listed(cluster, at, "shards").await?;
    let levels = shards.iter().filter_map(|shard| shard["level"].as_u64());
    Ok(levels.collect())
}

/// Waits until every shard is at a level.
async fn risen(cluster: &Cluster, at: &str, level: u64) -> Result<()> {
    let what = format!("every shard is at level {level}");
    until(&what, seconds(30), async || {
        let levels = levels(cluster, at).await.ok()?;
        (levels == [level; 5]).then_some(())
    })
    .await
}

/// What every store's build supports, as a store says.
async fn supported(cluster: &Cluster, at: &str) -> Result<Vec<String>> {
    let nodes = listed(cluster, at, "nodes").await?;
    let levels = nodes.iter().filter_map(|node| node["levels"].as_str());
    Ok(levels.map(str::to_owned).collect())
}

/// Compares replicas again and again, at one store after the other, until told to stop. Those that
/// cannot be asked are no news; none may differ. Returns how often all agreed.
async fn compare(cluster: &Cluster, stop: &AtomicBool, seen: &AtomicUsize) -> Result<()> {
    for at in STORES.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Ok(comparison) = verify(cluster, at).await else {
            // The store that was asked is the one that is rolled.
            tokio::time::sleep(seconds(1)).await;
            continue;
        };
        ensure!(comparison.odd().is_empty(), "{comparison:#?}");
        if comparison.agree {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Rolls the stores one by one to a build without the cap.
async fn roll(cluster: &Cluster, letters: &Letters) -> Result<()> {
    for name in STORES {
        letters.grow(20).await?;
        let levels = levels(cluster, name).await?;
        // 0: nobody leads the shard at the moment.
        let low = levels.iter().all(|level| *level <= 1);
        ensure!(low, "raised before every store could follow: {levels:?}");
        cluster.stop(name).await?;
        letters.grow(20).await?;
        cluster.start_without(name, CAP).await?;
        agree(cluster, name).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_are_rolled_to_a_higher_level_under_load_and_replicas_stay_equal() -> Result<()> {
    let cluster = Cluster::builder()
        .set("store.shards", 4)
        .environment(CAP, "1")
        .start()
        .await?;
    let cluster = Arc::new(cluster);
    agree(&cluster, "store-1").await?;
    risen(&cluster, "store-1", 1).await?;
    assert_eq!(supported(&cluster, "store-2").await?, ["1-1"; 3]);
    let letters = Letters::start(&cluster).await?;
    let (stop, seen) = (
        Arc::new(AtomicBool::new(false)),
        Arc::<AtomicUsize>::default(),
    );
    let comparing = tokio::spawn({
        let (cluster, stop, seen) = (Arc::clone(&cluster), Arc::clone(&stop), Arc::clone(&seen));
        async move { compare(&cluster, &stop, &seen).await }
    });
    roll(&cluster, &letters).await?;
    risen(&cluster, "store-3", 3).await?;
    assert_eq!(supported(&cluster, "store-1").await?, ["1-3"; 3]);
    letters.grow(20).await?;
    let before = seen.load(Ordering::Relaxed);
    let more = async || (seen.load(Ordering::Relaxed) > before + 2).then_some(());
    until("replicas agree under load at level 3", seconds(60), more).await?;
    stop.store(true, Ordering::Relaxed);
    comparing.await??;
    letters.end(&cluster, "store-1").await?;
    agree(&cluster, "store-2").await?;

    // The old build does not come back.
    cluster.stop("store-2").await?;
    assert!(cluster.start("store-2").await.is_err());
    let log = cluster.log("store-2");
    assert!(log.contains("is at feature level 3, and this build knows levels up to 1 only"));
    cluster.start_without("store-2", CAP).await?;
    agree(&cluster, "store-2").await?;
    cluster.down().await
}
