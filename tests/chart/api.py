"""An API server that knows a few objects: enough for helm's `lookup`."""
import contextlib
import http.server
import json
import os
import tempfile
import threading

import yaml

# The kinds that helm finds in the chart, or asks for.
RESOURCES = {
    "v1": [("configmaps", "ConfigMap"), ("pods", "Pod"), ("services", "Service"),
           ("serviceaccounts", "ServiceAccount")],
    "apps/v1": [("deployments", "Deployment"), ("statefulsets", "StatefulSet")],
    "batch/v1": [("jobs", "Job")],
    "networking.k8s.io/v1": [("networkpolicies", "NetworkPolicy")],
    "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget")],
}


NOT_FOUND = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"}


def answer(objects, path):
    """(status, body) for a path; `objects` is what the cluster holds."""
    if path == "/version":
        return 200, {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
    if path == "/api":
        return 200, {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = []
        for version in RESOURCES:
            group, slash, number = version.rpartition("/")
            if slash:
                this = {"groupVersion": version, "version": number}
                groups.append({"name": group, "versions": [this], "preferredVersion": this})
        return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    for version, kinds in RESOURCES.items():
        root = f"/{'api' if version == 'v1' else 'apis'}/{version}"
        if path == root:
            return 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [
                {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get", "list"]}
                for plural, kind in kinds]}
        for plural, kind in kinds:
            if not path.startswith(f"{root}/namespaces/"):
                continue
            namespace, _, rest = path.removeprefix(f"{root}/namespaces/").partition("/")
            these = [one for one in objects if one["kind"] == kind and one["metadata"]["namespace"] == namespace]
            if rest == plural:
                return 200, {"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": these}
            for one in these:
                if rest == f"{plural}/{one['metadata']['name']}":
                    return 200, one
    return 404, NOT_FOUND


@contextlib.contextmanager
def serving(objects):
    """The flags with which helm asks this server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            code, body = answer(objects, self.path.partition("?")[0])
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, \
            tempfile.TemporaryDirectory() as scratch:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        path = os.path.join(scratch, "config")
        with open(path, "w") as file:
            yaml.safe_dump({
                "apiVersion": "v1", "kind": "Config", "current-context": "here",
                "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": ""}}],
            }, file)
        try:
            yield ["--kubeconfig", path, "--dry-run=server", "--disable-openapi-validation"]
        finally:
            server.shutdown()
            thread.join()
