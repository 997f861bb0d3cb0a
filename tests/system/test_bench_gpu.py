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


def measure(*words):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SORA_GPU")}
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

    def test_without_a_card(self):
        with tempfile.TemporaryDirectory() as folder:
            done = measure(os.path.join(folder, "figures.json"), "--device", "gpu15", "--model", folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn("no card to measure: bench_gpu: there is no gpu15", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
