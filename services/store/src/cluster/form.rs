use std::time::Duration;

use postino_proto::cluster::v1 as proto;
use postino_proto::cluster::v1::placement_client::PlacementClient;
use postino_proto::{Fault, FaultKind};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use super::admission::{channel, connect, short, url};

/// How long the nodes may take to answer at all, and to find leaders.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the leads of a new cluster may take to spread before it is left to itself.
const SETTLE: Duration = Duration::from_secs(10);

/// Makes one cluster of the nodes at these addresses: the first one makes it, if it
/// belongs to none, and takes the others in. What `postino cluster init` does;
/// repeating it adds the nodes that are missing. `shard_count` 0 takes the first
/// node's setting. Returns the identity of the first node.
pub async fn form(members: &[String], shard_count: u32) -> Result<proto::Identity, Status> {
    let Some((first, others)) = members.split_first() else {
        return Err(Status::invalid_argument("a cluster has at least one node"));
    };
    let first = url(first);
    let deadline = Instant::now() + PATIENCE;
    let identity = again_until(deadline, async || identity_of(&first, shard_count).await).await?;
    for other in others {
        again_until(deadline, async || add(&first, &url(other)).await).await?;
    }
    if !others.is_empty() {
        spread_leads(&first, members.len()).await;
    }
    Ok(identity)
}

/// Waits until every node leads as many shards as the others, for a while: a cluster serves before
/// that, but whoever measures it wants to find it settled.
async fn spread_leads(endpoint: &str, nodes: usize) {
    let deadline = Instant::now() + SETTLE;
    while Instant::now() < deadline {
        match is_even(endpoint, nodes).await {
            Ok(true) => return,
            // An older node, or a part of one in a test.
            Err(status) if status.code() == Code::Unimplemented => return,
            Ok(false) | Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn is_even(endpoint: &str, nodes: usize) -> Result<bool, Status> {
    let mut cluster = PlacementClient::new(channel(endpoint).await?);
    cluster.rebalance(proto::RebalanceRequest {}).await?;
    let overview = cluster.get_overview(proto::GetOverviewRequest {}).await?;
    let overview = overview.into_inner();
    let leads = || overview.nodes.iter().map(|node| node.leads);
    let spread = leads().max().unwrap_or(0) - leads().min().unwrap_or(0);
    let all_led = overview.shards.iter().all(|shard| shard.leader != 0);
    Ok(overview.nodes.len() >= nodes && all_led && spread <= 1)
}

async fn identity_of(endpoint: &str, shard_count: u32) -> Result<proto::Identity, Status> {
    let mut node = connect(endpoint).await?;
    let status = node
        .status(short(proto::StatusRequest {}))
        .await?
        .into_inner();
    if let Some(identity) = status.identity {
        return Ok(identity);
    }
    let init = proto::InitRequest { shard_count };
    let identity = node.init(init).await?.into_inner().identity;
    identity.ok_or_else(|| Status::internal("the node made a cluster without an id"))
}

/// Asks `endpoint`, and then, if the control group is led elsewhere, its leader.
async fn add(endpoint: &str, member: &str) -> Result<(), Status> {
    let request = proto::AddMemberRequest {
        endpoint: member.to_owned(),
    };
    let asked = connect(endpoint).await?.add_member(request.clone()).await;
    let Err(status) = asked else { return Ok(()) };
    match Fault::of(&status) {
        // Who leads the control group is a member.
        Some(Fault {
            kind: FaultKind::NotLeader,
            leader: Some(leader),
            ..
        }) if leader == member => Ok(()),
        Some(Fault {
            kind: FaultKind::NotLeader,
            leader: Some(leader),
            ..
        }) => {
            connect(&leader).await?.add_member(request).await?;
            Ok(())
        }
        _ => Err(status),
    }
}

/// Repeats what fails for the moment: a node that starts, a group that elects.
async fn again_until<T>(
    deadline: Instant,
    work: impl AsyncFn() -> Result<T, Status>,
) -> Result<T, Status> {
    loop {
        match work().await {
            Err(status)
                if status.code() == tonic::Code::Unavailable && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(200)).await;
            }
            outcome => return outcome,
        }
    }
}
