"""A farm of real daemons on loopback for tests and measurements: start, join, submit, kill.

Every daemon has its own state, identity and devices below one folder, ports of its own choice, and
ends with the farm. Python's standard library only.
"""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time


class FarmError(Exception):
    pass


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Node:
    """One sorad."""

    def __init__(self, farm, name, threads, roles, options):
        self.farm, self.name = farm, name
        self.state = os.path.join(farm.folder, name)
        self.log_path = self.state + ".log"
        self.process = None
        self.arguments = [farm.program("bin/sorad"), "--state", self.state, "--name", name,
                          "--listen", "127.0.0.1", "--control-port", "0", "--bulk-port", "0",
                          "--invite-port", "0", "--roles", roles, "--models", farm.model,
                          "--devices", f"cpu0:threads={threads}"] + list(options)

    def start(self, wait=True):
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=log)
        log.close()
        if wait:
            self.wait(lambda: self.ready(), 30, "start")
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise FarmError(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
        done = self.ctl("nodes", "--json", check=False)
        if done.returncode != 0:
            return False
        nodes = json.loads(done.stdout)
        own = [node for node in nodes if node["self"]][0]
        return bool(own["devices"]) and all(device["state"] in ("ready", "busy")
                                            for device in own["devices"])

    def ctl(self, *arguments, check=True, timeout=120):
        """soractl against this node."""
        command = [self.farm.program("bin/soractl")] + list(arguments) + ["--state", self.state]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=timeout, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise FarmError(f"soractl {' '.join(arguments)}: {done.returncode}\n"
                            f"{done.stderr.decode()}\n{self.log()[-3000:]}")
        return done

    def json(self, *arguments, **options):
        return json.loads(self.ctl(*arguments, "--json", **options).stdout)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self, number=signal.SIGKILL, wait=True):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
        if self.process and wait:
            self.process.wait(timeout=60)

    def wait(self, condition, seconds, what):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise FarmError(f"{self.name}: {what} took more than {seconds} s\n"
                                f"{self.log()[-4000:]}")
            time.sleep(0.1)

    # ---- jobs ----

    def submit(self, *arguments):
        return self.json("submit", "--model", os.path.basename(self.farm.model),
                         *arguments)["job"]

    def status(self, job):
        return self.json("status", job)

    def wait_state(self, job, states, seconds=120):
        found = {}

        def reached():
            done = self.ctl("status", job, "--json", check=False)
            if done.returncode == 0:
                found.update(json.loads(done.stdout))
            over = found.get("state") in ("done", "failed", "cancelled")
            if over and found["state"] not in states:
                raise FarmError(f"job {job[:8]} is {found['state']}, not {states}: "
                                f"{found['reason']}\n{self.log()[-4000:]}")
            return found.get("state") in states
        self.wait(reached, seconds, f"job {job[:8]} to be {'/'.join(states)}")
        return found

    def wait_done(self, job, seconds=120):
        found = self.wait_state(job, ("done", "failed", "cancelled"), seconds)
        if found["state"] != "done":
            raise FarmError(f"job {job[:8]} {found['state']}: {found['reason']}\n{self.log()}")
        return found

    def wait_step(self, job, step, seconds=120):
        """Until every shard is at `step` or further; its status then."""
        found = {}

        def reached():
            found.update(self.status(job))
            if found["state"] in ("done", "failed", "cancelled"):
                raise FarmError(f"job {job[:8]} is {found['state']} before step {step}")
            shards = found["shards"]
            return shards and all(shard["step"] >= step for shard in shards)
        self.wait(reached, seconds, f"step {step}")
        return found

    def fetch(self, job, result, path):
        self.ctl("fetch", job, "--result", result, "-o", path)
        return path


class Farm:
    """Nodes that know each other; use as a context."""

    def __init__(self, build, model, count=1, threads=1, roles="node,scheduler", options=()):
        self.build, self.model = build, model
        self.folder = tempfile.mkdtemp(prefix="sora-farm-")
        self.threads, self.roles, self.options = threads, roles, options
        self.nodes = []
        self.count = count

    def program(self, name):
        return os.path.join(self.build, name)

    def __enter__(self):
        try:
            for index in range(self.count):
                self.add()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def make(self, threads=None, roles=None, options=None):
        """A node that is not started and knows nobody."""
        node = Node(self, f"node{len(self.nodes)}", threads or self.threads, roles or self.roles,
                    self.options if options is None else options)
        self.nodes.append(node)
        return node

    def add(self, threads=None, roles=None, options=None):
        node = self.make(threads, roles, options).start()
        if len(self.nodes) > 1:
            code = self.nodes[0].json("farm", "invite")["code"]
            node.ctl("farm", "join", code)
            for either in (self.nodes[0], node):
                either.wait(lambda: self.ready_nodes(either) == len(self.nodes), 30, "all nodes")
        return node

    @staticmethod
    def ready_nodes(node):
        """Nodes that `node` hears, with every device ready."""
        return sum(other["silent_ms"] < 3000 and bool(other["devices"]) and
                   all(device["state"] == "ready" for device in other["devices"])
                   for other in node.json("nodes"))

    def stop(self):
        for node in self.nodes:
            node.kill(signal.SIGTERM, wait=False)
        for node in self.nodes:
            try:
                if node.process:
                    node.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                node.kill()
        if os.environ.get("SORA_KEEP_FARM"):
            print("kept", self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def home(self):
        return self.nodes[0]


def render_reference(build, model, folder, arguments):
    """What one device gives: path of the final latents and of the frames' folder."""
    latents, frames = os.path.join(folder, "ref.safetensors"), os.path.join(folder, "frames")
    done = subprocess.run([os.path.join(build, "bin/sora-worker"), "render", "--model", model,
                           "-o", os.path.join(folder, "ref.mp4"), "--dump-latents", latents,
                           "--dump-frames", frames, "--quiet"] + list(arguments),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=3600)
    if done.returncode != 0:
        raise FarmError(done.stderr.decode())
    return latents, frames
