#!/usr/bin/env bash
# Makes one cluster of the store pods, or takes those in that are missing. Safe to repeat.
#
# STORES   the stores' gRPC endpoints, separated by spaces; the first one may found the cluster
# SHARDS   mail shards of a new cluster
# FOUND    yes: a new cluster may be made. Anything else: only an existing one is joined.
#
# A cluster is never made beside an existing one: if any store belongs to a cluster already, the
# others join that one, each as a new node; so does a first store that has lost its disk.
set -euo pipefail
read -r -a stores <<<"${STORES:?}"

say() { echo "cluster-init: $*" >&2; }
status() { postino cluster status --json --endpoint "$1"; }
# The cluster that a node belongs to, by its own status; nothing if it belongs to none.
cluster_of() { awk '/"identity": \{/ { own = 1 } own && $1 == "\"cluster\":" { gsub(/[",]/, "", $2); print $2; exit }'; }

# Until every store answers. The Job's deadline ends this.
declare -A cluster=()
for store in "${stores[@]}"; do
    until answer=$(status "$store" 2>/dev/null); do
        say "waiting for $store"
        sleep 2
    done
    cluster[$store]=$(cluster_of <<<"$answer")
done

existing= member=
for store in "${stores[@]}"; do
    [ -n "${cluster[$store]}" ] || continue
    if [ -n "$existing" ] && [ "$existing" != "${cluster[$store]}" ]; then
        say "the stores belong to different clusters: $existing and ${cluster[$store]} ($store)"
        exit 1
    fi
    existing=${cluster[$store]} member=$store
done

if [ -z "$existing" ]; then
    if [ "${FOUND:-}" != yes ]; then
        say "no store belongs to a cluster, and this is no first install: have the volumes been lost?"
        exit 1
    fi
    exec postino cluster init --shards "${SHARDS:?}" --endpoint "${stores[@]}"
fi

# Any member takes the others in, each as a new node.
for store in "${stores[@]}"; do
    [ -n "${cluster[$store]}" ] || postino cluster join --endpoint "$store" "$member"
done
