#!/usr/bin/env bash
# Runs a system of separate processes on this machine: store nodes, and one process of each other
# role.
#
# usage: cluster.sh up DIR [--stores 3] [--routings 1] [--queues 1] [--ingresses 1] [--accesses 1]
#                          [-- flags of "postino serve" for every process]
#        cluster.sh down DIR          ends all processes
#        cluster.sh kill DIR NODE     kill -9
#        cluster.sh start DIR NODE    starts a killed process again, at the same addresses
#        cluster.sh add DIR ROLE N    starts one more process, ROLE-N; not a store
#
# DIR/cluster.json lists the processes: {"nodes": [{"name", "pid", "roles", "addresses"}]}.
# DIR/NODE/ is the data directory of a process, DIR/NODE/log what it says.
# The binary is $POSTINO_BIN; if that is unset, it is built.
set -euo pipefail

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
fail() { echo "cluster.sh: $*" >&2; exit 1; }

[ $# -ge 2 ] || usage
verb=$1 dir=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)

binary() {
    if [ -z "${POSTINO_BIN:-}" ]; then
        "$here/packages.sh" build
        export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
        cargo build --release --locked -p postino --manifest-path "$here/../Cargo.toml"
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

# launch NODE: starts its process, and waits until it listens.
launch() {
    local name=$1 role arguments=() listener
    role=$(role_of "$name")
    mkdir -p "$dir/$name"
    # A process that was there before keeps its addresses: the others know them.
    if [ -s "$dir/$name/addresses.json" ]; then
        while read -r listener; do
            arguments+=("--$listener" "$(address "$name" "$listener")")
        done < <(sed -n 's/^ *"\([a-z0-9]*\)":.*/\1/p' "$dir/$name/addresses.json")
    else
        for listener in $(listeners "$role"); do
            arguments+=("--$listener" 127.0.0.1:0)
        done
    fi
    rm -f "$dir/$name/ports.json"
    mapfile -t -O ${#arguments[@]} arguments <"$dir/flags"
    setsid "$POSTINO_BIN" serve --roles "$role" --config "$dir/cluster.toml" \
        --data "$dir/$name" "${arguments[@]}" </dev/null >>"$dir/$name/log" 2>&1 &
    echo $! >"$dir/$name/pid"
    until_true 60 "$name listens" has_ports "$name"
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
    } >"$dir/cluster.json.partial"
    mv "$dir/cluster.json.partial" "$dir/cluster.json"
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

# Where the endpoints of the store and of routing come from, once they are known.
configure() {
    printf '[store_client]\nendpoints = %s\n' "$(endpoints store)" >"$dir/cluster.toml"
    [ "${1:-}" != routing ] ||
        printf '[routing_client]\nendpoints = %s\n' "$(endpoints routing)" >>"$dir/cluster.toml"
}

postino() { "$POSTINO_BIN" "$@" --endpoint "http://$(address store-1 admin)" >/dev/null; }

up() {
    local stores=3 routings=1 queues=1 ingresses=1 accesses=1 n name address
    while [ $# -gt 0 ]; do
        case $1 in
            --stores) stores=$2; shift 2 ;;
            --routings) routings=$2; shift 2 ;;
            --queues) queues=$2; shift 2 ;;
            --ingresses) ingresses=$2; shift 2 ;;
            --accesses) accesses=$2; shift 2 ;;
            --) shift; break ;;
            *) usage ;;
        esac
    done
    [ ! -e "$dir/nodes" ] || fail "$dir holds a cluster already: down, or another directory"
    binary
    mkdir -p "$dir"
    : >"$dir/nodes"
    : >"$dir/cluster.toml"
    printf '%s\n' --set routing.postmaster=alice@example.org "$@" >"$dir/flags"

    start_role store "$stores"
    postino cluster init $(for n in $(seq 2 "$stores"); do
        echo "http://$(address "store-$n" admin)"
    done)
    configure
    start_role routing "$routings"
    configure routing
    start_role queue "$queues"
    start_role ingress "$ingresses"
    start_role access "$accesses"
    for name in $(names); do
        until_true 60 "$name is ready" ready "$name"
    done
    postino domain add example.org
    for address in alice@example.org bob@example.org; do
        postino account add "$address" --password-stdin <<<postino-dev
    done
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
    start)
        node "$@"
        ! alive "$1" || fail "$1 runs already"
        binary
        launch "$1"
        until_true 60 "$1 is ready" ready "$1"
        ;;
    add)
        [ $# -eq 2 ] && [ "$1" != store ] || usage
        [ -z "$(role_of "$1-$2")" ] || fail "$1-$2 is there already"
        binary
        echo "$1-$2 $1" >>"$dir/nodes"
        launch "$1-$2"
        until_true 60 "$1-$2 is ready" ready "$1-$2"
        ;;
    *) usage ;;
esac
