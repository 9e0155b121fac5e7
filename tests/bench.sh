#!/usr/bin/env bash
# Postino beside Postfix + Dovecot in one run: accepted and delivered letters per second,
# processor time and syncs a letter, memory at rest.
# usage: bench.sh [MESSAGES=4000] [ACCOUNTS=100]      (as root, for the peers)
set -euo pipefail
cd "$(dirname "$0")/.."
messages=${1:-4000} accounts=${2:-100}
deploy/packages.sh test
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
# As it is shipped: without debug assertions.
unset CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS
# BIN: a directory with both programs, already built.
bin=${BIN:-$CARGO_TARGET_DIR/release}
[ -n "${BIN:-}" ] || cargo build --release --locked --workspace
dir=$(mktemp -d)
chmod 755 "$dir"

postino_pid=
finish() {
    [ -z "$postino_pid" ] || kill "$postino_pid" 2>/dev/null || true
    tests/peers.sh stop "$dir/peer" || true
    wait
    rm -rf "$dir"
}
trap finish EXIT

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Postino, with as many accounts as the peers have.
flags=()
for listener in smtp submission submissions imap imaps pop3 pop3s http admin; do
    flags+=("--$listener" 127.0.0.1:0)
done
"$bin/postino" dev --data "$dir/postino" "${flags[@]}" >"$dir/postino.log" 2>&1 &
postino_pid=$!
for _ in $(seq 600); do [ -s "$dir/postino/ports.json" ] && break; sleep 0.1; done
port() { sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' "$dir/postino/ports.json"; }
sleep 3 # until the start has settled: what is measured is rest
echo "memory at rest: $(awk '/VmRSS/{print int($2 / 1024)}' "/proc/$postino_pid/status") MiB"
"$bin/postino" domain add peer.test --data "$dir/postino" >/dev/null
for n in $(seq 0 $((accounts - 1))); do echo "u$n@peer.test,pw"; done >"$dir/accounts.csv"
"$bin/postino" account import "$dir/accounts.csv" --data "$dir/postino"

# The peers.
peer_smtp=$(free_port) peer_imap=$(free_port) peer_lmtp=$(free_port)
tests/peers.sh start "$dir/peer" "$peer_smtp" "$peer_imap" "$peer_lmtp"

load() { "$bin/load" smtp "$1" --imap "$2" --account-count "$accounts" --messages "$3" "${@:4}"; }
of_postino=(--pid "$postino_pid" --metrics "$(port http)")
of_peers=(--pid "$(tests/peers.sh pids "$dir/peer" | tr ' ' ',')")
field() { sed -n "s|.*$2=\([0-9]*\).*|\1|p" <<<"$1"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

for connections in 1 20 64; do
    n=$messages
    [ "$connections" -gt 1 ] || n=$((messages / 4))
    ours=$(load "$(port smtp)" "$(port imap)" "$n" -c "$connections" "${of_postino[@]}")
    theirs=$(load "127.0.0.1:$peer_smtp" "127.0.0.1:$peer_imap" "$n" -c "$connections" \
        "${of_peers[@]}")
    echo "postino  $ours"
    echo "peers    $theirs"
    for what in accepted/s delivered/s; do
        echo "ratio    connections=$connections $what $(ratio "$(field "$ours" $what)" \
            "$(field "$theirs" $what)")"
    done
done
echo "memory after: $(awk '/VmRSS/{print int($2 / 1024)}' "/proc/$postino_pid/status") MiB"
for server in "$(port imap)" "127.0.0.1:$peer_imap"; do
    "$bin/load" imap "$server" --account-count "$accounts" --seconds 10
done
