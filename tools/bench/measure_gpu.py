#!/usr/bin/env python3
"""Measures a card: every figure of docs/BENCHMARKS.md that needs one, beside PyTorch in the same run.

Usage: measure_gpu.py OUT.json --model DIR [--build BUILD] [--python PYTHON] [--device gpu0]
                      [--minutes 24] [--only PART,...] [--tiny]

DIR is a model of Wan 2.1 1.3B's dimensions with random weights; it is made by make_random_model.py
(2.9 GB) when it is not there. PYTHON has torch (with CUDA), diffusers and transformers; without them
the peer's parts are left out, and so are those of a model that cannot be made. The libraries of
NVIDIA's wheels that PYTHON has (cuBLASLt, nvrtc) are used on both sides. A part that fails costs its
own figures. Parts that OUT.json has are not run again, failed ones are, and none is begun that would
not end within --minutes, so a run that was cut off goes on with the same command. OUT.md has the
figures as tables. Parts in order:

  selftest     every operation against the CPU
  launch       what a launch costs
  matmul       8192x8192x8192 in bf16, through the library and by own kernels, and torch.mm
  attention    32760 queries and keys, 12 heads of 128, and scaled_dot_product_attention
  transformer  one forward at 81x480x832; the same by own kernels; and diffusers
  vae          decoding 81 frames of 480x832, and 241 (memory must stay), and diffusers
  job          two of the 50 steps of a 60-second job of 480x832: sampling time and memory peak

With --tiny: small dimensions on the emulator, to see that everything runs; figures mean nothing.
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OWN = {"SORA_GPU_BLAS": "off"}  # the project's kernels alone

# name: (program, words, environment, minutes it may take on an H100)
FULL = {
    "selftest": ("selftest", [], {}, 2),
    "launch": ("engine", ["launch", "20000"], {}, 1),
    "matmul": ("engine", ["matmul", "8192x8192x8192", "20"], {}, 1),
    "matmul/own": ("engine", ["matmul", "8192x8192x8192", "20"], OWN, 1),
    "matmul/peer": ("peer", ["matmul", "8192x8192x8192", "--repeats", "20"], {}, 1),
    "attention": ("engine", ["attention", "32760x32760x12x128", "10"], {}, 1),
    "attention/peer": ("peer", ["attention", "32760x32760x12x128", "--repeats", "10"], {}, 1),
    "transformer": ("engine", ["transformer", "MODEL", "832x480", "81", "5"], {}, 2),
    "transformer/own": ("engine", ["transformer", "MODEL", "832x480", "81", "3"], OWN, 2),
    "transformer/peer": ("peer", ["transformer", "MODEL", "832x480", "81"], {}, 2),
    "vae": ("engine", ["vae", "MODEL", "832x480", "81", "2"], {}, 2),
    "vae/long": ("engine", ["vae", "MODEL", "832x480", "241", "1"], {}, 2),
    "vae/peer": ("peer", ["vae", "MODEL", "832x480", "81", "--repeats", "2"], {}, 2),
    "job": ("engine", ["job", "MODEL", "832x480", "961", "2"], {}, 4),
}
MODEL_TINY = os.path.join(ROOT, "tests/goldens/models/d_mini")
TINY = {
    "launch": ("engine", ["launch", "100"], {}, 1),
    "matmul": ("engine", ["matmul", "64x64x64", "2"], {}, 1),
    "matmul/own": ("engine", ["matmul", "64x64x64", "2"], OWN, 1),
    "attention": ("engine", ["attention", "64x64x2x32", "2"], {}, 1),
    "transformer": ("engine", ["transformer", "MODEL", "32x32", "5", "1"], {}, 1),
    "vae": ("engine", ["vae", "MODEL", "16x16", "1", "1"], {}, 1),
    "job": ("engine", ["job", "MODEL", "16x16", "85", "1"], {}, 1),
}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--model", default="")
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--device", default="gpu0")
    parser.add_argument("--minutes", type=float, default=24)
    parser.add_argument("--only", default="")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    if args.tiny:
        args.model = MODEL_TINY
        os.environ.setdefault("SORA_GPU", "emulator:nvidia")
    elif not args.model:
        parser.error("--model is missing")
    return args


def command_of(args, program, words):
    words = [args.model if word == "MODEL" else word for word in words]
    if program == "engine":
        return [os.path.join(args.build, "tools/bench/bench_gpu"), args.device, *words]
    if program == "selftest":
        return [os.path.join(args.build, "bin/sora-worker"), "selftest", "--device", args.device, "--json"]
    return [args.python, os.path.join(HERE, "peer_gpu.py"), *words]


def run(args, program, words, environment, seconds):
    """The part's JSON object; {"error": its last line} when it failed."""
    try:
        done = subprocess.run(command_of(args, program, words), capture_output=True, text=True, timeout=seconds,
                              env={**os.environ, **environment}, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)[:300]}
    try:
        row = json.loads(done.stdout.strip().splitlines()[-1] if program != "selftest" else done.stdout)
    except (ValueError, IndexError):
        return {"error": (done.stderr.strip().splitlines() or ["exit %d" % done.returncode])[-1][:600]}
    if done.returncode != 0:
        row = {"error": "exit %d" % done.returncode, "output": row}
    return row


def peer_has(args, module):
    return subprocess.run([args.python, "-c", "import " + module], capture_output=True, check=False).returncode == 0


def use_wheels(args):
    """The folders of NVIDIA's wheels, where the engine's loader finds them: a machine with a driver and
    PyTorch has no other cuBLASLt."""
    asked = subprocess.run([args.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                           capture_output=True, text=True, check=False).stdout.strip()
    folders = glob.glob(os.path.join(asked, "nvidia/*/lib")) if asked else []
    given = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": ":".join(([given] if given else []) + sorted(folders))} if folders else {}


def make_model(args, deadline):
    """Why there is no model, or None; a marker at the end, as making it may be cut off."""
    marker = os.path.join(args.model, "complete")
    if args.tiny or os.path.exists(marker):
        return None
    try:
        done = subprocess.run([args.python, os.path.join(HERE, "make_random_model.py"), args.model],
                              capture_output=True, text=True, check=False,
                              timeout=max(60, deadline - time.monotonic()))
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)[:300]
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["no output"])[-1]
    with open(marker, "w", encoding="utf-8"):
        return None


def save(path, rows):
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
    os.replace(path + ".new", path)


def value(rows, part, key="median_s"):
    return rows.get(part, {}).get(key)


def ratio(rows, above, below, key="median_s"):
    a, b = value(rows, above, key), value(rows, below, key)
    return a / b if a and b else None


def launches_share(rows):
    """Launches and copies of a forward at their own cost, as if nothing ran beside them."""
    count, cost = value(rows, "transformer", "launches"), value(rows, "launch", "launch_us")
    total, copies = value(rows, "transformer"), value(rows, "transformer", "copies_s")
    return (count * cost / 1e6 + copies) / total if count and cost and total else None


def memory_ratio(rows):
    return ratio(rows, "vae/long", "vae", "memory_bytes_max")


def goals(rows):
    """What the goals ask for, as far as it was measured: name, figure or None, goal."""
    torch_rate = value(rows, "matmul/peer", "tflop_per_s") or value(rows, "matmul", "tflop_per_s")
    forward_rate = value(rows, "transformer", "tflop_per_s")
    share = forward_rate / torch_rate if forward_rate and torch_rate else None
    return [
        ("transformer forward, PyTorch's seconds over ours", ratio(rows, "transformer/peer", "transformer"), ">= 1.3"),
        ("the same by own kernels", ratio(rows, "transformer/peer", "transformer/own"), ""),
        ("transformer, share of the large matmul rate", share, ">= 0.6"),
        ("attention, PyTorch's seconds over ours", ratio(rows, "attention/peer", "attention"), ">= 0.9"),
        ("matmul by own kernels, share of PyTorch's rate", ratio(rows, "matmul/peer", "matmul/own"), ""),
        ("VAE decode, PyTorch's seconds over ours", ratio(rows, "vae/peer", "vae"), ">= 1.5"),
        ("VAE decode, memory of 241 frames over 81", memory_ratio(rows), "1.0"),
        ("launches and copies of a forward", launches_share(rows), "<= 0.03"),
        ("60 s of 480p, seconds of sampling", value(rows, "job", "sampling_s"), ""),
        ("60 s of 480p, memory peak, GB", (value(rows, "job", "memory_bytes_max") or 0) / 1e9 or None, ""),
    ]


def cell(found):
    return "-" if found is None else "%.4g" % found if isinstance(found, float) else str(found)


def table(heads, lines):
    rows = [heads, ["---"] * len(heads)] + [[cell(found) for found in line] for line in lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def write_tables(path, rows):
    keys = ("median_s", "best_s", "tflop_per_s", "launches", "copies", "memory_bytes_max", "class", "torch", "error")
    found = sorted({(row["device"], row.get("class", "")) for row in rows.values() if "device" in row})
    with open(path, "w", encoding="utf-8") as file:
        file.write("Measured by tools/bench/measure_gpu.py on %s.\n\n" % ("; ".join(" ".join(f) for f in found) or "no card"))
        file.write(table(["figure", "measured", "goal"], goals(rows)) + "\n")
        file.write(table(["part", *keys], [[name] + [row.get(key) for key in keys] for name, row in rows.items()]))


def chosen_parts(args):
    parts = {k: v for k, v in (TINY if args.tiny else FULL).items() if not args.only or k in args.only.split(",")}
    if any(program == "peer" for program, *_ in parts.values()):
        absent = [module for module in ("torch", "diffusers") if not peer_has(args, module)]
        if absent:
            print("%s has no %s: the peer's parts are left out" % (args.python, " and no ".join(absent)), flush=True)
            parts = {k: v for k, v in parts.items() if v[0] != "peer"}
    return parts


def run_parts(args, rows, deadline):
    """Runs what is missing; the names of parts for which no time was left."""
    left, wheels, no_model = [], use_wheels(args), None
    for name, (program, words, environment, minutes) in chosen_parts(args).items():
        if name in rows and "error" not in rows[name]:
            continue
        if deadline - time.monotonic() < 30 * minutes:
            left.append(name)
            continue
        if "MODEL" in words and not no_model:
            no_model = make_model(args, deadline)
        if "MODEL" in words and no_model:
            rows[name] = {"error": "%s was not made: %s" % (args.model, no_model)}
        else:
            own = {} if program == "peer" else wheels
            rows[name] = run(args, program, words, {**own, **environment}, max(60 * minutes, 60))
        save(args.out, rows)
        print("%-18s %s" % (name, json.dumps(rows[name])[:160]), flush=True)
    return left


def main():
    args = parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    rows = {}
    if os.path.exists(args.out):
        with open(args.out, encoding="utf-8") as file:
            rows = json.load(file)
    probe = run(args, "engine", ["launch", "1"], use_wheels(args), 120)
    if "error" in probe:
        sys.exit("measure_gpu: no card to measure: " + probe["error"])
    left = run_parts(args, rows, deadline)
    write_tables(os.path.splitext(args.out)[0] + ".md", rows)
    for name, found, goal in goals(rows):
        print("%-52s %10s  %s" % (name, cell(found), goal))
    if left:
        print("%d parts left, run the same command again: %s" % (len(left), ", ".join(left)))
    return 1 if any("error" in row for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
