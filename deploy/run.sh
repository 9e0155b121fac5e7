#!/usr/bin/env bash
# Builds Postino and starts all of it in one process on loopback, with two demo accounts.
# usage: run.sh [flags of "postino dev"]      e.g. run.sh --smtp 127.0.0.1:0 --data /tmp/mail
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)

"$top/deploy/packages.sh" build
command -v cargo >/dev/null || {
    echo "Rust is needed (cargo was not found): https://www.rust-lang.org/tools/install" >&2
    exit 1
}
# The same place and profile as tests/run.sh, so that RocksDB is compiled once.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
cargo build --release --locked --workspace --bin postino --manifest-path "$top/Cargo.toml"
exec "$CARGO_TARGET_DIR/release/postino" dev "$@"
