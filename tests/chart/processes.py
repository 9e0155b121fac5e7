"""The pods of the chart as processes on loopback, with the settings that were rendered for them."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import binary

# For anything that is waited for.
PATIENCE = 60
# A domain whose server does not answer.
ELSEWHERE = "elsewhere.example"
GRPC = ("store", "routing", "queue")
CLIENTS = {"ingress": ("smtp", "submission", "submissions"), "access": ("imap", "imaps", "pop3", "pop3s")}


def free_ports(count):
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


def until(what, condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.05)
    return found


class Processes:
    """`config` is the rendered ConfigMap's data; `stores` endpoints are known before they start."""

    def __init__(self, config, stores):
        self.config = config
        self.scratch = tempfile.TemporaryDirectory()
        self.running = {}
        *self.store_ports, self.routing_port, self.queue_port = free_ports(stores + 2)
        self.stores = [f"http://127.0.0.1:{port}" for port in self.store_ports]

    def start(self, role, number=0):
        """Starts a pod's process and waits until it listens."""
        name = f"{role}-{number}"
        data = os.path.join(self.scratch.name, name)
        os.mkdir(data)
        settings = os.path.join(data, "postino.toml")
        with open(settings, "w") as file:
            file.write(self.config[f"{role}.toml"])
        flags = ["--data", data, "--http", "127.0.0.1:0", "--set", f"store_client.endpoints={json.dumps(self.stores)}"]
        for listener in CLIENTS.get(role, ()):
            flags += [f"--{listener}", "127.0.0.1:0"]
        if role in ("queue", "ingress"):
            flags += ["--set", f'routing_client.endpoints=["http://127.0.0.1:{self.routing_port}"]']
        if role == "routing":
            flags += ["--route", f"{ELSEWHERE}=127.0.0.1:1"]
        environment = {}
        if role in GRPC:
            port = {"store": self.store_ports[number], "routing": self.routing_port, "queue": self.queue_port}[role]
            environment["POSTINO__LISTEN__ADMIN"] = f"127.0.0.1:{port}"
        with open(os.path.join(data, "log"), "w") as log:
            process = subprocess.Popen([binary.PATH, "serve", "--roles", role, "--config", settings, *flags],
                                       env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running[name] = process
        until(f"{name} listens\n{self.log(name)}", lambda: process.poll() is not None or os.path.exists(f"{data}/ports.json"))
        if process.poll() is not None:
            raise AssertionError(f"{name} has ended: {self.log(name)}")

    def log(self, name):
        with open(os.path.join(self.scratch.name, name, "log")) as file:
            return file.read()[-4000:]

    def address(self, name, listener):
        with open(os.path.join(self.scratch.name, name, "ports.json")) as file:
            return json.load(file)[listener]

    def get(self, name, path):
        """(status, text) of a page of its HTTP port."""
        try:
            with urllib.request.urlopen(f"http://{self.address(name, 'http')}{path}", timeout=10) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self):
        """As Kubernetes does; the exit statuses by name."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        ended = {}
        for name, process in self.running.items():
            try:
                ended[name] = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                ended[name] = process.wait()
        self.running = {}
        return ended

    def close(self):
        for process in self.running.values():
            process.kill()
            process.wait()
        self.scratch.cleanup()
