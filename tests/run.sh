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
# Our own crates are tested with their debug assertions, and optimised less, which halves their
# build; dependencies stay as they are.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OPT_LEVEL=1
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

# --test NAME for each integration test in the folders. Packages are never selected by -p or
# --exclude: that would change the features of dependencies, and compile them once more.
targets() {
    local file
    for file in "$@"; do
        [ -e "$file" ] || continue
        # tests/NAME.rs or tests/NAME/main.rs
        file=${file%/main.rs}
        printf -- '--test\n%s\n' "$(basename "$file" .rs)"
    done
}
tests() {
    cargo test --release --locked --workspace "$@"
}
mapfile -t unit < <(targets {proto,services/*,services/lib/*}/tests/{*.rs,*/main.rs})
mapfile -t e2e < <(targets tests/tests/{*.rs,*/main.rs})
[ -z "$quick" ] || e2e=(--test architecture --test first_letter --test refusals)

stage setup deploy/packages.sh test
# All targets: the binary, which the end-to-end tests start, and every test program.
stage build cargo build --release --locked --workspace --all-targets
stage fmt cargo fmt --all --check
stage clippy cargo clippy --release --locked --workspace --all-targets -- -D warnings
stage unit tests --lib --bins "${unit[@]}"
stage doc tests --doc
stage chart tests/chart.sh
# One at a time: each has processes of its own, and two cores.
stage e2e tests "${e2e[@]}" -- --test-threads=1
close
