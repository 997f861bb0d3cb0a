#!/bin/sh
# Installs what building, testing and running Sorafarm needs, on Debian 12 and 13, with apt.
# Quick and silent about packages that are there already.
set -eu

usage() {
    cat <<'END'
usage: deploy/install-deps.sh [--dry-run]

Installs the Debian packages that Sorafarm is built, tested and run with, saying each one's
purpose. Needs root or sudo only when something is missing.

  --dry-run   say what would be installed and change nothing
  --help      this text
END
}

# One package a line: name, then why it is needed. docs/DEPENDENCIES.md says more.
packages() {
    cat <<'END'
build-essential      C and C++ compilers, libc headers
cmake                build system
ninja-build          runs the build
pkg-config           finds the libraries
python3              the checks of tests/tidy (standard library only)
git                  lists the source files for tests/tidy
clang                second compiler, fuzz targets
libclang-rt-dev      libFuzzer and the sanitizers for clang
clang-19             kernels for GPUs: AMD code objects and PTX
lld-19               links AMD code objects
llvm-19              looks into them: the instruction gates of the tests
clang-format         source format, checked by tests/tidy
libcmocka-dev        unit tests
libdnnl-dev          oneDNN: what the benchmarks time the kernels beside
libjansson-dev       JSON: model configurations and checkpoint headers
libsentencepiece-dev the tokenizer of the text encoder
libutf8proc-dev      Unicode normalisation of prompts
libcyaml-dev         YAML job files
libyaml-dev          what libcyaml links; its package does not ask for it
libzmq3-dev          ZeroMQ: connections between daemons, with CURVE
libprotobuf-c-dev    Protocol Buffers: the messages
protobuf-c-compiler  makes C from the messages' description
libsodium-dev        keys, signatures, guarded memory
libsqlite3-dev       SQLite: what a home must not forget
libseccomp-dev       system call filter of the worker processes
libsystemd-dev       start and stop messages to systemd
libavcodec-dev       FFmpeg: video and picture encoders
libavformat-dev      FFmpeg: .mp4 files
libavutil-dev        FFmpeg: shared utilities
libswscale-dev       FFmpeg: colour conversion and scaling
END
}

fail() {
    printf 'install-deps: %s\n' "$1" >&2
    exit 1
}

# shellcheck disable=SC1091 # a file of the system
check_system() {
    id=unknown version=unknown
    if [ -r /etc/os-release ]; then
        id=$(. /etc/os-release && printf '%s' "${ID:-unknown}")
        version=$(. /etc/os-release && printf '%s' "${VERSION_ID:-unknown}")
    fi
    case "$id $version" in
    "debian 12" | "debian 13") ;;
    *)
        fail "this is $id $version; the script knows Debian 12 and 13. Install what \
docs/DEPENDENCIES.md lists with your own package manager, then build with cmake --preset release."
        ;;
    esac
}

is_installed() {
    status=$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null || true)
    [ "$status" = installed ]
}

# apt must not stop and ask; a lock held by another apt is waited for.
apt() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"
    fi
}

# apt-cache knows a candidate only when the lists were fetched once.
lists_are_missing() {
    for package in $1; do
        apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [^(]' || return 0
    done
    return 1
}

install_missing() {
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1 ||
        fail "root is needed to install packages, and there is no sudo. As root, run: \
apt-get install$1"
    updated=no
    if lists_are_missing "$1"; then
        echo "install-deps: fetching the package lists"
        apt update -qq || fail "apt-get update failed; check the network and /etc/apt/sources.list"
        updated=yes
    fi
    # shellcheck disable=SC2086 # one word per package
    if ! apt install -y -qq --no-install-recommends $1 >"$log" 2>&1; then
        # Lists that are too old name versions that the mirror no longer has.
        [ "$updated" = no ] && apt update -qq &&
            apt install -y -qq --no-install-recommends $1 >"$log" 2>&1 && return
        tail -n 15 "$log" >&2
        fail "apt-get install failed; the lines above say why"
    fi
}

dry_run=no
case "${1:-}" in
"") ;;
--dry-run) dry_run=yes ;;
-h | --help)
    usage
    exit 0
    ;;
*)
    usage >&2
    fail "unknown option $1"
    ;;
esac
[ $# -le 1 ] || fail "one option at most; see --help"
check_system

log=$(mktemp) list=$(mktemp)
trap 'rm -f "$log" "$list"' EXIT
packages >"$list"
missing='' count=0
while read -r package why; do
    count=$((count + 1))
    is_installed "$package" && continue
    [ -n "$missing" ] || echo "install-deps: these packages are missing:"
    printf '  %-20s %s\n' "$package" "$why"
    missing="$missing $package"
done <"$list"

if [ -z "$missing" ]; then
    echo "install-deps: all $count packages are there"
elif [ "$dry_run" = yes ]; then
    echo "install-deps: dry run, nothing was installed"
else
    install_missing "$missing"
    echo "install-deps: done"
fi
