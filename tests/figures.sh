#!/usr/bin/env bash
# What the store and the whole system do on this machine, as tables and lines of JSON: for people,
# never for CI. Data lies below $TMPDIR (/tmp), which must be on a disk, and is deleted at the end.
#
# usage: figures.sh                       every figure with its defaults: about an hour, 20 GiB free
#        figures.sh FIGURE [OPTIONS]      one of them; --help lists what it takes
#
# FIGURE: proposals   per second and in bytes, beside raw fdatasync and RocksDB
#         mail        bytes written per byte of mail
#         accounts    bytes per account
#         failover    how long mail stands still when a leading store is killed, or stops
#         idle        what a cluster costs at rest
#         mailbox     a mailbox of a million messages beside one of a thousand
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
all=(proposals mail accounts failover idle mailbox)
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
[ $# -eq 0 ] || [[ " ${all[*]} " = *" $1 "* ]] || usage

# As it is shipped: optimised, without debug assertions.
unset CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS CARGO_PROFILE_RELEASE_OPT_LEVEL
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
"$top/deploy/packages.sh" build

TMPDIR=$(mktemp -d)
export TMPDIR
finish() {
    local dir
    # After an interrupt, what was measured still runs.
    for dir in "$TMPDIR"/postino-cluster-*; do
        [ ! -f "$dir/nodes" ] || "$top/deploy/cluster.sh" down "$dir" || true
    done
    rm -rf "$TMPDIR"
}
trap finish EXIT
trap 'exit 130' INT TERM

figure() {
    case $1 in
        proposals | mail | accounts)
            cargo bench --profile release --locked --workspace --bench figures \
                --manifest-path "$top/Cargo.toml" -- "$@"
            ;;
        *)
            cargo build --release --locked --workspace --bin postino --bin figures \
                --manifest-path "$top/Cargo.toml"
            "$CARGO_TARGET_DIR/release/figures" "$@"
            ;;
    esac
}

if [ $# -gt 0 ]; then
    figure "$@"
    exit
fi
for name in "${all[@]}"; do
    echo "== $name"
    figure "$name"
done
