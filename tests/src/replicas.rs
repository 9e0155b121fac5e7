//! Whether the replicas of each shard hold the same at the same place of its log: `cluster verify`,
//! run, read and judged.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::Cluster;
use crate::wait::{seconds, until};

/// What one replica holds, as `cluster verify --json` says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The shard.
    pub shard: u32,
    /// The node; absent where the shard could not be asked.
    pub node: Option<u64>,
    /// Where in the shard's log.
    pub index: u64,
    /// The checksum of all that it holds there, if it could be had.
    pub checksum: Option<String>,
    /// What the command thinks of it.
    pub result: String,
}

/// What `cluster verify --json` says of all.
#[derive(Debug, Clone, Deserialize)]
pub struct Comparison {
    /// Whether all replicas of all shards hold the same.
    pub agree: bool,
    /// Each of them.
    pub replicas: Vec<Replica>,
}

impl Comparison {
    /// Replicas that are said to differ.
    pub fn odd(&self) -> Vec<&Replica> {
        let replicas = self.replicas.iter();
        replicas
            .filter(|replica| replica.result == "differs")
            .collect()
    }
}

/// What `cluster verify --json` says at a store. Its judgement, its exit code and ours are one.
pub async fn verify(cluster: &Cluster, at: &str) -> Result<Comparison> {
    let verify = ["cluster", "verify", "--json", "--patience", "60"];
    let output = cluster.command_at(at, &verify).await?;
    let (code, said) = (output.code, output.stderr.clone());
    let comparison: Comparison = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("cluster verify: exit {code}: {} {said}", output.text()))?;
    let agree = check(&comparison.replicas).is_ok();
    ensure!(
        agree == comparison.agree && agree == (code == 0),
        "cluster verify: exit {code}, of which we say {agree}: {comparison:?}"
    );
    Ok(comparison)
}

/// Waits until all replicas of all shards agree; none may ever differ.
pub async fn agree(cluster: &Cluster, at: &str) -> Result<()> {
    let mut last = None;
    let look = until("all replicas agree", seconds(60), async || {
        let comparison = verify(cluster, at).await.ok()?;
        let decided = comparison.agree || !comparison.odd().is_empty();
        let agree = comparison.agree;
        last = Some(comparison);
        decided.then_some(agree)
    });
    let agree = look.await.with_context(|| format!("{last:#?}"))?;
    ensure!(agree, "{last:#?}");
    Ok(())
}

/// An error unless all replicas of each shard have one checksum at one index.
pub fn check(replicas: &[Replica]) -> Result<()> {
    ensure!(!replicas.is_empty(), "nothing was compared");
    let mut shards: BTreeMap<u32, (u64, &str)> = BTreeMap::new();
    for replica in replicas {
        let (shard, node) = (replica.shard, replica.node);
        let Some(checksum) = &replica.checksum else {
            bail!(
                "shard {shard} at {node:?} has no checksum: {}",
                replica.result
            );
        };
        let here = (replica.index, checksum.as_str());
        let there = *shards.entry(shard).or_insert(here);
        ensure!(
            here == there,
            "shard {shard} at {node:?} is {here:?}, elsewhere {there:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_says_is_read_and_judged() -> Result<()> {
        let row = |node: u64, checksum: &str| {
            format!(
                r#"{{"shard": 1, "node": {node}, "endpoint": "http://h:1", "voter": true,
                     "index": 7, "checksum": {checksum}, "rows": 1, "bodies": 0, "result": "x"}}"#
            )
        };
        let read = |rows: [String; 2]| -> Result<Comparison> {
            let text = format!(r#"{{"agree": true, "replicas": [{}]}}"#, rows.join(","));
            Ok(serde_json::from_str(&text)?)
        };
        check(&read([row(1, r#""aa""#), row(2, r#""aa""#)])?.replicas)?;
        for bad in [r#""ab""#, "null"] {
            let replicas = read([row(1, r#""aa""#), row(2, bad)])?.replicas;
            let said = check(&replicas).expect_err(bad).to_string();
            assert!(said.starts_with("shard 1 at Some(2)"), "{said}");
        }
        assert!(check(&[]).is_err());
        Ok(())
    }
}
