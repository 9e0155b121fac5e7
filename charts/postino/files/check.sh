#!/usr/bin/env bash
# What `helm test` runs: every store belongs to the cluster and knows all leaders, and every
# protocol greets through its Service.
#
# STORES   the stores' gRPC endpoints, separated by spaces
# GREETS   NAME=HOST:PORT=GREETING, separated by spaces; "_" stands for a space
set -uo pipefail
failed=0
no() { echo "FAILED: $*"; failed=1; }

clusters=
for store in ${STORES:?}; do
    if ! answer=$(postino cluster status --json --endpoint "$store"); then
        no "$store does not answer"
        continue
    fi
    id=$(awk '$1 == "\"cluster\":" { gsub(/[",]/, "", $2); print $2 }' <<<"$answer")
    if [ -z "$id" ]; then
        no "$store belongs to no cluster"
    elif [ -n "$clusters" ] && [ "$clusters" != "$id" ]; then
        no "$store belongs to another cluster than the stores before it"
    elif grep -q '"leader": null' <<<"$answer"; then
        no "$store knows no leader of some shard"
    elif grep '"halted":' <<<"$answer" | grep -qv '""'; then
        no "$store has a group that has stopped"
    else
        echo "ok: $store"
    fi
    clusters=${clusters:-$id}
done

for entry in ${GREETS:-}; do
    IFS='=' read -r name address wanted <<<"$entry"
    wanted=${wanted//_/ }
    line=
    if { exec 3<>"/dev/tcp/${address%:*}/${address##*:}"; } 2>/dev/null; then
        read -r -t 10 line <&3 || true
        exec 3>&-
    fi
    case $line in
        "$wanted"*) echo "ok: $name at $address: $line" ;;
        *) no "$name at $address says \"$line\", not \"$wanted\"" ;;
    esac
done
exit $failed
