#!/usr/bin/env bash
# Replicas of a shard in one thread, on virtual time, with all that is drawn coming from a seed:
# services/store/src/raft/simulation. A seed that fails is printed, and fails again.
# usage: simulate.sh [--seeds N]      seeds 0 to N-1; 200 if left out
#        simulate.sh --seed N         one of them
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
usage() { sed -n '3,4p' "$0" >&2; exit 2; }
unset POSTINO_SEED POSTINO_SEEDS
case $# in
    0) set -- --seeds 200 ;;
    2) ;;
    *) usage ;;
esac
case $1 in
    --seeds) export POSTINO_SEEDS=$2 ;;
    --seed) export POSTINO_SEED=$2 ;;
    *) usage ;;
esac
"$top/deploy/packages.sh" build
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
# As tests/run.sh builds.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OPT_LEVEL=1
export CARGO_INCREMENTAL=0
exec cargo test --release --locked --workspace --lib --manifest-path "$top/Cargo.toml" -- \
    --nocapture raft::simulation::no_seed
