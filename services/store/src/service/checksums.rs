//! `Checksums`: the replicas of a shard are asked what they hold at one index, and compared.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use postino_proto::store::v1::checksums_client::ChecksumsClient;
use postino_proto::store::v1::checksums_server::Checksums;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    Checksum, ChecksumCommand, ChecksumRequest, ChecksumResponse, CompareRequest, CompareResponse,
    ReplicaChecksum,
};
use postino_types::ShardId;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

use super::{Context, forwarded};
use crate::checksum::Limits;
use crate::levels;
use crate::raft::{Group, NodeAddress};
use crate::shards::{broken, elsewhere, unexpected};

/// How often replicas that did not meet, or may not have had all bodies, are asked.
const TRIES: u32 = 7;
/// How far ahead of the end of a busy log the replicas are to meet at first.
const AHEAD: u64 = 8;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a replica may take to come to an index that is at hand.
const REACH: Duration = Duration::from_secs(5);
/// The least and the most that computing may take.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// What a call takes besides.
const GRACE: Duration = Duration::from_secs(5);

#[tonic::async_trait]
impl Checksums for Context {
    async fn compare(
        &self,
        request: Request<CompareRequest>,
    ) -> Result<Response<CompareResponse>, Status> {
        let CompareRequest { shard, patience_ms } = *request.get_ref();
        let patience = Duration::from_millis(patience_ms).clamp(PATIENCE.0, PATIENCE.1);
        let group = self.shards.group(ShardId::new(shard))?;
        if !group.is_leader() {
            let mut onward = forwarded(self, &group, request)?;
            onward.set_timeout(patience + 2 * GRACE);
            let mut leader = ChecksumsClient::new(self.shards.leader_channel(&group)?);
            return leader.compare(onward).await;
        }
        let end = Instant::now() + patience;
        let mut ahead = 0;
        let mut tries = 1;
        loop {
            let compared = self.compare_once(&group, ahead, end).await?;
            if is_final(&compared) || tries == TRIES || Instant::now() + PAUSE > end {
                return Ok(Response::new(compared));
            }
            let is_busy = group.status().last_index > compared.index;
            ahead = if is_busy { (4 * ahead).max(AHEAD) } else { 0 };
            tries += 1;
            sleep(PAUSE).await;
        }
    }

    async fn checksum(
        &self,
        request: Request<ChecksumRequest>,
    ) -> Result<Response<ChecksumResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster_id)?;
        let checksum = self.checksum_here(&request).await?;
        Ok(Response::new(ChecksumResponse {
            checksum: Some(checksum),
        }))
    }
}

impl Context {
    /// Compares the replicas of a shard that this node leads, at one index.
    async fn compare_once(
        &self,
        group: &Group,
        ahead: u64,
        end: Instant,
    ) -> Result<CompareResponse, Status> {
        if !group.is_leader() {
            return Err(elsewhere(group));
        }
        let mark = self.mark(group).await?;
        let status = group.status();
        let left = end.saturating_duration_since(Instant::now());
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let request = ChecksumRequest {
            cluster_id: self.cluster_id()?,
            shard: group.shard().get(),
            index: mark.unwrap_or(status.last_index + ahead),
            reach_ms: millis(left.min(REACH)),
            patience_ms: millis(left),
            anew: mark.is_none(),
        };
        let voters = status.voters.iter().map(|member| (member, true));
        let members = voters.chain(status.learners.iter().map(|member| (member, false)));
        let asked = members.map(|(member, voter)| self.ask(member, voter, &request));
        let mut replicas = join_all(asked).await;
        let agree = judge(&mut replicas);
        Ok(CompareResponse {
            shard: request.shard,
            index: request.index,
            replicas,
            agree,
        })
    }

    /// Marks the log where the replicas are to be compared, if the shard's level has marks. Without
    /// one they are to meet where the log will soon be.
    async fn mark(&self, group: &Group) -> Result<Option<u64>, Status> {
        let level = levels::of_shard(self.shards.db(), group.shard()).map_err(broken)?;
        if level < levels::MARKS {
            return Ok(None);
        }
        let kind = Kind::Checksum(ChecksumCommand {});
        let marked = self.shards.propose(group, kind, None).await?;
        match marked.answer {
            Answer::Marked(answer) => Ok(Some(answer.index)),
            answer => unexpected(&answer),
        }
    }

    async fn ask(
        &self,
        member: &NodeAddress,
        voter: bool,
        request: &ChecksumRequest,
    ) -> ReplicaChecksum {
        let answer = match self.shards.node() {
            Ok(node) if node.identity().node == member.id => self.checksum_here(request).await,
            Ok(_) => self.checksum_at(&member.endpoint, request).await,
            Err(status) => Err(status),
        };
        let (checksum, problem) = match answer {
            Ok(checksum) => (Some(checksum), String::new()),
            Err(status) if status.message().is_empty() => (None, status.code().to_string()),
            Err(status) => (None, status.message().to_owned()),
        };
        ReplicaChecksum {
            node: member.id.get(),
            endpoint: member.endpoint.clone(),
            voter,
            checksum,
            problem,
            differs: false,
        }
    }

    async fn checksum_at(
        &self,
        endpoint: &str,
        request: &ChecksumRequest,
    ) -> Result<Checksum, Status> {
        let channel = self.shards.channel_to(endpoint)?;
        let limit = Duration::from_millis(request.patience_ms) + GRACE;
        let mut request = Request::new(request.clone());
        request.set_timeout(limit);
        let answer = ChecksumsClient::new(channel).checksum(request).await?;
        let missing = || Status::internal("the answer has no checksum");
        answer.into_inner().checksum.ok_or_else(missing)
    }

    async fn checksum_here(&self, request: &ChecksumRequest) -> Result<Checksum, Status> {
        let group = self.shards.group(ShardId::new(request.shard))?;
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis).min(PATIENCE.1);
        let limits = Limits {
            reach: after(request.reach_ms),
            end: after(request.patience_ms),
            anew: request.anew,
        };
        let checksum = self.checksummer.at(&group, request.index, limits).await;
        let checksum = checksum.map_err(|missing| Status::failed_precondition(missing.to_string()));
        Ok(checksum?.into())
    }
}

/// Marks those that are not what most are; says whether all are there and equal.
fn judge(replicas: &mut [ReplicaChecksum]) -> bool {
    let key = |replica: &ReplicaChecksum| {
        let checksum = replica.checksum.as_ref()?;
        Some((checksum.format, checksum.digest.clone()))
    };
    let mut counts = HashMap::new();
    for key in replicas.iter().filter_map(key) {
        *counts.entry(key).or_insert(0) += 1;
    }
    let most = counts.values().copied().max().unwrap_or(0);
    let mut with_most = counts.iter().filter(|(_, count)| **count == most);
    // Among equally many, nobody can say which are right.
    let right = match (with_most.next(), with_most.next()) {
        (Some((right, _)), None) => Some(right.clone()),
        _ => None,
    };
    for replica in replicas.iter_mut() {
        let key = key(replica);
        replica.differs = key.is_some() && key != right;
    }
    let fine = |replica: &ReplicaChecksum| replica.checksum.is_some() && !replica.differs;
    !replicas.is_empty() && replicas.iter().all(fine)
}

/// Whether another try could not say anything else: rows that differ stay so. A body may be missing
/// for a while, on a replica that got its entry when the others had dropped it already.
fn is_final(compared: &CompareResponse) -> bool {
    let known = compared.replicas.iter();
    let mut known = known.filter_map(|replica| replica.checksum.as_ref());
    let first = known.next().cloned().unwrap_or_default();
    let rows_differ = known.any(|other| other.rows != first.rows || other.format != first.format);
    compared.agree || rows_differ
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(rows: &'static str, bodies: &'static str) -> ReplicaChecksum {
        let checksum = Checksum {
            format: 1,
            digest: format!("{rows}{bodies}").into(),
            rows: rows.into(),
            bodies: bodies.into(),
            ..Checksum::default()
        };
        ReplicaChecksum {
            checksum: Some(checksum),
            ..ReplicaChecksum::default()
        }
    }

    fn missing() -> ReplicaChecksum {
        ReplicaChecksum::default()
    }

    /// Whether they agree, whether that is final, and which differ.
    fn judged(mut replicas: Vec<ReplicaChecksum>) -> (bool, bool, Vec<usize>) {
        let agree = judge(&mut replicas);
        let differ = replicas.iter().enumerate().filter(|(_, one)| one.differs);
        let differ = differ.map(|(place, _)| place).collect();
        let compared = CompareResponse {
            agree,
            replicas,
            ..CompareResponse::default()
        };
        (agree, is_final(&compared), differ)
    }

    #[test]
    fn the_odd_one_out_is_named() {
        let (a, b) = (|| replica("a", "x"), || replica("b", "x"));
        assert_eq!(judged(vec![a(), a(), a()]), (true, true, vec![]));
        assert_eq!(judged(vec![a()]), (true, true, vec![]));
        assert_eq!(judged(vec![a(), b(), a()]), (false, true, vec![1]));
        assert_eq!(judged(vec![a(), b()]), (false, true, vec![0, 1]));
        // Where one is missing, the others are no proof, and it may come.
        assert_eq!(judged(vec![a(), missing(), a()]), (false, false, vec![]));
        assert_eq!(judged(vec![a(), missing(), b()]), (false, true, vec![0, 2]));
        assert_eq!(judged(vec![missing()]), (false, false, vec![]));
        assert_eq!(judged(Vec::new()), (false, false, vec![]));
    }

    #[test]
    fn a_body_may_be_missing_for_a_while() {
        let (a, b) = (|| replica("a", "x"), || replica("a", "y"));
        assert_eq!(judged(vec![a(), a(), b()]), (false, false, vec![2]));
    }
}
