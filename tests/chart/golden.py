"""Files that are kept of what was right once: values.schema.json, and manifests of every set."""
import json
import os

import yaml

import binary
import chart
import schema

SCHEMA = f"{chart.CHART}/values.schema.json"


def wanted_schema():
    """The schema as it should be. Without the binary, its part of it is taken for right."""
    with open(f"{chart.CHART}/values.yaml") as file:
        values = yaml.safe_load(file)
    if binary.PATH:
        settings = schema.settings(binary.run("config", "default"))
    else:
        with open(SCHEMA) as file:
            settings = json.load(file)["properties"]["config"]
    return json.dumps(schema.schema(values, settings), indent=1) + "\n"


def files():
    """Name to text of all manifests."""
    found = {f"{name}.yaml": chart.template(chart.values_of(name)) for name in chart.SETS}
    found |= {f"{name}.txt": chart.notes(chart.values_of(name)) for name in ("full", "minimal", "single")}
    return found


def path(name):
    return f"{chart.HERE}/golden/{name}"


def update():
    text = wanted_schema()
    with open(SCHEMA, "w") as file:
        file.write(text)
    os.makedirs(f"{chart.HERE}/golden", exist_ok=True)
    for name in os.listdir(f"{chart.HERE}/golden"):
        os.remove(path(name))
    for name, text in files().items():
        with open(path(name), "w") as file:
            file.write(text)
