#!/usr/bin/env python3
"""What goes wrong in a farm and what its users are told: bad input, daemons that are not there,
full disks, broken models, workers killed and nodes that fall silent.

Usage: test_farm_faults.py BUILD_DIR SOURCE_DIR [TEST...]
Uses a small random-weight model of tests/goldens. A disk is made full by a small tmpfs, which
needs the right to mount: without it those tests are skipped.
"""
import json
import os
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from farm import Farm, FarmError, digest, render_reference  # noqa: E402

BUILD, SOURCE = sys.argv[1], sys.argv[2]
MODEL = os.path.join(SOURCE, "tests/goldens/models/d_mini")
NOBODY = 65534
JOB = ["--prompt", "a red balloon over the sea", "--frames", "121", "--size", "96x64", "--seed", "5"]
reference = {}


def steps_of(count):
    return JOB + ["--steps", str(count)]


def reference_of(steps):
    """Digest of the latents of one device; made once for each number of steps."""
    if steps not in reference:
        folder = tempfile.mkdtemp(prefix="sora-reference-")
        latents, _ = render_reference(BUILD, MODEL, folder, steps_of(steps))
        reference[steps] = digest(latents)
        shutil.rmtree(folder)
    return reference[steps]


class FaultTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sora-faults-")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def one_line(self, done, status, *parts):
        """It ended with `status` and one line that holds all `parts`."""
        errors = done.stderr.decode(errors="replace").strip()
        self.assertEqual(done.returncode, status, errors)
        self.assertEqual(errors.count("\n"), 0, errors)
        self.assertLess(len(errors), 700, errors)
        self.assertFalse(re.search(r"[\x00-\x1f\x7f]", errors), errors)
        for part in parts:
            self.assertIn(part, errors)

    def same_as_one_device(self, node, job, steps, seconds=60):
        found = node.wait_done(job, seconds)
        path = self.path("latents.safetensors")
        node.fetch(job, "latents", path)
        self.assertEqual(digest(path), reference_of(steps))
        return found


def program(name, *arguments, **options):
    folder = os.path.join(BUILD, "bin")
    if "user" in options:  # who may not look into the folder of the build
        folder = tempfile.mkdtemp(prefix="sora-bin-")
        os.chmod(folder, 0o755)
        for file in ("sorad", "soractl", "sora-worker"):
            shutil.copy(os.path.join(BUILD, "bin", file), folder)
    try:
        return run_program(os.path.join(folder, name), *arguments, **options)
    finally:
        if "user" in options:
            shutil.rmtree(folder)


def run_program(path, *arguments, **options):
    return subprocess.run([path, *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, **options)


# ---- bad input ----

# Of every option of submit: values that cannot be. Empty: any text can be, or it takes none.
SUBMIT_BAD = {
    "job": ["/nonexistent/job.yaml"], "name": ["", "n" * 129, "a\x01b"], "model": ["", "m" * 4097],
    "prompt": ["", "x" * 102401, "a\x1bb", b"a\xff\xfe"], "negative": ["n" * 16385, "a\x07b"],
    "seconds": ["0", "-1", "7201", "nan", "inf", "1e400", "five", "", "1 2"],
    "frames": ["0", "-5", "262145", "1.5", "x", "99999999999999999999"],
    "size": ["0x0", "15x15", "8193x64", "64", "64x", "x64", "axb", "64x64x64"],
    "fps": ["0", "-24", "121", "nan", "x"], "seed": ["-1", "9007199254740992", "x", "1.5"],
    "steps": ["0", "-3", "1001", "x"], "guidance": ["0", "101", "nan", "x"],
    "shift": ["0", "-1", "101", "x"], "solver": ["eular", ""], "overlap": ["-1", "0", "1023", "x"],
    "noise-kind": ["white"], "noise-share": ["0", "1.1", "-1", "nan", "x"],
    "codec": ["h246", "mpeg"], "quality": ["0", "52", "64", "x"], "bitrate": ["999", "1000000001", "x"],
    "pixel-format": ["yuv421p", "yuv", ""], "container": ["avi", ""], "output": ["/nonexistent/dir/o.mp4"],
    "priority": ["-101", "101", "x"],
    "wait": [], "keep-latents": [], "dry-run": [], "state": [], "json": [], "help": [],
}
SORAD_BAD = {
    "config": ["/nonexistent/sorad.yaml"], "state": ["", "s" * 901], "name": ["", "n" * 64, "a\x01"],
    "listen": ["", "here", "1.2.3", "256.1.1.1"],
    "control-port": ["-1", "65536", "x", "7711"], "bulk-port": ["-1", "65536", "x", "7712"],
    "invite-port": ["-1", "65536", "x", "7710"], "peers": ["", "brook", "brook:0", "brook:65536"],
    "roles": ["", "render", "node,,scheduler"],
    "devices": ["", "cpu0:threads=0", "cpu0:threads=x", "cpu0:thread=1", "cpu0,cpu0",
                "cpu0:memory=-1", "npu0", "gpu16", "gpu0:threads=2", "gpu0:precision=f8"],
    "hours": ["", "25:00-26:00", "8-9", "08:00"], "memory": ["", "-1", "12Q", "0", "63M"],
    "models": ["", "/nonexistent/model"], "blob-limit": ["", "0", "-1", "x"],
    "worker": ["", "/nonexistent/sora-worker"], "log-level": ["loud"],
    "keep": ["", "0d", "-1d", "30", "3651d", "1w", "30dd"],
    "beacon": [], "check-config": [], "help": [], "manual": [], "version": [],
}
COMMAND_ONLY = ("job", "output", "wait", "keep-latents", "dry-run", "state", "json", "help",
                "config", "check-config", "manual", "version", "priority")


def options_of(name, *command):
    """Long options as its help lists them."""
    text = program(name, *command, "--help").stdout.decode()
    return set(re.findall(r"^ {2,6}(?:-., )?--([a-z-]+)", text, re.M))


class BadInput(FaultTest):
    @classmethod
    def setUpClass(cls):
        cls.farm = Farm(BUILD, MODEL)
        cls.farm.__enter__()
        cls.home = cls.farm.home

    @classmethod
    def tearDownClass(cls):
        cls.farm.stop()

    def tearDown(self):
        self.assertIsNone(self.home.process.poll(), self.home.log())
        self.assertEqual(self.home.json("list")["jobs"], [])

    def refused(self, arguments, *parts):
        self.one_line(self.home.ctl("submit", *arguments, check=False), 2, *parts)

    @staticmethod
    def complete(name):
        """The arguments of a good job without option `name`."""
        good = {"prompt": "x", "seconds": "1", "size": "96x64"}
        good.pop({"frames": "seconds"}.get(name, name), None)
        return [word for key, value in good.items() for word in ("--" + key, value)]

    def test_every_option_out_of_range(self):
        self.assertEqual(set(SUBMIT_BAD), options_of("soractl", "submit"))
        for name, values in SUBMIT_BAD.items():
            for value in values:
                with self.subTest(option=name, value=value[:40]):
                    word = b"--" + name.encode() + b"=" + value if isinstance(value, bytes) else \
                        f"--{name}={value}"
                    self.refused(self.complete(name) + [word], name.split("-")[0])

    def test_every_key_of_a_job_file_out_of_range(self):
        for name, values in SUBMIT_BAD.items():
            for value in values if name not in COMMAND_ONLY else []:
                if isinstance(value, bytes):
                    continue  # no YAML at all: test_job_files_that_are_none
                with self.subTest(key=name, value=value[:40]):
                    good = dict(zip(*[iter(word.lstrip("-") for word in self.complete(name))] * 2))
                    good[name.replace("-", "_")] = value
                    lines = [f"{key}: {json.dumps(text)}\n" for key, text in good.items()]
                    self.refused([self.file("job.yaml", "".join(lines))], name.split("-")[0])

    def test_unknown_keys_suggest_the_nearest(self):
        for text, near in (("prompt: x\nsecond: 5\n", "seconds"), ("promt: x\n", "prompt"),
                           ("shots:\n  - prompt: x\n    seconds: 1\n    cutt: false\n", "cut")):
            self.refused([self.file("job.yaml", text)], "job.yaml", near)
        self.refused(["--prompt", "x", "--guidence", "2"], "--guidance")
        config = self.file("sorad.yaml", "control_prt: 7710\n")
        self.one_line(program("sorad", "--check-config", "--config", config), 2, "control_port")

    def test_shots_out_of_range(self):
        shot = "  - prompt: x\n    seconds: 1\n"
        for text, part in (("shots: []\n", "shot"), ("shots:\n", "line 1"), ("shots: 5\n", "line 1"),
                           ("shots:\n" + shot * 257, "256"),
                           ("shots:\n  - prompt: x\n    seconds: -1\n", "seconds"),
                           ("shots:\n  - prompt: x\n", "seconds"),
                           ("shots:\n  - seconds: 5\n", "prompt"),
                           ("seconds: 5\nshots:\n" + shot, "seconds"),
                           ("prompt: [1, 2]\nseconds: 1\n", "line 1"),
                           ("", "empty"), ("- a\n- b\n", ""), ("prompt: 'x\n", ""),
                           ("prompt: &a x\nseconds: 1\nprompt: y\n", "prompt")):
            with self.subTest(text=text[:40]):
                self.refused([self.file("job.yaml", text)], part)

    def test_job_files_that_are_none(self):
        self.refused([self.path("")], self.folder)
        self.refused([self.file("a.bin", os.urandom(4096))], "a.bin")
        self.refused([self.file("latin.yaml", b"prompt: a\xff\xfe\n")], "latin.yaml", "UTF-8")
        self.refused([self.file("null.yaml", b"prompt: a\0b\n")], "null.yaml")
        self.refused([self.file("big.yaml", b"# " + b"x" * (10 << 20))], "big.yaml", "1")
        self.refused(["/dev/zero"], "/dev/zero")
        self.refused([self.path("none.yaml")], "none.yaml")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_a_job_file_that_may_not_be_read(self):
        os.chmod(self.folder, 0o755)
        path = self.file("own.yaml", "prompt: x\nseconds: 1\n")
        os.chmod(path, 0o600)
        done = program("soractl", "submit", path, "--state", self.home.state, user=NOBODY)
        self.one_line(done, 3, "own.yaml", "Permission denied")

    def test_a_prompt_of_100_kb_is_rendered(self):
        prompt = ("a red balloon over the sea " * 4000)[:102400]
        for arguments in (["--prompt", prompt],
                          [self.file("job.yaml", "prompt: " + json.dumps(prompt) + "\n")]):
            job = self.home.submit(*arguments, "--frames", "5", "--size", "96x64", "--steps", "2")
            found = self.home.wait_done(job, 30)
            self.assertLess(len(found["name"]), 200)

    def test_every_key_of_sorad_out_of_range(self):
        self.assertEqual(set(SORAD_BAD), options_of("sorad"))
        for name, values in SORAD_BAD.items():
            for value in values:
                with self.subTest(option=name, value=value[:40]):
                    self.one_line(program("sorad", "--check-config", f"--{name}={value}"), 2,
                                  name.split("-")[0].rstrip("s") if name != "config" else value)
                if name in COMMAND_ONLY and name != "state":
                    continue
                with self.subTest(key=name, value=value[:40]):
                    path = self.file("sorad.yaml", name.replace("-", "_") + ": " +
                                     json.dumps(value) + "\n")
                    self.one_line(program("sorad", "--check-config", "--config", path), 2,
                                  name.split("-")[0].rstrip("s"))


# ---- start, models ----


class Start(FaultTest):
    def test_straight_after_the_start(self):
        """No advert was heard yet, no model is named: the only one is taken, with a note."""
        with Farm(BUILD, MODEL, count=0) as farm:
            node = farm.make()
            node.start(wait=False)
            node.wait(lambda: "ready name=" in node.log(), 20, "start")
            done = node.ctl("submit", *steps_of(8), "--keep-latents")
            self.assertEqual(done.stderr.decode(),
                             "note: model d_mini is used, the only one of this farm\n")
            found = self.same_as_one_device(node, done.stdout.decode().strip(), 8)
            self.assertNotIn("started anew", node.log())
            self.assertEqual([(shard["node"], shard["device"], shard["state"])
                              for shard in found["shards"]], [("node0", "cpu0", "done")])

    def test_models(self):
        """Of four, one has a weight that is no number, one is cut short and one is gone."""
        names = ("good", "nan", "cut", "gone")
        for name in names:
            shutil.copytree(MODEL, self.path(name))
        weight = put_nan(self.path("nan/transformer/diffusion_pytorch_model.safetensors"))
        with Farm(BUILD, self.path("good"), options=("--models", ",".join(
                self.path(name) for name in names))) as farm:
            home = farm.home
            home.wait(lambda: len(home.json("models")) == 4, 20, "four models")
            os.truncate(self.path("cut/transformer/diffusion_pytorch_model.safetensors"), 10000)
            shutil.rmtree(self.path("gone"))
            self.one_line(home.ctl("submit", *JOB, check=False), 2, "several", "--model",
                          *names)
            running = self.submit(home, "good", 30)
            bad = self.submit(home, "nan", 4)
            broken = {name: self.submit(home, name, 4) for name in ("cut", "gone")}
            after = self.submit(home, "good", 4)
            found = home.wait_state(bad, ("failed",), 60)
            self.assertIn("not finite: weight " + weight, found["reason"])
            self.assertNotIn("\n", found["reason"])
            for name, job in broken.items():
                found = home.wait_state(job, ("failed",), 30)
                self.assertIn("cannot be made on node0", found["reason"])
                self.assertIn(self.path(name) + "/", found["reason"])
                self.assertEqual(home.ctl("logs", job).stdout.decode().count("failed on"), 1)
            self.same_as_one_device(home, running, 30)
            home.wait_done(after)

    def submit(self, home, model, steps):
        return home.json("submit", *steps_of(steps), "--model", model, "--keep-latents")["job"]

    def test_a_model_removed_while_it_is_used(self):
        shutil.copytree(MODEL, self.path("d_mini"))
        with Farm(BUILD, self.path("d_mini")) as farm:
            job = self.submit(farm.home, "d_mini", 100)
            farm.home.wait_step(job, 1)
            shutil.rmtree(self.path("d_mini"))
            self.same_as_one_device(farm.home, job, 100)


def put_nan(path):
    """Makes the first value of the last float tensor a NaN; its name."""
    with open(path, "r+b") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        head = json.loads(file.read(size))
        name = max(key for key in head if key != "__metadata__")
        wide = {"F32": b"\0\0\xc0\x7f", "BF16": b"\xc0\x7f", "F16": b"\0\x7e"}[head[name]["dtype"]]
        file.seek(8 + size + head[name]["data_offsets"][0])
        file.write(wide)
    return name


# ---- daemons, workers, nodes ----


class Daemons(FaultTest):
    def test_killed_and_not_started_again(self):
        with Farm(BUILD, MODEL) as farm:
            farm.home.kill()
            for arguments in (["list"], ["submit", *JOB]):
                self.one_line(farm.home.ctl(*arguments, check=False), 2, "sorad", "start it with")

    def test_watch_survives_a_restart(self):
        with Farm(BUILD, MODEL) as farm:
            job = farm.home.submit(*steps_of(150), "--keep-latents")
            watch = subprocess.Popen([farm.program("bin/soractl"), "watch", job, "--state",
                                      farm.home.state], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE)
            farm.home.wait_step(job, 1)
            farm.home.kill()
            farm.home.start()
            self.same_as_one_device(farm.home, job, 150)
            output, errors = watch.communicate(timeout=30)
            self.assertEqual(watch.returncode, 0, errors)
            self.assertIn(b"done", errors + output)

    def test_a_home_of_a_newer_version(self):
        with Farm(BUILD, MODEL) as farm:
            job = farm.home.submit(*steps_of(2))
            farm.home.wait_done(job)
            farm.home.kill(signal.SIGTERM)
            path = os.path.join(farm.home.state, "home.db")
            known = change_version(path, 99)
            done = subprocess.run(farm.home.arguments, stderr=subprocess.PIPE, timeout=30)
            self.assertEqual(done.returncode, 1)
            last = done.stderr.decode().splitlines()[-1]
            for part in ("home.db", "99", "newer"):
                self.assertIn(part, last)
            change_version(path, known)
            farm.home.start()
            self.assertEqual(farm.home.status(job)["state"], "done")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_a_state_of_another_user(self):
        os.chmod(self.folder, 0o755)
        os.mkdir(self.path("state"), 0o700)
        for state in ("state", "closed/state"):
            done = program("sorad", "--state", self.path(state), "--control-port", "0", user=NOBODY)
            self.assertEqual(done.returncode, 1, done.stderr)
            lines = done.stderr.decode().splitlines()
            self.assertIn(self.path(state.split("/")[0]), lines[-1])
            self.assertIn("permissions", lines[-1])


def change_version(path, version):
    database = sqlite3.connect(path)
    before = database.execute("PRAGMA user_version").fetchone()[0]
    database.execute(f"PRAGMA user_version = {version}")
    database.commit()
    database.close()
    return before


def worker_of(node):
    """The process of its device."""
    pid = node.process.pid
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            with open(f"/proc/{child}/cmdline", "rb") as command:
                if b"\0serve\0" in command.read():
                    return int(child)
    raise FarmError(f"{node.name} has no worker")


class Silence(FaultTest):
    def start(self, farm):
        """A job on both nodes."""
        job = farm.home.submit(*steps_of(150), "--keep-latents")
        found = farm.home.wait_step(job, 2)
        self.assertEqual(len({shard["node"] for shard in found["shards"]}), 2)
        return job

    def test_a_worker_killed(self):
        with Farm(BUILD, MODEL, count=2) as farm:
            job = self.start(farm)
            os.kill(worker_of(farm.nodes[1]), signal.SIGKILL)
            self.same_as_one_device(farm.home, job, 150)
            self.assertIn("worker failed", farm.nodes[1].log())

    def test_a_node_silent_for_8_s_is_suspected(self):
        self.check_silence(8, "suspected")

    def test_a_node_silent_for_20_s_is_lost(self):
        self.check_silence(20, "lost")

    def check_silence(self, seconds, state):
        with Farm(BUILD, MODEL, count=2) as farm:
            home, other = farm.nodes
            job = self.start(farm)
            self.silent(home, other, seconds, state)
            found = self.same_as_one_device(home, job, 150)
            self.assertEqual(found["moves"] > 0, state == "lost", found)
            home.wait(lambda: Farm.ready_nodes(home) == 2, 20, "both nodes")
            home.wait_done(home.submit(*steps_of(4)))

    def silent(self, home, other, seconds, state):
        """Stops a node and its worker as one, as when a machine sleeps."""
        pids = [other.process.pid, worker_of(other)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            line = f"a node changed node={other.name} state={state}"
            before = home.log().count(line)
            time.sleep(seconds)
            self.assertGreater(home.log().count(line), before)
            if state == "suspected":
                self.assertNotIn("state=lost", home.log())
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


# ---- full disks ----


def can_mount():
    folder = tempfile.mkdtemp(prefix="sora-mount-")
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
                              stderr=subprocess.DEVNULL)
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return done.returncode == 0
    except FileNotFoundError:
        return False
    finally:
        os.rmdir(folder)


class Disk:
    """A tmpfs where a node's state lies; what lies there besides makes it full."""

    def __init__(self, path, size):
        self.path = path
        os.mkdir(path)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)

    def fill(self):
        with open(os.path.join(self.path, ".filler"), "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self):
        os.unlink(os.path.join(self.path, ".filler"))

    def unmount(self):
        subprocess.run(["umount", "-l", self.path], check=True)


@unittest.skipUnless(can_mount(), "no right to mount a small tmpfs")
class DiskFull(FaultTest):
    def test_home(self):
        with Farm(BUILD, MODEL, count=0) as farm:
            disk = Disk(os.path.join(farm.folder, "node0"), "48m")
            self.addCleanup(disk.unmount)
            home = farm.add()
            done = home.submit(*steps_of(2))
            home.wait_done(done)
            job = home.submit(*steps_of(120), "--keep-latents")
            home.wait_step(job, 1)
            disk.fill()
            self.one_line(home.ctl("submit", *JOB, check=False), 1, "space")
            time.sleep(2)
            self.assertNotEqual(home.status(job)["state"], "failed")
            disk.free()
            self.same_as_one_device(home, job, 120)
            home.wait_done(home.submit(*steps_of(2)))
            self.assertEqual(home.status(done)["state"], "done")
            home.kill()
            home.start()
            self.assertEqual({found["state"] for found in home.json("list", "--all")["jobs"]},
                             {"done"})

    def test_node(self):
        with Farm(BUILD, MODEL, count=1) as farm:
            disk = Disk(os.path.join(farm.folder, "node1"), "16m")
            self.addCleanup(disk.unmount)
            farm.add()
            job = farm.home.submit(*steps_of(150), "--keep-latents")
            farm.home.wait_step(job, 2)
            disk.fill()
            self.same_as_one_device(farm.home, job, 150)
            disk.free()
            farm.home.wait_done(farm.home.submit(*steps_of(2)))


if __name__ == "__main__":
    try:
        unittest.main(argv=[sys.argv[0]] + sys.argv[3:], verbosity=2)
    except FarmError as error:
        sys.exit(str(error))
