"""Draws clips and stores their latents: the data set of the transformer.

  encode_data.py --work DIR [--clips 800] [--frames 49] [--images 4000] [--processes 2]

Reads DIR/vae/out, writes shards DIR/data/{clips,images}-NNNN.npz with normalised latents (float16,
[N, T, 16, h, w]) and the specs (JSON). Finished shards are kept, so it can be stopped and started.
Pictures come from the VAE's pool as far as it goes. Combinations that `Spec.is_held_out` names are never drawn here.
"""
import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
import numpy as np
import scenes

SHARD = {"clips": 50, "images": 500}
_model = {}


def _setup(folder, device, threads):
    import torch
    import wan_vae
    from diffusers import AutoencoderKLWan
    torch.set_num_threads(threads)
    vae = wan_vae.mark_flat(AutoencoderKLWan.from_pretrained(folder).eval()).to(device)
    mean = torch.tensor(vae.config.latents_mean, device=device).view(1, 1, 16, 1, 1)
    std = torch.tensor(vae.config.latents_std, device=device).view(1, 1, 16, 1, 1)
    run = torch.compile(lambda x: wan_vae.encode(vae, x)[0], dynamic=False) if device == "cpu" else (
        lambda x: wan_vae.encode(vae, x)[0])
    pool = os.path.join(os.path.dirname(folder), "images.npy")
    _model.update(pool=np.load(pool, mmap_mode="r") if os.path.exists(pool) else None)
    _model.update(run=run, vae=vae, mean=mean, std=std, device=device, torch=torch, wan_vae=wan_vae)


def encode_pixels(frames):
    """uint8 [B, F, H, W, 3] -> normalised latents float16 [B, T, 16, h, w]."""
    torch = _model["torch"]
    with torch.no_grad(), torch.autocast(_model["device"], dtype=torch.bfloat16):
        x = torch.from_numpy(frames).to(_model["device"]).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        mean = _model["run"](x.contiguous()).float()
    return ((mean - _model["mean"]) / _model["std"]).half().cpu().numpy()


def _shard(job):
    kind, number, frames, path = job
    rng = np.random.default_rng((31 if kind == "clips" else 32, number))
    specs, latents = [], []
    if kind == "images" and _model["pool"] is not None and (number + 1) * SHARD[kind] <= len(_model["pool"]):
        mine = range(number * SHARD[kind], (number + 1) * SHARD[kind])
        specs = [scenes.random_spec(np.random.default_rng((11, k))).asdict() for k in mine]
        latents = [_model["pool"][k] for k in mine]
        rng = None
    for _ in range(SHARD[kind] if rng else 0):
        spec = scenes.random_spec(rng)
        start = int(rng.integers(0, 2000))
        specs.append(spec.asdict())
        if kind == "clips":
            latents.append(encode_pixels(scenes.Clip(spec).frames(start, frames)[None])[0])
        else:
            latents.append(scenes.Clip(spec).frame(start)[None])
    if kind == "images":
        latents = [encode_pixels(np.stack(latents[k:k + 20])) for k in range(0, len(latents), 20)]
        latents = np.concatenate(latents)
    temporary = path + ".part.npz"
    np.savez(temporary, latents=np.stack(latents) if kind == "clips" else latents,
             specs=json.dumps(specs))
    os.replace(temporary, path)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--clips", type=int, default=800)
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    out = os.path.join(args.work, "data")
    os.makedirs(out, exist_ok=True)
    jobs = []
    for kind, count in (("images", args.images), ("clips", args.clips)):
        for number in range((count + SHARD[kind] - 1) // SHARD[kind]):
            path = os.path.join(out, f"{kind}-{number:04d}.npz")
            if not os.path.exists(path):
                jobs.append((kind, number, args.frames if kind == "clips" else 1, path))
    started = time.time()
    with ProcessPoolExecutor(args.processes, initializer=_setup, initargs=(
            os.path.join(args.work, "vae", "out"), args.device, 1)) as pool:
        for k, path in enumerate(pool.map(_shard, jobs)):
            print(k + 1, "of", len(jobs), path, f"{time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
