# Shared by the scripts of this directory, which source it.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# step N OF TEXT...: says how far the script is.
step() {
    printf '\n[%s/%s] %s\n' "$1" "$2" "${*:3}"
}

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" -eq 0 ] || fail "run this as root: it mounts filesystems and installs packages"
}

# packages PROGRAM=PACKAGE...: installs the packages whose program is missing.
packages() {
    local pair program missing=()
    for pair in "$@"; do
        program=${pair%%=*}
        command -v "$program" >/dev/null || missing+=("${pair#*=}")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        echo "everything is there"
        return
    fi
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # The lists of a fresh machine are empty or stale.
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
