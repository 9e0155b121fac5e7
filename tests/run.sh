#!/usr/bin/env bash
# Everything that CI checks, stage by stage; stops at the first stage that fails.
# usage: run.sh [--quick]      --quick leaves out the slow end-to-end tests
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

quick=
case ${1:-} in
    --quick) quick=yes ;;
    '') ;;
    *) echo "usage: run.sh [--quick]" >&2; exit 2 ;;
esac

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
# Our own crates are tested with their debug assertions; dependencies stay as they are.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0

log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
passed=0
failed=0
times=()

# Adds up what the test runners of a stage said, and prints the closing line.
count() {
    local result
    while read -r result; do
        passed=$((passed + $(sed -E 's/.* ([0-9]+) passed.*/\1/' <<<"$result")))
        failed=$((failed + $(sed -E 's/.* ([0-9]+) failed.*/\1/' <<<"$result")))
    done < <(grep -aE '^test result: ' "$1")
}
close() {
    printf '\nseconds by stage:\n'
    printf '  %s\n' "${times[@]}"
    echo
    echo "$passed passed, $failed failed"
}
# stage NAME COMMAND…: prints the stage's seconds; ends the run if it fails.
stage() {
    local name=$1 start status
    shift
    echo "== $name"
    start=$SECONDS
    "$@" 2>&1 | tee "$log/$name"
    status=${PIPESTATUS[0]}
    times+=("$name $((SECONDS - start))")
    count "$log/$name"
    if [ "$status" -ne 0 ]; then
        [ "$failed" -gt 0 ] || failed=1
        echo
        echo "FAILED: $name (exit $status): $*"
        grep -aE '^(error|test .* FAILED|---- |failures:)' "$log/$name" | sort -u | head -40
        close
        exit 1
    fi
    echo "== $name: $((SECONDS - start)) s"
}

e2e() {
    # Two cores: two tests at a time keep their deadlines honest.
    if [ -n "$quick" ]; then
        cargo test --release --locked -p postino-tests --lib --test architecture \
            --test first_letter --test refusals -- --test-threads=2
    else
        cargo test --release --locked -p postino-tests --lib --bins --tests -- --test-threads=2
    fi
}

stage setup deploy/packages.sh test
stage build cargo build --release --locked --workspace
stage fmt cargo fmt --all --check
stage clippy cargo clippy --release --locked --workspace --all-targets -- -D warnings
stage unit cargo test --release --locked --workspace --exclude postino-tests \
    --lib --bins --tests
stage doc cargo test --release --locked --workspace --doc
stage e2e e2e
close
