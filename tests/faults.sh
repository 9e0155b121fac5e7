#!/usr/bin/env bash
# Does to a cluster under load whatever may happen to one, then proves that it kept every promise.
# Needs root: each store gets a network namespace of its own, one of them a disk in memory.
# usage: faults.sh [--seed N] [--seconds 60] [--kinds KIND,…] [--stores 3] [--senders 8]
#                  [--keep FOLDER]
#        faults.sh --judge FOLDER/history.json
# Kinds: kill terminate stop deaf mute slow stall cut reset clock full (faults.sh --help). An hour is
# --seconds 3600. A run that fails says its seed, and where it left history and logs.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
free=$(df --output=avail -B1M "${TMPDIR:-/tmp}" | tail -n 1)
[ "$free" -ge 10240 ] || { echo "faults.sh: 10 GiB free are needed, there are $free MiB" >&2; exit 1; }
"$top/deploy/packages.sh" test
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
# As tests/run.sh builds: debug assertions are part of the proof.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OPT_LEVEL=1
export CARGO_INCREMENTAL=0
cargo build --release --locked --workspace --bin postino --bin faults \
    --manifest-path "$top/Cargo.toml"
exec "$CARGO_TARGET_DIR/release/faults" "$@"
