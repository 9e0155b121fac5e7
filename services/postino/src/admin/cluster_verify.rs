//! `postino cluster verify`: whether the replicas of each shard hold the same.

use std::time::Duration;

use futures::{StreamExt, stream};
use postino_proto::cluster::v1::StatusRequest;
use postino_proto::store::v1::checksums_client::ChecksumsClient;
use postino_proto::store::v1::{CompareRequest, CompareResponse, ReplicaChecksum};
use serde::Serialize;
use serde_json::json;
use tonic::Request;

use super::cluster_status::hexadecimal;
use super::target::{channel, patiently};
use super::{AdminError, output};
use crate::cli::Target;

/// Shards that are compared at once.
const AT_ONCE: usize = 4;
/// How long a shard may have no leader.
const LEADERLESS: Duration = Duration::from_secs(10);
/// What a call may take besides the computing.
const GRACE: Duration = Duration::from_secs(20);
/// Digits of a checksum that people are shown.
const SHOWN: usize = 16;

/// What one replica holds, or why that is not known.
#[derive(Serialize)]
struct ReplicaRow {
    shard: u32,
    /// Absent where the shard could not be asked.
    node: Option<u64>,
    endpoint: String,
    voter: bool,
    index: u64,
    checksum: Option<String>,
    /// Rows of the shard, and bodies of letters.
    rows: u64,
    bodies: u64,
    /// "agrees", "differs", or why there is no checksum.
    result: String,
}

/// Compares all shards, or one. An error if not all replicas agree.
pub(crate) async fn run(
    shard: Option<u32>,
    patience: Duration,
    target: &Target,
) -> Result<(), AdminError> {
    let answer = target.cluster()?.status(StatusRequest {}).await?;
    let identity = answer.into_inner().identity.ok_or_else(|| {
        AdminError::Input("this node belongs to no cluster: nothing to compare".into())
    })?;
    let shards: Vec<u32> = match shard {
        Some(shard) => vec![shard],
        None => (0..=identity.shard_count).collect(),
    };
    let endpoint = target.endpoint()?;
    let endpoint = &endpoint;
    let compared = stream::iter(shards).map(|shard| async move {
        let compared = compare(endpoint, shard, patience).await;
        (shard, compared)
    });
    let mut rows = Vec::new();
    let mut agree = true;
    let mut compared = compared.buffered(AT_ONCE);
    while let Some((shard, outcome)) = compared.next().await {
        match outcome {
            Ok(compared) => {
                agree &= compared.agree;
                let index = compared.index;
                let replicas = compared.replicas.into_iter();
                rows.extend(replicas.map(|replica| row(shard, index, replica)));
            }
            Err(error) => {
                agree = false;
                rows.push(unknown(shard, &error));
            }
        }
    }
    show(target.json, agree, rows);
    match agree {
        true => Ok(()),
        false => Err(AdminError::Shown),
    }
}

async fn compare(
    endpoint: &str,
    shard: u32,
    patience: Duration,
) -> Result<CompareResponse, AdminError> {
    let client = ChecksumsClient::new(channel(endpoint)?);
    patiently(LEADERLESS, async |_| {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let mut request = Request::new(CompareRequest { shard, patience_ms });
        request.set_timeout(patience + GRACE);
        let answer = client.clone().compare(request).await;
        answer.map(tonic::Response::into_inner)
    })
    .await
}

fn show(json: bool, agree: bool, mut rows: Vec<ReplicaRow>) {
    if json {
        let all = json!({ "agree": agree, "replicas": rows });
        return output::done(true, "", &all);
    }
    for row in &mut rows {
        if let Some(checksum) = &mut row.checksum {
            checksum.truncate(SHOWN);
        }
    }
    let columns = ["shard", "node", "index", "checksum", "result"];
    output::rows(false, &columns, &rows);
    output::line(&"");
    match agree {
        true => output::line(&"all replicas agree"),
        false => output::line(&"not all replicas are known to agree"),
    }
}

fn row(shard: u32, index: u64, replica: ReplicaChecksum) -> ReplicaRow {
    let result = match (&replica.checksum, replica.differs) {
        (None, _) => replica.problem,
        (Some(_), true) => "differs".to_owned(),
        (Some(_), false) => "agrees".to_owned(),
    };
    let checksum = replica.checksum.unwrap_or_default();
    ReplicaRow {
        shard,
        node: Some(replica.node),
        endpoint: replica.endpoint,
        voter: replica.voter,
        index,
        checksum: Some(hexadecimal(&checksum.digest)).filter(|digits| !digits.is_empty()),
        rows: checksum.row_count,
        bodies: checksum.body_count,
        result,
    }
}

fn unknown(shard: u32, error: &AdminError) -> ReplicaRow {
    ReplicaRow {
        shard,
        node: None,
        endpoint: String::new(),
        voter: false,
        index: 0,
        checksum: None,
        rows: 0,
        bodies: 0,
        result: error.to_string(),
    }
}
