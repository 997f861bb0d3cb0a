#!/usr/bin/env python3
"""Measures the farm on this machine with real daemons on loopback; every figure by a named part.

Usage: measure_farm.py PART... [--build DIR] [--model DIR] [--json FILE]

  identity   the same job on 1, 2, 3 and 5 nodes, with --kills N nodes killed at random steps, and
             with the home killed in the middle: SHA-256 of final latents and of decoded frames
             beside those of `sora-worker render`
  overhead   one node beside `sora-worker render`, both with 2 threads; two nodes of 1 thread
             beside one of 2; medians of --repeats alternating runs
  memory     peak memory of every process for 1 and 10 minutes, and the cost of 10 minutes
  halo       bytes that two neighbours exchange on steps whose windows are not shifted, beside
             1.1 x 2 O latents, as the nodes counted them, for the model's overlap and for 5
  demo       from submit to the first playable preview, and to the end, of 60 seconds on 3 nodes

Python's standard library only.
"""
import argparse
import hashlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/system"))
from farm import Farm, digest, render_reference  # noqa: E402


def frames_digest(folder):
    total = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        total.update(digest(os.path.join(folder, name)).encode())
    return total.hexdigest()


def decoded_digest(path):
    """Of the frames in a lossless video."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt",
                           "rgb24", "-"], stdout=subprocess.PIPE, check=True)
    return hashlib.sha256(done.stdout).hexdigest()


def children(pid):
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], stdout=subprocess.PIPE)
    return [int(word) for word in done.stdout.split()]


def peak_memory(pid):
    """VmHWM in MiB, 0 when the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0


def cpu_seconds(pid):
    """Of the process and of children that it has waited for."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            words = file.read().rsplit(")", 1)[1].split()
        return sum(int(word) for word in words[11:15]) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0


class Job:
    def __init__(self, options, seconds, extra=()):
        self.arguments = ["--prompt", options.prompt, "--seconds", str(seconds), "--seed", "3",
                          *extra]
        if options.steps:
            self.arguments += ["--steps", str(options.steps)]

    def run(self, farm, extra=()):
        started = time.monotonic()
        job = farm.home.submit(*self.arguments, *extra)
        found = farm.home.wait_done(job, 7200)
        return job, found, time.monotonic() - started

    def seconds_to_file(self, farm, path):
        """As a user waits: `submit -o` follows the job by what the home tells, without polling."""
        started = time.monotonic()
        farm.home.ctl("submit", "--model", os.path.basename(farm.model), *self.arguments, "-o", path,
                      timeout=7200)
        return time.monotonic() - started


def identity(options):
    work = Job(options, options.seconds)
    keep = ("--keep-latents", "--codec", "ffv1", "--container", "mkv")
    with tempfile.TemporaryDirectory() as folder:
        latents, _ = render_reference(options.build, options.model, folder, work.arguments)
        lossless = os.path.join(folder, "ref.mkv")
        subprocess.run([os.path.join(options.build, "bin/sora-worker"), "render", "--model",
                        options.model, "-o", lossless, "--codec", "ffv1", "--quiet",
                        *work.arguments], check=True, stdout=subprocess.DEVNULL)
        wanted = (digest(latents), decoded_digest(lossless))
        rows = []

        def check(farm, job, what):
            found = (digest(farm.home.fetch(job, "latents", os.path.join(folder, "l"))),
                     decoded_digest(farm.home.fetch(job, "video", os.path.join(folder, "v.mkv"))))
            moves = farm.home.status(job)["moves"]
            rows.append({"case": what, "latents_equal": found[0] == wanted[0],
                         "frames_equal": found[1] == wanted[1], "moves": moves})
            print(json.dumps(rows[-1]), flush=True)

        for count in (1, 2, 3, 5):
            with Farm(options.build, options.model, count) as farm:
                job, _, _ = work.run(farm, keep)
                check(farm, job, f"{count} nodes")
        generator = random.Random(options.seed)
        with Farm(options.build, options.model, 3) as farm:
            for number in range(options.kills):
                job = farm.home.submit(*work.arguments, *keep)
                steps = 0
                while not steps:
                    steps = farm.home.status(job)["steps"]
                step = generator.randrange(0, steps)
                farm.home.wait_step(job, step)
                time.sleep(generator.random() * 0.5)
                victim = farm.nodes[generator.randrange(1, 3)]
                victim.kill()
                farm.home.wait_done(job, 3600)
                check(farm, job, f"kill {number + 1}: {victim.name} at step {step}")
                victim.start()
                farm.home.wait(lambda: Farm.ready_nodes(farm.home) == 3, 60, "the node again")
            for number in range(options.home_kills):
                job = farm.home.submit(*work.arguments, *keep)
                farm.home.wait_step(job, 1 + number % 4)
                farm.home.kill()
                farm.home.start()
                farm.home.wait_done(job, 3600)
                check(farm, job, f"home restarted {number + 1}")
        return {"seconds": options.seconds, "rows": rows,
                "equal": all(row["latents_equal"] and row["frames_equal"] for row in rows)}


def overhead(options):
    work = Job(options, options.seconds)
    times = {"render": [], "one_node": [], "two_nodes": []}
    with tempfile.TemporaryDirectory() as folder, \
            Farm(options.build, options.model, 1, threads=2) as one, \
            Farm(options.build, options.model, 2, threads=1) as two:
        for farm in (one, two):
            work.run(farm)  # speeds are measured, files are in memory
        for _ in range(options.repeats):
            started = time.monotonic()
            subprocess.run([os.path.join(options.build, "bin/sora-worker"), "render", "--model",
                            options.model, "-o", os.path.join(folder, "a.mp4"), "--contact",
                            os.path.join(folder, "c.png"), "--report",
                            os.path.join(folder, "r.json"), "--threads", "2", "--quiet",
                            *work.arguments], check=True, stdout=subprocess.DEVNULL)
            times["render"].append(time.monotonic() - started)
            for name, farm in (("one_node", one), ("two_nodes", two)):
                times[name].append(work.seconds_to_file(farm, os.path.join(folder, name + ".mp4")))
            print({name: round(values[-1], 2) for name, values in times.items()}, flush=True)
    middle = {name: statistics.median(values) for name, values in times.items()}
    return {"seconds": middle, "one_node_over_render": middle["one_node"] / middle["render"],
            "two_nodes_over_one": middle["two_nodes"] / middle["one_node"]}


def memory(options):
    result = {}
    for seconds in (60, 600):
        with Farm(options.build, options.model, 2) as farm:
            job = farm.home.submit(*Job(options, seconds).arguments)
            started, peaks = time.monotonic(), {}
            while farm.home.status(job)["state"] not in ("done", "failed"):
                for node in farm.nodes:
                    for pid in [node.process.pid] + children(node.process.pid):
                        peaks[f"{node.name}/{pid}"] = peak_memory(pid) or peaks.get(
                            f"{node.name}/{pid}", 0)
                time.sleep(1)
            farm.home.wait_done(job)
            cpu = sum(cpu_seconds(pid) for node in farm.nodes
                      for pid in [node.process.pid] + children(node.process.pid))
            result[seconds] = {"wall": time.monotonic() - started, "cpu": cpu,
                               "peaks_mib": sorted(round(v) for v in peaks.values())}
            print(seconds, result[seconds], flush=True)
    result["cost_cpu"] = result[600]["cpu"] / result[60]["cpu"]
    result["cost_wall"] = result[600]["wall"] / result[60]["wall"]
    return result


def halo(options):
    rows = []
    for overlap in (None, 5):
        extra = ["--overlap", str(overlap)] if overlap else []
        with Farm(options.build, options.model, 2) as farm:
            job, found, _ = Job(options, options.seconds, extra).run(farm)
            plan = farm.home.json("plan", *Job(options, options.seconds, extra).arguments)
            for node in farm.nodes:  # an owner counts up when it is released
                node.wait(lambda node=node: "halos sent" in node.log(), 30, "the count")
            logs = "".join(node.log() for node in farm.nodes)
            sent = sum(int(value) for value in re.findall(r"even_bytes=(\d+)", logs))
            with open(os.path.join(options.model, "vae/config.json"), encoding="utf-8") as file:
                config = json.load(file)
            spatial = config.get("scale_factor_spatial", 8)
            latent = config["z_dim"] * 4 * (plan["width"] // spatial) * (plan["height"] // spatial)
            steps = (found["steps"] + 1) // 2
            rows.append({"overlap": plan["overlap"], "steps": steps, "bytes": sent,
                         "latents_per_step": sent / steps / latent,
                         "of_limit": sent / steps / latent / (2 * plan["overlap"])})
            print(rows[-1], flush=True)
    return rows


def demo(options):
    with Farm(options.build, options.model, 3) as farm:
        started = time.monotonic()
        job = farm.home.submit(*Job(options, 60).arguments)
        preview = None
        while True:
            found = farm.home.status(job)
            if preview is None and found["preview"]:
                preview = time.monotonic() - started
            if found["state"] in ("done", "failed"):
                break
            time.sleep(0.2)
        farm.home.wait_done(job)
        return {"preview_seconds": preview, "seconds": time.monotonic() - started}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="+", choices=["identity", "overhead", "memory", "halo", "demo"])
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--model", default=os.path.join(ROOT, "models/mini"))
    parser.add_argument("--prompt", default="a red balloon over the sea at sunset")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--home-kills", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--json")
    options = parser.parse_args()
    results = {}
    for part in options.parts:
        results[part] = globals()[part](options)
        print(part, json.dumps(results[part], indent=2), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
