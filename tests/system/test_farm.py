#!/usr/bin/env python3
"""The farm as its users meet it: soractl and daemons on loopback, one video that equals what one
device makes, also with nodes killed, homes restarted, jobs paused.

Usage: test_farm.py BUILD_DIR SOURCE_DIR [TEST...]
Uses a small random-weight model of tests/goldens, so a job takes seconds.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from farm import Farm, FarmError, digest, render_reference  # noqa: E402

BUILD, SOURCE = sys.argv[1], sys.argv[2]
MODEL = os.path.join(SOURCE, "tests/goldens/models/d_mini")
JOB = ["--prompt", "a red balloon over the sea", "--frames", "201", "--size", "96x64", "--steps",
       "200", "--seed", "5"]
reference = {}


def setUpModule():
    reference["folder"] = tempfile.mkdtemp(prefix="sora-reference-")
    latents, frames = render_reference(BUILD, MODEL, reference["folder"], JOB)
    reference["latents"] = digest(latents)
    reference["frame_count"] = len(os.listdir(frames))


def tearDownModule():
    shutil.rmtree(reference["folder"])


class FarmTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sora-farm-out-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def submit(self, node):
        return node.submit(*JOB, "--keep-latents")

    def same_as_one_device(self, node, job):
        found = node.wait_done(job)
        self.assertEqual(found["frames_done"], reference["frame_count"])
        path = node.fetch(job, "latents", self.path("latents.safetensors"))
        self.assertEqual(digest(path), reference["latents"])
        return found


class OneNode(FarmTest):
    def test_a_fresh_daemon_serves_its_user_at_once(self):
        with Farm(BUILD, MODEL) as farm:
            output = self.path("out.mp4")
            done = farm.home.ctl("submit", *JOB, "--model", "d_mini", "-o", output,
                                 "--keep-latents")
            self.assertIn(b"wrote", done.stderr)
            self.assertGreater(os.path.getsize(output), 1000)
            job = farm.home.json("list", "--all")["jobs"][0]["job"]
            self.same_as_one_device(farm.home, job)
            self.assertTrue(os.path.getsize(farm.home.fetch(job, "contact", self.path("c.png"))))
            with open(farm.home.fetch(job, "report", self.path("r.json")), encoding="utf-8") as file:
                self.assertIn("seam_median", json.load(file))

    def test_home_killed_in_the_middle(self):
        with Farm(BUILD, MODEL) as farm:
            job = self.submit(farm.home)
            farm.home.wait_step(job, 2)
            farm.home.kill()
            farm.home.start()
            self.same_as_one_device(farm.home, job)

    def test_pause_resume_cancel(self):
        with Farm(BUILD, MODEL) as farm:
            job = self.submit(farm.home)
            farm.home.wait_step(job, 1)
            farm.home.ctl("pause", job)
            farm.home.wait_state(job, ("paused",))
            other = self.submit(farm.home)
            farm.home.ctl("cancel", other)
            self.assertEqual(farm.home.wait_state(other, ("cancelled",))["state"], "cancelled")
            farm.home.ctl("resume", job)
            self.same_as_one_device(farm.home, job)

    def test_bad_input_is_one_line_with_the_right_status(self):
        with Farm(BUILD, MODEL) as farm:
            for arguments, status, part in (
                    (["submit", "--seconds", "5"], 2, "prompt"),
                    (["submit", "--prompt", "x", "--seconds", "-1"], 2, "--seconds"),
                    (["submit", "--prompt", "x", "--secnds", "5"], 2, "--seconds"),
                    (["submit", "--prompt", "x", "--seconds", "5", "--model", "nil"], 2, "nil"),
                    (["status", "ffffffff"], 2, "ffffffff"),
                    (["fetch", "ffffffff"], 2, "ffffffff"),
                    (["submit", "--prompt", "a\x01b", "--seconds", "5"], 2, ""),
                    (["submit", "--prompt", "x" * 103000, "--seconds", "5"], 2, "102400"),
                    (["sumbit"], 2, "sumbit")):
                done = farm.home.ctl(*arguments, check=False)
                lines = done.stderr.decode().strip().splitlines()
                self.assertEqual(done.returncode, status, (arguments[:3], lines))
                self.assertIn(part, lines[0])
            self.assertEqual(farm.home.json("list", "--all")["jobs"], [])

    def test_groups_of_commands(self):
        soractl = os.path.join(BUILD, "bin/soractl")
        for words, status, part in ((["farm"], 2, "init, invite, join, members, revoke"),
                                    (["farm", "lits"], 2, "members"), (["farm", "-h"], 0, "join CODE"),
                                    (["help", "farm"], 0, "join CODE")):
            done = subprocess.run([soractl, *words], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=10)
            self.assertEqual(done.returncode, status, words)
            self.assertIn(part, (done.stdout if status == 0 else done.stderr).decode())

    def test_completions_load(self):
        """In every shell that is here; bash always is."""
        soractl = os.path.abspath(os.path.join(BUILD, "bin/soractl"))
        scripts = {
            "bash": 'eval "$({} completion bash)"; COMP_WORDS=(soractl models ""); COMP_CWORD=2; '
                    '_soractl; echo "${{COMPREPLY[@]}}"',
            "zsh": 'autoload -Uz compinit; compinit -u -D; eval "$({} completion zsh)"; echo "$_comps[soractl] remove"',
            "fish": '{} completion fish | source; complete -C "soractl models "'}
        for shell, script in scripts.items():
            if not shutil.which(shell):
                continue
            done = subprocess.run([shell, "-c", script.format(soractl)], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=20, cwd=self.folder)
            self.assertEqual((done.returncode, done.stderr), (0, b""), shell)
            self.assertIn(b"remove", done.stdout, shell)

    def test_no_daemon_says_how_to_start_one(self):
        done = subprocess.run([os.path.join(BUILD, "bin/soractl"), "list", "--state",
                               self.path("nothing")], stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"sorad", done.stderr)


class SeveralNodes(FarmTest):
    def test_two_and_three_nodes(self):
        for count in (2, 3):
            with Farm(BUILD, MODEL, count=count) as farm:
                job = self.submit(farm.home)
                found = farm.home.wait_step(job, 1)
                self.assertEqual(len({shard["node"] for shard in found["shards"]}), count)
                self.same_as_one_device(farm.home, job)
                for node in farm.nodes:  # the model's manifest, and nothing of the job
                    node.wait(lambda: self.blobs(node) == 1, 5, "to remove its blobs")

    @staticmethod
    def blobs(node):
        objects = os.path.join(node.state, "blobs/objects")
        return sum(len(files) for _, _, files in os.walk(objects))

    def test_node_killed_in_the_middle(self):
        with Farm(BUILD, MODEL, count=3) as farm:
            job = self.submit(farm.home)
            found = farm.home.wait_step(job, 2)
            names = {shard["node"] for shard in found["shards"]} - {farm.home.name}
            next(node for node in farm.nodes if node.name in names).kill()
            found = self.same_as_one_device(farm.home, job)
            self.assertGreater(found["moves"], 0)

    def test_interrupted_wait_leaves_the_job(self):
        with Farm(BUILD, MODEL, count=2) as farm:
            command = [farm.program("bin/soractl"), "submit", *JOB, "--model", "d_mini",
                       "--keep-latents", "--wait", "--json", "--state", farm.nodes[1].state]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            farm.nodes[1].wait(lambda: farm.nodes[1].json("list")["jobs"], 20, "the job")
            job = farm.nodes[1].json("list")["jobs"][0]["job"]
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=20)
            self.assertEqual(process.returncode, 130)
            self.assertIn(b"soractl watch", errors)
            said = [json.loads(line) for line in output.splitlines()]
            self.assertEqual({line.get("job", job) for line in said}, {job})
            self.assertEqual(said[-1]["error"], "CANCELLED")
            self.same_as_one_device(farm.nodes[1], job)
            farm.home.wait_step(self.submit(farm.home), 1)
            farm.home.kill(signal.SIGTERM, wait=False)  # drains for seconds
            farm.home.wait(lambda: "draining" in farm.home.log(), 5, "drain")
            farm.home.kill(signal.SIGTERM, wait=False)
            self.assertEqual(farm.home.process.wait(timeout=3), 0)

    def test_drain_moves_the_shard(self):
        with Farm(BUILD, MODEL, count=2) as farm:
            job = self.submit(farm.home)
            farm.home.wait_step(job, 1)
            farm.nodes[1].kill(signal.SIGTERM)
            self.same_as_one_device(farm.home, job)

    def test_revoked_member_is_out_within_a_second(self):
        with Farm(BUILD, MODEL, count=2) as farm:
            farm.home.ctl("farm", "revoke", "node1")
            started = time.monotonic()
            farm.home.wait(lambda: not any(
                member["name"] == "node1" and member["connected"]
                for member in farm.home.json("farm", "members")["members"]), 5, "the end")
            self.assertLess(time.monotonic() - started, 1.5)


class Shots(FarmTest):
    def test_cut_and_continuation(self):
        path = self.path("shots.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("size: 96x64\nsteps: 4\nshots:\n"
                       "  - prompt: a red balloon over the sea\n    frames: 60\n"
                       "  - prompt: a boat at night\n    frames: 50\n    cut: false\n"
                       "  - prompt: a bird over the hills\n    frames: 45\n    seed: 9\n")
        latents, frames = render_reference(BUILD, MODEL, self.folder, ["--job", path])
        with Farm(BUILD, MODEL, count=2) as farm:
            job = farm.home.submit(path, "--keep-latents")
            found = farm.home.wait_done(job)
            self.assertEqual(found["frames_done"], len(os.listdir(frames)))
            self.assertEqual(digest(farm.home.fetch(job, "latents", self.path("l"))),
                             digest(latents))


if __name__ == "__main__":
    try:
        unittest.main(argv=[sys.argv[0]] + sys.argv[3:], verbosity=2)
    except FarmError as error:
        sys.exit(str(error))
