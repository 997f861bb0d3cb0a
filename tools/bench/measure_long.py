#!/usr/bin/env python3
"""What a minute of video keeps: renders long clips and judges their pixels.

Usage: measure_long.py [--build BUILD_DIR] [--model DIR] [--seconds 60] [--python PYTHON] [--out DIR]
                       [--prompts N]

For each prompt: a long render and one of a single window, the consistency report of both, and the
pixel checker's verdict for every second (tools/train/check_video.py, run by PYTHON, which needs numpy).
Prints one line a prompt and the summary that docs/BENCHMARKS.md quotes.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "../..")
PROMPTS = (
    "a red balloon over the sea by day, bobbing",
    "a white boat at sea at sunset, swaying",
    "a yellow car in the desert at dawn, drifting",
    "a green bird over the hills by day, bobbing",
    "a purple lantern over the city at night, swaying",
    "a blue kite over snowy mountains by day, swaying",
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--model", default=os.path.join(ROOT, "models/mini"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", default="long")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    return parser.parse_args()


def render(args, prompt, name, length):
    """Seconds taken, the report and the video's path."""
    base = os.path.join(args.out, name)
    command = [os.path.join(args.build, "bin/sora-worker"), "render", "--model", args.model, "--prompt",
               prompt, "--quiet", "--seed", "1", "-o", base + ".mp4", "--report", base + ".json",
               "--contact", base + ".png"] + length
    started = time.monotonic()
    subprocess.run(command, check=True)
    with open(base + ".json") as file:
        return time.monotonic() - started, json.load(file), base + ".mp4"


def judge(args, video, native, prompt):
    command = [args.python, os.path.join(ROOT, "tools/train/check_video.py"), video, "--prompt", prompt,
               "--native", native, "--summary"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    args = parse_args()
    os.makedirs(args.out, exist_ok=True)
    rows = []
    for index, prompt in enumerate(PROMPTS[:args.prompts]):
        took, report, video = render(args, prompt, "long%d" % index, ["--seconds", str(args.seconds)])
        _, native, native_video = render(args, prompt, "native%d" % index, ["--frames", "33"])
        verdict = judge(args, video, native_video, prompt)
        row = {"prompt": prompt, "seconds": took, "object": verdict["object_present"],
               "colour": verdict["colour_right"], "scene": verdict["scene_right"],
               "object_and_scene": verdict["object_and_scene"],
               "motion_ratio": report["motion"] / max(1e-9, native["motion"]),
               "change_ratio": verdict["motion_ratio"], "seam_median": report["seam_median"],
               "seam_max": report["seam_max"], "seam_chance": report["seam_chance"],
               "seam_middle_median": report["seam_middle_median"],
               "seam_middle_max": report["seam_middle_max"], "drift": report["drift"]}
        rows.append(row)
        print(json.dumps(row), flush=True)
    for key in rows[0]:
        if key != "prompt":
            values = [row[key] for row in rows]
            print("%-20s mean %.3f  min %.3f  max %.3f" %
                  (key, statistics.mean(values), min(values), max(values)))


if __name__ == "__main__":
    main()
