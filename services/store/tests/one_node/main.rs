//! One store node: over gRPC, through Raft, on disk.

#![expect(clippy::unwrap_used, reason = "what fails here shall fail the test")]

mod letters;
mod moves;
mod node;
