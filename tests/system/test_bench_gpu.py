#!/usr/bin/env python3
"""The measuring program for cards, with small dimensions on the emulator: every part runs to its
end, a second run does nothing again, and without a card one line says so.

    tests/system/test_bench_gpu.py BUILD SOURCE [TEST...]
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = sys.argv[1:3]
PROGRAM = os.path.join(SOURCE, "tools/bench/measure_gpu.py")


def measure(*words, **more):
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("SORA_GPU")}, **more}
    return subprocess.run([sys.executable, PROGRAM, *words, "--build", BUILD], capture_output=True, text=True,
                          env=environment, timeout=200, check=False)


class MeasureGpu(unittest.TestCase):
    def test_every_part_once(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "figures.json")
            done = measure(out, "--tiny")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            with open(out, encoding="utf-8") as file:
                rows = json.load(file)
            self.assertEqual(set(rows), {"launch", "matmul", "matmul/own", "attention", "transformer", "vae", "job"})
            for row in rows.values():
                self.assertGreater(row["memory_bytes_max"], 0)
            # three layers, 27 launches and a few of copying each; none per value
            self.assertLess(rows["transformer"]["launches"], 100)
            self.assertEqual(rows["job"]["windows"], [2, 2])
            again = measure(out, "--tiny")
            self.assertEqual(again.returncode, 0)
            self.assertNotIn("emulated", again.stdout)
            self.assertIn("launches and copies of a forward", again.stdout)
            with open(os.path.join(folder, "figures.md"), encoding="utf-8") as file:
                self.assertIn("| launches and copies of a forward | ", file.read())

    def test_a_failure_costs_its_own_part(self):
        """Without PyTorch there is no model and no peer; the rest is measured, the failed tried again."""
        with tempfile.TemporaryDirectory() as folder:
            out, python = os.path.join(folder, "figures.json"), os.path.join(folder, "python")
            with open(python, "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\necho no such module >&2\nexit 1\n")
            os.chmod(python, 0o755)
            for _ in range(2):
                done = measure(out, "--only", "vae,launch,attention/peer", "--model", os.path.join(folder, "model"),
                               "--python", python, SORA_GPU="emulator:nvidia")
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn("the peer's parts are left out", done.stdout)
                with open(out, encoding="utf-8") as file:
                    rows = json.load(file)
                self.assertEqual(set(rows), {"vae", "launch"})
                self.assertIn("was not made: no such module", rows["vae"]["error"])
                self.assertGreater(rows["launch"]["launch_us"], 0)

    def test_without_a_card(self):
        with tempfile.TemporaryDirectory() as folder:
            done = measure(os.path.join(folder, "figures.json"), "--device", "gpu15", "--model", folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn("no card to measure: bench_gpu: there is no gpu15", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
