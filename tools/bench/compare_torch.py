#!/usr/bin/env python3
"""Speed of the engine beside PyTorch/diffusers: same weights, same shapes, same run, in turn.

Usage: compare_torch.py MODEL_DIR --build BUILD_DIR [--python PYTHON] [--shapes 9x256x256,17x320x192]
                        [--rounds 2] [--repeats 3] [--threads 2] [--what transformer,vae] [--json FILE]

MODEL_DIR is written by make_random_model.py (real Wan2.1-1.3B dimensions, random weights). PYTHON is
an interpreter with tools/goldens/requirements.txt installed; it runs peer_torch.py. Each round runs
the engine, then PyTorch, so that a machine that drifts slows both. Prints medians and ratios
(PyTorch's seconds over the engine's: above 1 is faster), and the engine's share of the machine's own
best sgemm rate, which PyTorch's library is asked for in the same run.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("--build", default=os.path.join(HERE, "../../build/release"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--shapes", default="9x256x256,17x320x192")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--what", default="transformer,vae")
    parser.add_argument("--json")
    return parser.parse_args()


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("failed: %s\n%s" % (" ".join(command), done.stderr[-2000:]))
    return done.stdout


def engine(args, what, shape):
    """Seconds (median of three), counted GFLOP and peak MiB of one engine run."""
    frames, width, height = shape.split("x")
    program = os.path.join(args.build, "tools/bench", "bench_" + what)
    folder = os.path.join(args.model_dir, "vae") if what == "vae" else args.model_dir
    row = json.loads(run([program, folder, "%sx%s" % (width, height), frames, str(args.threads), str(args.repeats)]))
    if what == "transformer":
        timed = row["forward"]
        return {"seconds": timed["median_s"], "gflop": timed["gflop"], "peak_mib": row["peak_rss_mib"]}
    return {"seconds": row["seconds"], "gflop": row["gflop"], "peak_mib": row["rss_peak_bytes"] / 2**20}


def peer(args, what):
    text = run([args.python, os.path.join(HERE, "peer_torch.py"), args.model_dir, "--what", what,
                "--shapes", args.shapes, "--threads", str(args.threads), "--repeat", str(args.repeats)])
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {row["name"]: row for row in rows}


def main():
    args = parse_args()
    shapes = args.shapes.split(",")
    ours, theirs, sgemm = {}, {}, []
    for _ in range(args.rounds):
        for what in args.what.split(","):
            name = "vae_decode" if what == "vae" else what
            for shape in shapes:
                ours.setdefault("%s/%s" % (name, shape), []).append(engine(args, what, shape))
            for key, row in peer(args, what).items():
                theirs.setdefault(key, []).append(row)
        sgemm += [row["gflop_per_second_best"] for row in peer(args, "sgemm").values()]
    rate = max(sgemm)
    print("sgemm of PyTorch's library, best of this run: %.0f GFLOP/s, %d threads" % (rate, args.threads))
    table = []
    for key, rows in ours.items():
        mine = statistics.median(row["seconds"] for row in rows)
        other = statistics.median(row["seconds_median"] for row in theirs[key])
        gflops = rows[0]["gflop"] / mine
        table.append({"what": key, "engine_seconds": mine, "torch_seconds": other, "ratio": other / mine,
                      "engine_gflop": rows[0]["gflop"], "torch_gflop": theirs[key][0]["gflop"],
                      "engine_gflop_per_second": gflops, "share_of_sgemm": gflops / rate,
                      "engine_peak_mib": max(row["peak_mib"] for row in rows)})
        print("%-24s engine %7.3f s  PyTorch %7.3f s  ratio %.2f  %4.0f GFLOP/s, %3.0f %% of sgemm" %
              (key, mine, other, other / mine, gflops, 100 * gflops / rate))
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"sgemm_gflop_per_second": rate, "rows": table}, file, indent=1)


if __name__ == "__main__":
    main()
