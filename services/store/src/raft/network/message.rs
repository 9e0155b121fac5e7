//! Between openraft's requests and our messages, both ways.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use postino_proto::raft::v1 as proto;

use crate::raft::codec::{self, CodecError, To, log_id_in, log_id_out, required_vote, vote_out};
use crate::raft::types::Config;

pub(in crate::raft) fn append_out(
    request: &AppendEntriesRequest<Config>,
) -> Result<proto::AppendRequest, CodecError> {
    let entries = request.entries.iter();
    Ok(proto::AppendRequest {
        vote: Some(vote_out(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_out),
        leader_commit: request.leader_commit.as_ref().map(log_id_out),
        entries: entries
            .map(|entry| codec::entry_out(entry, To::Peer))
            .collect::<Result<_, _>>()?,
    })
}

pub(in crate::raft) fn append_in(
    request: proto::AppendRequest,
) -> Result<AppendEntriesRequest<Config>, CodecError> {
    let entries = request.entries.into_iter();
    Ok(AppendEntriesRequest {
        vote: required_vote(request.vote.as_ref())?,
        prev_log_id: request.previous.as_ref().map(log_id_in),
        leader_commit: request.leader_commit.as_ref().map(log_id_in),
        entries: entries.map(codec::entry_in).collect::<Result<_, _>>()?,
    })
}

pub(in crate::raft) fn appended_out(
    response: &AppendEntriesResponse<Config>,
) -> proto::AppendResponse {
    use proto::append_response::{Conflict, Partial, Result as Out, Success};
    let result = match response {
        AppendEntriesResponse::Success => Out::Success(Success {}),
        AppendEntriesResponse::PartialSuccess(last) => Out::Partial(Partial {
            last: last.as_ref().map(log_id_out),
        }),
        AppendEntriesResponse::Conflict => Out::Conflict(Conflict {}),
        AppendEntriesResponse::HigherVote(vote) => Out::HigherVote(vote_out(vote)),
    };
    proto::AppendResponse {
        result: Some(result),
        disk_full: false,
    }
}

pub(in crate::raft) fn appended_in(
    response: proto::AppendResponse,
) -> Result<AppendEntriesResponse<Config>, CodecError> {
    use proto::append_response::Result as In;
    Ok(
        match response.result.ok_or(CodecError::Missing("the result"))? {
            In::Success(_) => AppendEntriesResponse::Success,
            In::Partial(partial) => {
                AppendEntriesResponse::PartialSuccess(partial.last.as_ref().map(log_id_in))
            }
            In::Conflict(_) => AppendEntriesResponse::Conflict,
            In::HigherVote(vote) => AppendEntriesResponse::HigherVote(codec::vote_in(&vote)),
        },
    )
}

pub(in crate::raft) fn vote_request_out(request: &VoteRequest<Config>) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(vote_out(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_out),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(in crate::raft) fn vote_request_in(
    request: &proto::VoteRequest,
) -> Result<VoteRequest<Config>, CodecError> {
    Ok(VoteRequest {
        vote: required_vote(request.vote.as_ref())?,
        last_log_id: request.last.as_ref().map(log_id_in),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(in crate::raft) fn voted_out(response: &VoteResponse<Config>) -> proto::VoteResponse {
    proto::VoteResponse {
        vote: Some(vote_out(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id_out),
    }
}

pub(in crate::raft) fn voted_in(
    response: &proto::VoteResponse,
) -> Result<VoteResponse<Config>, CodecError> {
    Ok(VoteResponse {
        vote: required_vote(response.vote.as_ref())?,
        vote_granted: response.granted,
        last_log_id: response.last.as_ref().map(log_id_in),
    })
}

pub(in crate::raft) fn transfer_out(
    request: &TransferLeaderRequest<Config>,
) -> proto::TransferRequest {
    proto::TransferRequest {
        from: Some(vote_out(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_out),
    }
}

pub(in crate::raft) fn transfer_in(
    request: &proto::TransferRequest,
) -> Result<TransferLeaderRequest<Config>, CodecError> {
    Ok(TransferLeaderRequest::new(
        required_vote(request.from.as_ref())?,
        request.to,
        request.last.as_ref().map(log_id_in),
    ))
}

pub(in crate::raft) fn transferred_out(
    response: &TransferLeaderResponse<Config>,
) -> proto::TransferResponse {
    use proto::transfer_response::{Accepted, NotFlushed, Result as Out, VoteChanged};
    let result = match response {
        Ok(()) => Out::Accepted(Accepted {}),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Out::VoteChanged(VoteChanged {
                expected: Some(vote_out(expected)),
                actual: Some(vote_out(actual)),
            })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            Out::NotFlushed(NotFlushed {
                expected: expected.as_ref().map(log_id_out),
                actual: actual.as_ref().map(log_id_out),
            })
        }
    };
    proto::TransferResponse {
        result: Some(result),
    }
}

pub(in crate::raft) fn transferred_in(
    response: &proto::TransferResponse,
) -> Result<TransferLeaderResponse<Config>, CodecError> {
    use proto::transfer_response::Result as In;
    let result = response.result.as_ref();
    Ok(match result.ok_or(CodecError::Missing("the result"))? {
        In::Accepted(_) => Ok(()),
        In::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: required_vote(changed.expected.as_ref())?,
            actual: required_vote(changed.actual.as_ref())?,
        }),
        In::NotFlushed(not) => Err(TransferLeaderError::LogNotFlushed {
            expected: not.expected.as_ref().map(log_id_in),
            actual: not.actual.as_ref().map(log_id_in),
        }),
    })
}
