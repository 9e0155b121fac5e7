"""The chart, and helm."""
import os
import subprocess
import tempfile

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CHART = f"{TOP}/charts/postino"
RELEASE = "mail"
NAMESPACE = "post"
ROLES = ("store", "routing", "queue", "ingress", "access")
# The files in values/, without their ends.
SETS = sorted(name.removesuffix(".yaml") for name in os.listdir(f"{HERE}/values"))
# The least that is allowed.
LEAST = {"hostname": "mail.example.org", "grpc": {"insecure": True}, "tls": {"selfSigned": True}}


class Refused(Exception):
    """What helm said."""


def helm(*arguments):
    done = subprocess.run([os.environ["HELM"], *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def values_of(name):
    return f"{HERE}/values/{name}.yaml"


def template(values, *arguments):
    """The manifests as text, from a file of values or a dict."""
    if isinstance(values, str):
        return helm("template", RELEASE, CHART, "-n", NAMESPACE, "-f", values, *arguments)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return template(file.name, *arguments)


def notes(values):
    """What helm says after an installation."""
    text = helm("install", RELEASE, CHART, "-n", NAMESPACE, "-f", values, "--dry-run=client")
    return text[text.index("\nNOTES:\n") + 1:]


def objects(manifests):
    """The objects in a text of manifests."""
    return [found for found in yaml.load_all(manifests, yaml.CSafeLoader) if found]


def merged(under, over):
    """`over` on top of `under`, both dicts."""
    result = dict(under)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            value = merged(result[key], value)
        result[key] = value
    return result


def pods(found):
    """(name, spec) of every pod that the objects make."""
    for one in found:
        match one["kind"]:
            case "Pod":
                yield one["metadata"]["name"], one["spec"]
            case "StatefulSet" | "Deployment" | "Job":
                yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def named(found, kind, end):
    """The one object of this kind whose name ends so."""
    one, = (o for o in found if o["kind"] == kind and o["metadata"]["name"].endswith(end))
    return one
