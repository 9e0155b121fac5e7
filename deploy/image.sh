#!/usr/bin/env bash
# Builds the container image from Debian's packages, without any registry.
# usage: image.sh [--context DIR | --tool PROGRAM] [--tag NAME]
#   --context DIR    only makes the context in DIR: Containerfile, rootfs/, data/, sbom.json
#   --tool PROGRAM   what builds: buildah, podman or docker [default: the first that is there]
#   --tag NAME       [default: localhost/postino:VERSION]
# The binary is $POSTINO_BIN; if that is unset, it is built. It must have been linked on the Debian
# release whose packages are taken, which is this machine's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")

context='' tool='' tag=''
while [ $# -gt 0 ]; do
    case $1 in
        --context) context=$2; shift 2 ;;
        --tool) tool=$2; shift 2 ;;
        --tag) tag=$2; shift 2 ;;
        *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
    esac
done

packages=(
    # What the binary is linked to.
    libc6 libgcc-s1 libstdc++6 gcc-12-base
    # For scripts, and for people who look around.
    bash libtinfo6 busybox-static
    ca-certificates
)
applets=(awk cat cp date df du env false grep head hostname id kill ls mkdir mv nslookup od ps rm sed sleep
    sort stat tail tee test touch tr true uname wc wget xargs)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
[ -n "$context" ] || context=$scratch/context
rootfs=$context/rootfs
[ ! -e "$rootfs" ] || { echo "image.sh: $rootfs is there already" >&2; exit 1; }

if [ -z "${POSTINO_BIN:-}" ]; then
    "$here/packages.sh" build
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
    cargo build --release --locked --workspace --bin postino --manifest-path "$top/Cargo.toml"
    POSTINO_BIN=$CARGO_TARGET_DIR/release/postino
fi

unpack() {
    local deb name
    mkdir "$scratch/debs"
    # apt downloads as a user of its own.
    chmod 755 "$scratch" && chmod 777 "$scratch/debs"
    if ! (cd "$scratch/debs" && apt-get download -qq "${packages[@]}"); then
        # The lists may be missing or old.
        apt-get update -qq
        (cd "$scratch/debs" && apt-get download -qq "${packages[@]}")
    fi
    # As Debian lays it out; tar keeps the links.
    mkdir -p "$rootfs/usr"/{bin,sbin,lib,lib64} "$rootfs/var/lib/dpkg/status.d"
    for name in bin sbin lib lib64; do
        ln -s "usr/$name" "$rootfs/$name"
    done
    for deb in "$scratch/debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -k --no-same-owner -C "$rootfs"
        # Where scanners look for packages without a package manager.
        dpkg-deb -f "$deb" >"$rootfs/var/lib/dpkg/status.d/$(dpkg-deb -f "$deb" Package)"
    done
    # What nobody reads there; copyrights stay.
    find "$rootfs/usr/share/doc" -mindepth 2 ! -type d ! -name copyright -delete
    find "$rootfs/usr/share/doc" -type d -empty -delete
    rm -rf "$rootfs/usr/share"/{man,info,lintian,locale,menu,gcc,gdb,bug,debianutils,initramfs-tools} \
        "$rootfs/usr/lib"/*/gconv
    find "$rootfs" -type f -perm /6000 -exec chmod ug-s {} +
}

# What the packages' scripts would do.
settle() {
    local applet
    for applet in "${applets[@]}"; do
        ln -s busybox "$rootfs/usr/bin/$applet"
    done
    ln -sf bash "$rootfs/usr/bin/sh"
    find "$rootfs/usr/share/ca-certificates" -name '*.crt' | LC_ALL=C sort | xargs cat \
        >"$rootfs/etc/ssl/certs/ca-certificates.crt"
    cat >"$rootfs/etc/passwd" <<'TEXT'
root:x:0:0:root:/root:/usr/sbin/nologin
postino:x:10001:10001:Postino:/var/lib/postino:/usr/sbin/nologin
TEXT
    printf 'root:x:0:\npostino:x:10001:\n' >"$rootfs/etc/group"
    printf 'hosts: files dns\n' >"$rootfs/etc/nsswitch.conf"
    cp /etc/os-release "$rootfs/usr/lib/os-release"
    ln -sf ../usr/lib/os-release "$rootfs/etc/os-release"
    install -d -m 1777 "$rootfs/tmp"
    install -D -m 755 "$POSTINO_BIN" "$rootfs/usr/local/bin/postino"
    strip "$rootfs/usr/local/bin/postino"
    install -d "$rootfs/var/lib/postino" "$context/data"
}

# The parts of the image, in CycloneDX's form: packages of Debian, and crates in the binary.
sbom() {
    cargo metadata --format-version 1 --locked --manifest-path "$top/Cargo.toml" \
        --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" >"$scratch/crates.json"
    python3 - "$1" "$scratch/crates.json" "$rootfs/var/lib/dpkg/status.d" <<'PYTHON'
import hashlib, json, os, sys
version, crates, packages = sys.argv[1:]
parts = []
for name in sorted(os.listdir(packages)):
    with open(os.path.join(packages, name)) as file:
        fields = dict(line.split(": ", 1) for line in file.read().splitlines() if ": " in line and line[0] != " ")
    parts.append({"type": "library", "name": name, "version": fields["Version"],
                  "purl": f"pkg:deb/debian/{name}@{fields['Version']}?arch={fields['Architecture']}"})
with open(crates) as file:
    metadata = json.load(file)
# Those that the binary is made of: not what only builds or tests need.
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = next(p["id"] for p in metadata["packages"] if p["name"] == "postino" and not p["source"])
found, waiting = set(), [root]
while waiting:
    this = waiting.pop()
    if this not in found:
        found.add(this)
        waiting += [d["pkg"] for d in nodes[this]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
for package in sorted(metadata["packages"], key=lambda p: (p["name"], p["version"])):
    if package["id"] in found and package["id"] != root:
        part = {"type": "library", "name": package["name"], "version": package["version"]}
        if package["license"]:
            part["licenses"] = [{"expression": package["license"]}]
        if package["source"]:
            part["purl"] = f"pkg:cargo/{package['name']}@{package['version']}"
        parts.append(part)
print(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
                  "metadata": {"component": {"type": "container", "name": "postino", "version": version}},
                  "components": parts}, indent=1))
PYTHON
}

mkdir -p "$context"
unpack
settle
version=$(sed -n 's/^appVersion: "\(.*\)"/\1/p' "$top/charts/postino/Chart.yaml")
sbom "$version" >"$context/sbom.json"
install -D -m 644 "$context/sbom.json" "$rootfs/usr/share/doc/postino/sbom.json"
# Readable for whoever runs it, whatever the umask of this shell is.
chmod -R a+rX "$rootfs"
cp "$here/Containerfile" "$context/"
echo "rootfs: $(du -sh "$rootfs" | cut -f1)"
[ "$context" = "$scratch/context" ] || exit 0

if [ -z "$tool" ]; then
    for tool in buildah podman docker; do
        ! command -v "$tool" >/dev/null || break
    done
fi
"$tool" build --tag "${tag:-localhost/postino:$version}" -f "$context/Containerfile" "$context"
