#!/usr/bin/env python3
"""Cards in a farm: a CPU and a card in one job, and a card that is lost on the way.

Usage: test_farm_cards.py BUILD_DIR SOURCE_DIR [TEST...]
The card is the emulator's, which takes about a second for one latent; so the model is a small one of
tests/goldens with short windows, and its speeds are written down before the daemon looks.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from farm import Farm, FarmError, digest, render_reference  # noqa: E402

BUILD, SOURCE = sys.argv[1], sys.argv[2]
JOB = ["--prompt", "a red balloon", "--frames", "33", "--size", "32x32", "--steps", "2", "--seed", "5"]
CPU = "cpu-"
CARD = "emulated-simt64-bf16-"
# Cut so that each device gets the windows of one side: 5 latents and 4.
ASSIGNMENT = [([0, 5], "gpu0"), ([5, 9], "cpu0")]


class Cards(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sora-cards-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(os.environ.pop, "SORA_GPU", None)
        self.model = os.path.join(self.folder, "small")
        shutil.copytree(os.path.join(SOURCE, "tests/goldens/models/d_mini"), self.model)
        with open(os.path.join(self.model, "sora.yaml"), "w", encoding="utf-8") as file:
            file.write("name: small\nwindow_latents: 4\noverlap_latents: 1\n")

    def farm(self, gpu):
        """A daemon whose card and CPU were measured to be about equally fast."""
        os.environ["SORA_GPU"] = gpu
        farm = Farm(BUILD, self.model, options=("--devices", "cpu0:threads=1,gpu")).__enter__()
        self.addCleanup(farm.stop)
        home = farm.home
        home.wait(lambda: home.json("models"), 20, "the model")
        model = home.json("models")[0]["digest"]
        home.kill(signal.SIGTERM)
        with open(os.path.join(home.state, "speeds"), "w", encoding="utf-8") as file:
            for device, threads, window_ms in (("gpu0", 0, 990), ("cpu0", 1, 1000)):
                file.write(f"{device} {threads} {model} 2 2 4 {window_ms} 10\n")
        home.start()
        home.wait(lambda: home.json("models"), 20, "the model")
        return home

    def report(self, home, job):
        return json.loads(home.ctl("report", job, "--json").stdout)

    def latents(self, home, job):
        return digest(home.fetch(job, "latents", os.path.join(self.folder, "l.safetensors")))

    def test_a_card_and_a_cpu_share_a_job(self):
        """Two daemons with the same assignment of shards to devices make the same latents; the
        assignment is what status says of the shards once they are done."""
        homes = [self.farm("emulator:simt64") for _ in range(2)]
        jobs = [home.submit(*JOB, "--keep-latents") for home in homes]
        found = [home.wait_done(job, 120) for home, job in zip(homes, jobs)]
        for status in found:
            self.assertEqual([(shard["latents"], shard["device"]) for shard in status["shards"]],
                             ASSIGNMENT)
        mixed = [self.latents(home, job) for home, job in zip(homes, jobs)]
        self.assertEqual(mixed[0], mixed[1])
        devices = self.report(homes[0], jobs[0])["devices"]
        self.assertEqual(len(devices), 2)
        self.assertTrue(devices[0].startswith(CARD) and devices[1].startswith(CPU), devices)
        self.assertIn(devices[0], homes[0].ctl("report", jobs[0]).stdout.decode())
        # The card did take part: one device alone rounds differently.
        latents, _ = render_reference(BUILD, self.model, self.folder, JOB + ["--device", "cpu0"])
        self.assertNotEqual(digest(latents), mixed[0])

    def render(self, gpu, *options):
        path = os.path.join(self.folder, "out.mp4")
        environment = {**os.environ, "SORA_GPU": gpu}
        return subprocess.run(
            [os.path.join(BUILD, "bin/sora-worker"), "render", "--model", self.model, "--prompt", "x",
             "--frames", "1", "--steps", "1", "--json", "--quiet", "-o", path, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, env=environment)

    def test_one_device_renders(self):
        """The first card unless the CPU is asked for, or the job fits the CPU alone."""
        for gpu, options, device_class in (
                ("emulator:simt64", ["--size", "32x32"], "emulated-simt64-bf16-"),
                ("emulator:simt64", ["--size", "32x32", "--precision", "f32"], "emulated-simt64-f32-"),
                ("emulator:simt64", ["--size", "32x32", "--device", "cpu0"], "cpu-"),
                ("", ["--size", "32x32"], "cpu-")):
            done = self.render(gpu, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(json.loads(done.stdout)["device_class"].startswith(device_class), gpu)
        for gpu, options, status, words in (
                ("emulator:simt64", ["--size", "8192x8192", "--device", "gpu0"], 2, "on the card"),
                ("emulator:simt64", ["--size", "32x32", "--device", "npu0"], 2, "no device npu0"),
                ("emulator:none", ["--size", "32x32"], 2, "no kind 'none'"),
                ("emulator:simt64:lost=200", ["--size", "32x32"], 1, "--device cpu0 does without")):
            done = self.render(gpu, *options)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(words, done.stderr.decode().strip().splitlines()[-1])

    def test_a_card_changes_to_int8_for_what_does_not_fit(self):
        """And back for the next job. Texts are in its usual class, whichever it is in."""
        os.environ["SORA_GPU"] = "emulator:simt64:memory=24"
        mini = os.path.join(SOURCE, "models/mini")
        with Farm(BUILD, self.model, options=("--devices", "gpu0:precision=bf16+int8", "--models",
                                              f"{mini},{self.model}")) as farm:
            home = farm.home
            home.wait(lambda: len(home.json("models")) == 2, 20, "the models")
            for model, classes in (("mini", ["bf16", "int8"]), ("small", ["bf16"])):
                job = home.json("submit", "--model", model, "--prompt", "a red balloon", "--frames",
                                "5", "--size", "32x32", "--steps", "1", "--guidance", "1")["job"]
                home.wait_done(job, 60)
                self.assertEqual([device.split("-")[2] for device in
                                  self.report(home, job)["devices"]], classes)

    def test_a_card_that_others_use_is_offered_less(self):
        """Its free memory is read while it idles; what does not fit any more is not begun on it."""
        others = os.path.join(self.model, "vae", "others")  # where the worker may read
        os.environ["SORA_GPU"] = f"emulator:simt64:memory=64:others={others}"
        with Farm(BUILD, self.model, options=("--devices", "gpu0")) as farm:
            home = farm.home

            def free():
                devices = [device for node in home.json("nodes") for device in node["devices"]]
                return devices[0]["memory_free"] if devices else 0
            home.wait(lambda: home.json("models") and free() > 0, 20, "the card")
            before = free()
            with open(others, "w", encoding="utf-8") as file:
                file.write("63")
            home.wait(lambda: free() < 1 << 20, 20, "less free memory")
            job = home.submit(*JOB)
            home.wait(lambda: "largest free is" in home.json("status", job)["reason"], 20, "the reason")
            self.assertIn("node0/gpu0", home.json("status", job)["reason"])
            os.unlink(others)
            home.wait(lambda: free() == before or home.json("status", job)["shards"], 20, "its memory")

    def test_a_lost_card_costs_its_worker(self):
        home = self.farm("emulator:simt64:lost=700")
        job = home.submit(*JOB)
        found = home.wait_done(job, 60)
        self.assertGreater(found["moves"], 0)
        self.assertEqual({shard["device"] for shard in found["shards"]}, {"cpu0"})
        self.assertEqual(len(self.report(home, job)["devices"]), 2)
        lines = [line for line in home.log().splitlines() if "card failed" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("the card was lost", lines[0])
        self.assertIsNone(home.process.poll())
        home.wait(lambda: "worker ready device=gpu0" in home.log().split("card failed")[1], 20,
                  "another worker for the card")


if __name__ == "__main__":
    try:
        unittest.main(argv=[sys.argv[0]] + sys.argv[3:], verbosity=2)
    except FarmError as error:
        sys.exit(str(error))
