"""Draws the pool of pictures and short clips on which the VAE is trained.

  make_frames.py --work DIR [--images 4000] [--clips 600] [--held-out 64]

Writes images.npy [N, H, W, 3], clips.npy [N, 17, H, W, 3] and held_out.npy (clips of combinations
that are never trained on), all uint8.
"""
import argparse
import os
from concurrent.futures import ProcessPoolExecutor
import numpy as np
import scenes

CLIP_FRAMES = 17


def _draw(job):
    seed, held_out, count = job
    rng = np.random.default_rng(seed)
    spec = scenes.random_spec(rng, held_out)
    start = int(rng.integers(0, 2000))
    return scenes.Clip(spec).frames(start, count)


def fill(path, count, seed, held_out, frames, processes):
    out = np.lib.format.open_memmap(path + ".part", "w+", np.uint8,
                                    (count, frames, scenes.HEIGHT, scenes.WIDTH, 3))
    jobs = [((seed, k), held_out, frames) for k in range(count)]
    with ProcessPoolExecutor(processes) as pool:
        for k, clip in enumerate(pool.map(_draw, jobs, chunksize=8)):
            out[k] = clip
    out.flush()
    os.rename(path + ".part", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    for name, count, seed, held_out, frames in (
            ("images", args.images, 11, False, 1), ("clips", args.clips, 12, False, CLIP_FRAMES),
            ("held_out", args.held_out, 13, True, CLIP_FRAMES)):
        path = os.path.join(args.work, name + ".npy")
        if not os.path.exists(path):
            fill(path, count, seed, held_out, frames, args.processes)
            print("drew", path, count, "x", frames, flush=True)


if __name__ == "__main__":
    main()
