"""Measures the model on held-out captions, by pixels; prints JSON and can draw a contact sheet.

  evaluate.py --model models/mini|--work DIR [--count 240] [--steps 12] [--guidance 3] [--json OUT]
              [--sheet OUT.png] [--psnr HELD_OUT.npy] [--ceiling]

Captions are complete random captions of combinations that were never trained on; every value of every
attribute is named about equally often. A clip is one native window (33 frames). --ceiling reads drawn
clips that went through the VAE instead of sampled ones: the most that the checker could give.
--psnr measures VAE reconstruction on a file made by make_frames.py.
"""
import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import numpy as np
import torch
import captions
import checker
import contact
import sampling
import scenes
import train_vae
import wan_vae

NAMES = ("object", "colour", "scene", "time", "motion")


def held_out_captions(count, seed=61):
    rng = np.random.default_rng(seed)
    specs = [scenes.random_spec(rng, held_out=True) for _ in range(count)]
    return specs, [captions.caption(s, rng, complete=True)[0] for s in specs]


@torch.no_grad()
def reconstruct(model, frames):
    x = torch.from_numpy(frames[None]).permute(0, 1, 4, 2, 3).float().to(model.device) / 127.5 - 1
    with torch.autocast(model.device, dtype=torch.bfloat16):
        mean = wan_vae.encode(model.vae, x)[0].float()
    return model.decode((mean - model.mean) / model.std)[0]


def judge_part(args, part):
    """Samples or reconstructs every `processes`-th batch; returns what was asked and what was seen."""
    torch.set_num_threads(max(1, args.threads // args.processes))
    model, judge = sampling.Model(args.work, args.model, args.device), checker.Checker()
    model.decoder = torch.compile(wan_vae.decode, dynamic=False)
    specs, texts = held_out_captions(args.count)
    found = []
    for number, k in enumerate(range(0, len(specs), args.batch)):
        if number % args.processes != part:
            continue
        batch, prompts = specs[k:k + args.batch], texts[k:k + args.batch]
        if args.ceiling:
            clips = [reconstruct(model, scenes.Clip(s).frames(100, 4 * args.decode_latents - 3)) for s in batch]
        else:
            z = model.sample(prompts, args.steps, args.guidance, args.shift, args.solver, args.seed + k, args.latents)
            clips = model.decode(z[:, :args.decode_latents])
        for j, clip in enumerate(clips):
            pictures = [clip[0], clip[len(clip) // 2], clip[-1]] if k + j < 40 else None
            found.append((k + j, judge.clip(clip), checker.motion_amount(clip), pictures))
        tally = [sum(seen.get(n) == getattr(specs[i], n) for i, seen, _, _ in found) for n in NAMES]
        print(f"part {part}: {len(found)} clips, right", *(f"{n} {t}" for n, t in zip(NAMES, tally)),
              file=sys.stderr, flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--work")
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--solver", default="unipc")
    parser.add_argument("--latents", type=int, default=9)
    parser.add_argument("--decode-latents", type=int, default=9, help="decode and judge only so many")
    parser.add_argument("--seed", type=int, default=62)
    parser.add_argument("--json")
    parser.add_argument("--sheet")
    parser.add_argument("--psnr")
    parser.add_argument("--psnr-clips", type=int, default=24)
    parser.add_argument("--ceiling", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    started = time.time()
    if args.processes == 1:
        found = judge_part(args, 0)
    else:
        with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
            found = sum(pool.map(judge_part, [args] * args.processes, range(args.processes)), [])
    found.sort(key=lambda f: f[0])
    specs, texts = held_out_captions(args.count)
    right = {name: [] for name in NAMES}
    wrong, amounts = [], {}
    for (number, seen, amount, _), spec, prompt in zip(found, specs, texts):
        for name in NAMES:
            if name in seen:
                right[name].append(seen[name] == getattr(spec, name))
                if not right[name][-1]:
                    wrong.append([name, getattr(spec, name), seen[name], prompt])
        amounts.setdefault(spec.motion, []).append(amount)
    present = [seen["object"] != "none" for _, seen, _, _ in found]
    result = {"captions": len(specs), "steps": args.steps, "guidance": args.guidance, "shift": args.shift,
              "solver": args.solver, "ceiling": args.ceiling, "judged_frames": 4 * args.decode_latents - 3,
              "some_object_present": round(float(np.mean(present)), 4),
              "right": {n: round(float(np.mean(v)), 4) for n, v in right.items() if v},
              "all_right": round(float(np.mean(np.all([v for v in right.values() if v], axis=0))), 4),
              "motion_amount": {m: round(float(np.mean(v)), 3) for m, v in amounts.items()},
              "seconds": round(time.time() - started, 1)}
    if args.psnr:
        model = sampling.Model(args.work, args.model, args.device)
        pool = np.load(args.psnr, mmap_mode="r")
        mean_db, worst_db = train_vae.psnr(model.vae, pool, args.device, min(args.psnr_clips, len(pool)))
        result["vae_psnr_db"], result["vae_psnr_worst_clip_db"] = round(mean_db, 2), round(worst_db, 2)
    print(json.dumps(result, indent=1))
    counts = {}
    for name, want, got, _ in wrong:
        counts[f"{name}: {want} read as {got}"] = counts.get(f"{name}: {want} read as {got}", 0) + 1
    for text, n in sorted(counts.items(), key=lambda p: -p[1])[:25]:
        print(f"{n:4d}  {text}")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({**result, "wrong": wrong}, f, indent=1)
            f.write("\n")
    if args.sheet:
        rows = [pictures for _, _, _, pictures in found if pictures]
        contact.sheet([sum(rows[k:k + 2], []) for k in range(0, len(rows), 2)], args.sheet, 0.6)


if __name__ == "__main__":
    main()
