#!/usr/bin/env bash
# Runs a system of separate processes on this machine: store nodes, and one process of each other
# role.
#
# usage: cluster.sh up DIR [--stores 3] [--routings 1] [--queues 1] [--ingresses 1] [--accesses 1]
#                          [--hosts FILE] [--restore BACKUP]
#                          [-- flags of "postino serve" for every process]
#        cluster.sh down DIR          ends all processes
#        cluster.sh kill DIR NODE     kill -9
#        cluster.sh stop DIR NODE     SIGTERM, and waits for the end
#        cluster.sh start DIR NODE    starts a process again that ended, at the same addresses
#        cluster.sh add DIR ROLE N    starts one more process, ROLE-N; a store joins the cluster, and
#                                     gets replicas by and by (postino cluster status)
#
# FILE has a line for each process that does not run at 127.0.0.1: NODE ADDRESS COMMAND…, where
# COMMAND… is put in front of the process's own, e.g. "ip netns exec HOST".
#
# BACKUP is a directory that "postino backup create" made: the cluster begins with it, instead of with
# two accounts.
#
# DIR/cluster.json lists the processes: {"nodes": [{"name", "pid", "roles", "addresses"}]}.
# DIR/NODE/ is the data directory of a process, DIR/NODE/log what it says.
# The binary is $POSTINO_BIN; if that is unset, it is built. A process that does not listen after
# $POSTINO_PATIENCE seconds (60) is ended again, and the command fails.
set -euo pipefail

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
fail() { echo "cluster.sh: $*" >&2; exit 1; }

[ $# -ge 2 ] || usage
verb=$1 dir=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
patience=${POSTINO_PATIENCE:-60}

binary() {
    if [ -z "${POSTINO_BIN:-}" ]; then
        "$here/packages.sh" build
        export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
        # The whole workspace's features, as everywhere: dependencies are compiled once.
        cargo build --release --locked --workspace --bin postino \
            --manifest-path "$here/../Cargo.toml"
        POSTINO_BIN=$CARGO_TARGET_DIR/release/postino
    fi
}

names() { cut -d' ' -f1 "$dir/nodes"; }
role_of() { awk -v name="$1" '$1 == name { print $2 }' "$dir/nodes"; }
# address NODE LISTENER: where it listens, of the running process or of the last one.
address() { sed -n 's/.*"'"$2"'": *"\([^"]*\)".*/\1/p' "$dir/$1/addresses.json"; }
pid_of() { cat "$dir/$1/pid" 2>/dev/null || true; }
# alive NODE: whether its process runs, and the id was not taken by another.
alive() {
    local pid
    pid=$(pid_of "$1")
    [ -n "$pid" ] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$dir/$1"
}

# until_true SECONDS WHAT COMMAND…: waits for a condition.
until_true() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt "$end" ] || fail "not in time: $what"
        sleep 0.05
    done
}

has_ports() {
    # Not "alive": between fork and exec it does not look like itself yet.
    kill -0 "$(pid_of "$1")" 2>/dev/null || { tail -n 20 "$dir/$1/log" >&2; fail "$1 has ended"; }
    [ -s "$dir/$1/ports.json" ]
}

# Asks /readyz.
ready() {
    local http status
    http=$(address "$1" http)
    { exec 3<>"/dev/tcp/${http%:*}/${http##*:}"; } 2>/dev/null || return 1
    printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
    read -r -t 5 _ status _ <&3 || status=
    exec 3>&- 3<&-
    [ "$status" = 200 ]
}

# give_up PID: ends a process that this shell started and that nobody could use: TERM, and KILL for
# one that has not ended 10 s later.
give_up() {
    local end=$((SECONDS + 10))
    kill -TERM "$1" 2>/dev/null || return 0
    while kill -0 "$1" 2>/dev/null; do
        [ $SECONDS -lt "$end" ] || { kill -KILL "$1" 2>/dev/null; break; }
        sleep 0.05
    done
    wait "$1" 2>/dev/null || true
}

# launch NODE: starts its process, and waits until it listens.
launch() {
    local name=$1 role arguments=() listener pid host=127.0.0.1 there=()
    role=$(role_of "$name")
    mkdir -p "$dir/$name"
    if [ -s "$dir/hosts" ]; then
        read -r -a there < <(awk -v name="$name" '$1 == name' "$dir/hosts") || true
        host=${there[1]:-$host}
    fi
    # A process that was there before keeps its addresses: the others know them.
    if [ -s "$dir/$name/addresses.json" ]; then
        while read -r listener; do
            arguments+=("--$listener" "$(address "$name" "$listener")")
        done < <(sed -n 's/^ *"\([a-z0-9]*\)":.*/\1/p' "$dir/$name/addresses.json")
    else
        for listener in $(listeners "$role"); do
            arguments+=("--$listener" "$host:0")
        done
    fi
    rm -f "$dir/$name/ports.json"
    mapfile -t -O ${#arguments[@]} arguments <"$dir/flags"
    setsid "${there[@]:2}" "$POSTINO_BIN" serve --roles "$role" --config "$dir/cluster.toml" \
        --data "$dir/$name" "${arguments[@]}" </dev/null >>"$dir/$name/log" 2>&1 &
    pid=$!
    # However this shell gives up, by a failure or by an interrupt.
    trap "give_up $pid" EXIT
    echo "$pid" >"$dir/$name/pid"
    until_true "$patience" "$name listens" has_ports "$name"
    trap - EXIT
    cp "$dir/$name/ports.json" "$dir/$name/addresses.json"
    describe
}

listeners() {
    echo http admin
    case $1 in
        ingress) echo smtp submission submissions ;;
        access) echo imap imaps pop3 pop3s ;;
    esac
}

# Writes cluster.json, in one step.
describe() {
    local name separator=
    {
        echo '{"nodes": ['
        for name in $(names); do
            [ -s "$dir/$name/addresses.json" ] || continue
            printf '%s{"name": "%s", "pid": %s, "roles": ["%s"], "addresses": %s}\n' \
                "$separator" "$name" "$(pid_of "$name")" "$(role_of "$name")" \
                "$(cat "$dir/$name/addresses.json")"
            separator=,
        done
        echo ']}'
    } >"$dir/cluster.json.$BASHPID"
    mv "$dir/cluster.json.$BASHPID" "$dir/cluster.json"
}

# endpoints ROLE: a TOML list of the gRPC endpoints of its processes.
endpoints() {
    local name list=
    for name in $(names); do
        [ "$(role_of "$name")" = "$1" ] || continue
        list+="${list:+, }\"http://$(address "$name" admin)\""
    done
    echo "[$list]"
}

# start_role ROLE COUNT
start_role() {
    local n
    for n in $(seq 1 "$2"); do
        echo "$1-$n $1" >>"$dir/nodes"
        launch "$1-$n"
    done
}

# Where the endpoints of the store and of routing come from, once they are known. A store that has
# lost its disk asks the others to take it in.
configure() {
    printf '[store_client]\nendpoints = %s\n[store]\njoin = %s\n' \
        "$(endpoints store)" "$(endpoints store)" >"$dir/cluster.toml"
    [ "${1:-}" != routing ] ||
        printf '[routing_client]\nendpoints = %s\n' "$(endpoints routing)" >>"$dir/cluster.toml"
}

postino() { "$POSTINO_BIN" "$@" --endpoint "http://$(address store-1 admin)" >/dev/null; }

up() {
    local stores=3 routings=1 queues=1 ingresses=1 accesses=1 hosts= backup= n name address
    local others=()
    while [ $# -gt 0 ]; do
        case $1 in
            --stores) stores=$2; shift 2 ;;
            --routings) routings=$2; shift 2 ;;
            --queues) queues=$2; shift 2 ;;
            --ingresses) ingresses=$2; shift 2 ;;
            --accesses) accesses=$2; shift 2 ;;
            --hosts) hosts=$2; shift 2 ;;
            --restore) backup=$2; shift 2 ;;
            --) shift; break ;;
            *) usage ;;
        esac
    done
    [ ! -e "$dir/nodes" ] || fail "$dir holds a cluster already: down, or another directory"
    binary
    mkdir -p "$dir"
    : >"$dir/nodes"
    : >"$dir/cluster.toml"
    [ -z "$hosts" ] || cp "$hosts" "$dir/hosts"
    printf '%s\n' --set routing.postmaster=alice@example.org "$@" >"$dir/flags"

    start_role store "$stores"
    for n in $(seq 2 "$stores"); do
        others+=("http://$(address "store-$n" admin)")
    done
    if [ -n "$backup" ]; then
        postino restore "$backup" "${others[@]}"
    else
        postino cluster init "${others[@]}"
    fi
    configure
    start_role routing "$routings"
    configure routing
    start_role queue "$queues"
    start_role ingress "$ingresses"
    start_role access "$accesses"
    for name in $(names); do
        until_true "$patience" "$name is ready" ready "$name"
    done
    if [ -z "$backup" ]; then
        postino domain add example.org
        for address in alice@example.org bob@example.org; do
            postino account add "$address" --password-stdin <<<postino-dev
        done
    fi
    echo "$dir/cluster.json"
}

down() {
    local name status=0
    # The store last: the others hand back what they hold.
    for name in $(names | tac); do
        alive "$name" || continue
        kill -TERM "$(pid_of "$name")"
        gone "$name" 40 || {
            echo "cluster.sh: $name did not end, killing it" >&2
            kill -KILL "$(pid_of "$name")" 2>/dev/null || true
            status=1
        }
    done
    rm -f "$dir/nodes" "$dir/cluster.json"
    return $status
}

# living_store NODE: the endpoint of a store that runs, other than NODE.
living_store() {
    local name
    for name in $(names); do
        [ "$(role_of "$name")" = store ] && [ "$name" != "$1" ] && alive "$name" || continue
        echo "http://$(address "$name" admin)"
        return
    done
    fail "no store runs"
}

# gone NODE SECONDS: waits for its end.
gone() {
    local end=$((SECONDS + $2))
    while alive "$1"; do
        [ $SECONDS -lt "$end" ] || return 1
        sleep 0.05
    done
}

node() {
    [ $# -eq 1 ] || usage
    [ -n "$(role_of "$1")" ] || fail "no node $1; there are: $(names | tr '\n' ' ')"
}

[ "$verb" = up ] || [ -f "$dir/nodes" ] || fail "no cluster in $dir"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
case $verb in
    up) up "$@" ;;
    down) down ;;
    kill)
        node "$@"
        alive "$1" || fail "$1 does not run"
        kill -KILL "$(pid_of "$1")"
        gone "$1" 20 || fail "$1 does not end"
        ;;
    stop)
        node "$@"
        alive "$1" || fail "$1 does not run"
        kill -TERM "$(pid_of "$1")"
        gone "$1" 40 || fail "$1 does not end"
        ;;
    start)
        node "$@"
        ! alive "$1" || fail "$1 runs already"
        binary
        launch "$1"
        until_true "$patience" "$1 is ready" ready "$1"
        ;;
    add)
        [ $# -eq 2 ] || usage
        [ -z "$(role_of "$1-$2")" ] || fail "$1-$2 is there already"
        binary
        echo "$1-$2 $1" >>"$dir/nodes"
        launch "$1-$2"
        # Any store that lives: the first one may be gone.
        if [ "$1" = store ]; then
            "$POSTINO_BIN" cluster join "$(living_store "$1-$2")" \
                --endpoint "http://$(address "$1-$2" admin)" >/dev/null
            # For processes that start from now on; those that run learn of it by themselves.
            configure routing
        fi
        until_true "$patience" "$1-$2 is ready" ready "$1-$2"
        ;;
    *) usage ;;
esac
