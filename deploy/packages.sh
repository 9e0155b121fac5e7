#!/usr/bin/env bash
# Installs Debian packages that are missing, and starts none of the daemons in them.
# usage: packages.sh build|test     "build": what compiling needs; "test": that, and the mail
# programs that the end-to-end tests talk to. Does nothing, at once, where all are there.
set -euo pipefail

build=(g++ make pkg-config perl libclang-dev)
test=(
    # Real servers: the far end of remote delivery, the peers of the benchmark, DNS.
    postfix dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd unbound
    # Real clients.
    swaks libnet-ssleay-perl isync curl neomutt getmail6
    # What drives them.
    python3 openssl procps iproute2 ca-certificates
)

case ${1:-} in
    build) wanted=("${build[@]}") ;;
    test) wanted=("${build[@]}" "${test[@]}") ;;
    *) echo "usage: packages.sh build|test" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "These packages are missing; install them as root: ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
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
