#!/usr/bin/env bash
# The farm on one machine: three daemons with states, identities and devices of their own, joined by
# invites, render one video together. Called by `./quickstart demo` from the root of the repository.
#
#   deploy/demo.sh BIN_DIR OUTPUT_DIR PROMPT SECONDS [--kill-one]
set -euo pipefail

bin=$1 output=$2 prompt=$3 seconds=$4 kill_one=${5:-}
names=(amber brook cedar)
state=$(mktemp -d "${TMPDIR:-/tmp}/sorafarm-demo-XXXXXX")
pids=()

say() {
    printf '\n==> %s\n' "$1"
}

stop_all() {
    local pid
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        while kill -0 "$pid" 2>/dev/null; do
            sleep 0.1
        done
    done
    rm -rf "$state"
}
trap stop_all EXIT

fail() {
    local name
    printf '\ndemo: %s\n' "$1" >&2
    for name in "${names[@]}"; do
        printf -- '--- %s\n' "$output/$name.log"
        tail -n 5 "$output/$name.log" || true
    done >&2
    exit 1
}

ctl() {
    local name=$1
    shift
    "$bin/soractl" "$@" --state "$state/$name"
}

# Any free ports: the demo must not meet a daemon that is already at work here.
start_node() {
    "$bin/sorad" --state "$state/$1" --name "$1" --listen 127.0.0.1 --control-port 0 --bulk-port 0 \
        --invite-port 0 --models models/mini --devices cpu0:threads=1 \
        </dev/null >"$output/$1.log" 2>&1 &
    pids+=($!)
    disown $! # bash would report its end
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "$what took too long"
        sleep 0.2
    done
}

sees_all() {
    [ "$(ctl "$1" nodes --json | grep -c '"state": "ready"')" -eq ${#names[@]} ]
}

start_farm() {
    local name code
    say "three daemons on this machine: ${names[*]}"
    for name in "${names[@]}"; do
        start_node "$name"
    done
    for name in "${names[@]}"; do
        wait_for 30 "starting $name" ctl "$name" nodes
    done
    say "a studio, and invites for the other two"
    ctl amber farm init --studio "Demo studio"
    for name in brook cedar; do
        code=$(ctl amber farm invite --name "$name" 2>/dev/null)
        ctl "$name" farm join "$code" >/dev/null
    done
    wait_for 30 "finding each other" sees_all amber
    ctl amber nodes
}

# Ends the last node for good once the job is well under way.
kill_later() {
    until [ "$(ctl amber list --json | grep -o '"progress": 0\.[3-9]' | wc -l)" -gt 0 ]; do
        sleep 0.5
    done
    kill -KILL "${pids[2]}"
}

render() {
    say "soractl submit --prompt \"$prompt\" --seconds $seconds"
    if [ -n "$kill_one" ]; then
        printf '(%s is going to be killed on the way)\n' "${names[2]}"
        kill_later &
    fi
    ctl amber submit --prompt "$prompt" --seconds "$seconds" -o "$output/demo.mp4" ||
        fail "the job did not finish; the line above says why"
    local job
    job=$(ctl amber list --all --json | sed -n 's/.*"job": "\([0-9a-f]*\)".*/\1/p' | head -n 1)
    ctl amber fetch "$job" --result contact -o "$output/contact.png" >/dev/null
    ctl amber fetch "$job" --result report -o "$output/report.json" >/dev/null
}

mkdir -p "$output"
start_farm
render
