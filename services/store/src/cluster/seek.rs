//! How a node that belongs to no cluster finds its way into one without being told each time.

use std::time::Duration;

use postino_proto::cluster::v1::placement_client::PlacementClient;
use postino_proto::cluster::v1::{GetOverviewRequest, JoinRequest, NodeOverview, Overview};
use tokio::time::{Instant, sleep};
use tonic::{Request, Status};

use super::Cluster;
use super::admission::{channel, url};

/// The pause before the nodes are asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the others are asked whether they do without this node.
const CERTAINTY: Duration = Duration::from_secs(30);

/// How long an overview may take.
const LOOK: Duration = Duration::from_secs(3);

/// How long one may take to take this node in.
const ANSWER: Duration = Duration::from_secs(30);

/// The endpoints of these nodes, as far as they are not `own`.
pub(crate) fn others(nodes: &[String], own: &str) -> Vec<String> {
    let all = nodes.iter().map(|node| url(node));
    all.filter(|node| node != own).collect()
}

/// Asks other nodes to take in the one at `endpoint`, until it belongs to a cluster.
pub(crate) async fn seek(cluster: &Cluster, endpoint: &str, others: &[String]) {
    while cluster.node().is_none() && !others.is_empty() {
        // A backup is taken in: that makes a cluster of its own.
        let others = if cluster.is_restoring() { &[] } else { others };
        for other in others {
            match ask(other, endpoint).await {
                Ok(()) => return,
                Err(status) => tracing::debug!(other, %status, "not taken in"),
            }
        }
        sleep(PAUSE).await;
    }
}

/// Whether every shard of the cluster has a leader among the others, so that nothing is lost if the
/// node at `endpoint` is. Asks for a while, since an election may be under way.
pub(crate) async fn do_without(endpoint: &str, others: &[String]) -> bool {
    let deadline = Instant::now() + CERTAINTY;
    while Instant::now() < deadline && !others.is_empty() {
        for other in others {
            match overview(other).await {
                Ok(overview) if is_led_elsewhere(&overview, endpoint) => return true,
                Ok(_) => {}
                Err(status) => tracing::debug!(other, %status, "no overview"),
            }
        }
        sleep(PAUSE).await;
    }
    false
}

async fn overview(node: &str) -> Result<Overview, Status> {
    let mut client = PlacementClient::new(channel(node).await?);
    let mut request = Request::new(GetOverviewRequest {});
    request.set_timeout(LOOK);
    client
        .get_overview(request)
        .await
        .map(tonic::Response::into_inner)
}

fn is_led_elsewhere(overview: &Overview, endpoint: &str) -> bool {
    let at = |node: &NodeOverview| node.endpoint == endpoint;
    let me = overview.nodes.iter().find(|node| at(node));
    let me = me.map_or(0, |node| node.node);
    let mut shards = overview.shards.iter();
    shards.len() > 0 && shards.all(|shard| shard.leader != 0 && shard.leader != me)
}

async fn ask(node: &str, endpoint: &str) -> Result<(), Status> {
    let mut client = PlacementClient::new(channel(node).await?);
    let mut request = Request::new(JoinRequest {
        endpoint: endpoint.to_owned(),
    });
    request.set_timeout(ANSWER);
    client.join(request).await.map(drop)
}
