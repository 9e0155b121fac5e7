#!/usr/bin/env bash
# Installs Debian packages that are missing, and starts none of the daemons in them.
# usage: packages.sh build|test     "build": what compiling needs; "test": that, and the mail
# programs that the end-to-end tests talk to. Does nothing, at once, where all are there.
# Exim and OpenSMTPD cannot be installed beside Postfix: their packages are unpacked, not installed,
# into $POSTINO_SERVERS (~/.cache/postino-servers).
set -euo pipefail

build=(g++ make pkg-config perl libclang-dev)
test=(
    # Real servers: the far end of remote delivery, the peers of the benchmark, DNS.
    postfix dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd unbound
    # Real clients.
    swaks libnet-ssleay-perl isync curl neomutt getmail6
    # Libraries of the servers below.
    libdb5.3 libgnutls-dane0 libgnutls30 libidn12 libidn2-0 libnsl2 libpcre2-8-0 libcrypt1
    libevent-2.1-7 libpam0g libssl3 zlib1g
    # What drives them.
    python3 python3-venv openssl procps iproute2 ca-certificates
    # What faults are made with.
    nftables faketime mount
)
# The last for promtool, which checks the chart's alerts.
unpacked=(exim4-daemon-light opensmtpd prometheus)
servers=${POSTINO_SERVERS:-${HOME:-/tmp}/.cache/postino-servers}

case ${1:-} in
    build) wanted=("${build[@]}") ;;
    test) wanted=("${build[@]}" "${test[@]}") ;;
    *) echo "usage: packages.sh build|test" >&2; exit 2 ;;
esac

unpack() {
    local package scratch absent=()
    for package in "${unpacked[@]}"; do
        [ -d "$servers/$package" ] || absent+=("$package")
    done
    [ ${#absent[@]} -gt 0 ] || return 0
    echo "unpacking: ${absent[*]}"
    mkdir -p "$servers"
    scratch=$(mktemp -d "$servers/partial.XXXXXX")
    for package in "${absent[@]}"; do
        if ! (cd "$scratch" && apt-get download -qq "$package" 2>/dev/null); then
            # The lists may be missing or old.
            "${as_root[@]}" apt-get update -qq
            (cd "$scratch" && apt-get download -qq "$package")
        fi
        dpkg -x "$scratch/$package"_*.deb "$scratch/$package"
        # In one step: what is there is whole.
        [ -d "$servers/$package" ] || mv -T "$scratch/$package" "$servers/$package"
    done
    rm -rf "$scratch"
}

missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
if [ ${#missing[@]} -eq 0 ]; then
    [ "$1" = build ] || unpack
    exit 0
fi
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    echo "These packages are missing; install them as root: ${missing[*]}" >&2
    exit 1
fi

# invoke-rc.d asks this file before it starts a daemon; 101 means no. What stood there before
# comes back afterwards.
policy=/usr/sbin/policy-rc.d
kept=
restore() {
    if [ -n "$kept" ]; then
        "${as_root[@]}" mv -f "$kept" "$policy"
    else
        "${as_root[@]}" rm -f "$policy"
    fi
}
if [ -e "$policy" ]; then
    kept=$policy.before-postino
    "${as_root[@]}" cp -p "$policy" "$kept"
fi
trap restore EXIT
printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
"${as_root[@]}" chmod 755 "$policy"

echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
[ "$1" = build ] || unpack
