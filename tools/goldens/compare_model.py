#!/usr/bin/env python3
"""Compares sora-worker with diffusers end to end on a given model directory and prompt.

Usage: compare_model.py MODEL_DIR --prompt TEXT [--negative TEXT] [--frames 9] [--size WxH]
           [--steps 8] [--guidance 5] [--shift 3] [--solver unipc|euler] [--seed 1] [--threads N]
           [--device cpu|cuda] [--worker build/release/sora-worker] [--keep DIR] [--json]
           [--latents-max 1e-4] [--psnr-min 40] [--reference-only]

Both sides start from the same noise, which this script draws and writes as a safetensors file with
one f32 tensor "latents" [C,T,H,W]; sora-worker writes its final latents in the same form and its
frames as pictures. Everything is f32. Prints the relative L2 of the latents and the PSNR of the
frames; exits with 1 when a limit is missed, 2 when something could not be run.
"""

import argparse
import gc
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def fail(text):
    print(f"compare_model: {text}", file=sys.stderr)
    sys.exit(2)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--negative", default="")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--size", default="256x256", help="WIDTHxHEIGHT")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--solver", choices=("unipc", "euler"), default="unipc")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="where diffusers runs: cpu or cuda")
    parser.add_argument("--worker", type=Path, help="the sora-worker binary (default: newest under build/)")
    parser.add_argument("--worker-option", action="append", default=[], help="passed to sora-worker as it is")
    parser.add_argument("--keep", type=Path, help="keep noise, latents and frames in this folder")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--latents-max", type=float, default=1e-4, help="largest allowed relative L2")
    parser.add_argument("--psnr-min", type=float, default=40.0, help="smallest allowed PSNR of a frame, dB")
    parser.add_argument("--reference-only", action="store_true", help="run diffusers only")
    return parser.parse_args()


def find_worker(given):
    if given:
        return given if given.exists() else fail(f"--worker {given}: no such file")
    found = [p for p in (ROOT / "build").rglob("sora-worker") if p.is_file() and os.access(p, os.X_OK)]
    if not found:
        fail("no sora-worker under build/; build it or give --worker")
    return max(found, key=lambda p: p.stat().st_mtime)


def run_reference(args, folder):
    """Runs diffusers, writes noise and reference latents, returns latents, frames and seconds."""
    import diffusers
    import torch
    import transformers
    from diffusers import (AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler,
                           WanPipeline)
    from safetensors.torch import save_file

    warnings.filterwarnings("ignore")
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    width, height = (int(v) for v in args.size.split("x"))

    # The text encoder of a real model is 23 GB in f32: encode first, then let it go.
    pipe = WanPipeline.from_pretrained(args.model_dir, transformer=None, vae=None, torch_dtype=torch.float32)
    began = time.monotonic()
    text, negative = pipe.encode_prompt(args.prompt, args.negative, args.guidance > 1, max_sequence_length=512)
    seconds = {"text": time.monotonic() - began}
    tokenizer, dummy = pipe.tokenizer, pipe.scheduler
    del pipe
    gc.collect()

    vae = AutoencoderKLWan.from_pretrained(args.model_dir, subfolder="vae", torch_dtype=torch.float32)
    pipe = WanPipeline.from_pretrained(args.model_dir, tokenizer=tokenizer, text_encoder=None, vae=vae,
                                       scheduler=dummy, torch_dtype=torch.float32).to(args.device)
    if args.solver == "unipc":
        pipe.scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True,
                                                 flow_shift=args.shift, solver_order=2, solver_type="bh2")
    else:
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=args.shift)
    pipe.set_progress_bar_config(disable=True)
    scale = pipe.vae_scale_factor_spatial
    patch = pipe.transformer.config.patch_size
    if args.frames % 4 != 1 or width % max(16, scale * patch[2]) or height % max(16, scale * patch[1]):
        fail(f"--frames must be 4n+1; --size must divide by {max(16, scale * patch[2])} and 16")
    grid = (pipe.transformer.config.in_channels, 1 + (args.frames - 1) // 4, height // scale, width // scale)
    noise = torch.randn(grid, generator=torch.Generator().manual_seed(args.seed))
    save_file({"latents": noise}, folder / "noise.safetensors")

    began = time.monotonic()
    latents = pipe(prompt_embeds=text.to(args.device), negative_prompt_embeds=None if negative is None
                   else negative.to(args.device), height=height, width=width, num_frames=args.frames,
                   num_inference_steps=args.steps, guidance_scale=args.guidance,
                   latents=noise[None].to(args.device), output_type="latent").frames
    seconds["sampling"] = time.monotonic() - began
    z = vae.config.z_dim
    mean = torch.tensor(vae.config.latents_mean, device=latents.device).view(1, z, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std, device=latents.device).view(1, z, 1, 1, 1)
    began = time.monotonic()
    video = vae.decode(latents * std + mean, return_dict=False)[0][0]
    seconds["decode"] = time.monotonic() - began
    latents = latents[0].cpu()
    save_file({"latents": latents}, folder / "reference_latents.safetensors")
    frames = ((video.permute(1, 2, 3, 0).cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    return latents, frames, seconds


def run_worker(args, worker, folder):
    frames = folder / "frames"
    command = [str(worker), "render", "--model", str(args.model_dir), "--prompt", args.prompt,
               "--negative", args.negative, "--frames", str(args.frames), "--size", args.size,
               "--solver", args.solver, "--steps", str(args.steps), "--guidance", f"{args.guidance:g}",
               "--shift", f"{args.shift:g}", "--seed", str(args.seed), "--threads", str(args.threads),
               "--noise", str(folder / "noise.safetensors"),
               "--dump-latents", str(folder / "latents.safetensors"), "--dump-frames", str(frames),
               "--output", str(folder / "video.mp4"), *args.worker_option]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{' '.join(command)}\nexited with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return time.monotonic() - began, frames


def read_frames(folder):
    import numpy
    from PIL import Image

    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".ppm", ".bmp"))
    return numpy.stack([numpy.asarray(Image.open(p).convert("RGB")) for p in paths]) if paths else None


def compare(args, latents, frames, folder, frames_folder):
    import numpy
    from safetensors.torch import load_file

    ours = load_file(folder / "latents.safetensors")["latents"].float()
    if ours.shape != latents.shape:
        fail(f"latents have shape {list(ours.shape)}, the reference {list(latents.shape)}")
    result = {"latents_relative_l2": float((ours - latents).norm() / latents.norm()),
              "latents_largest_difference": float((ours - latents).abs().max())}
    pictures = read_frames(frames_folder) if frames_folder.is_dir() else None
    if pictures is None:
        result["frames"] = "none written"
        return result
    if pictures.shape != frames.shape:
        fail(f"frames have shape {list(pictures.shape)}, the reference {list(frames.shape)}")
    error = ((pictures.astype(numpy.float64) - frames) ** 2).mean(axis=(1, 2, 3))
    psnr = [math.inf if e == 0 else 10 * math.log10(255**2 / e) for e in error]
    finite = [min(p, 99.0) for p in psnr]
    result.update(psnr_mean_db=sum(finite) / len(finite), psnr_worst_db=min(finite), frames=len(finite))
    return result


def main():
    args = parse_args()
    if not (args.model_dir / "model_index.json").exists():
        fail(f"{args.model_dir}: no model_index.json, not a model in the diffusers layout")
    worker = None if args.reference_only else find_worker(args.worker)
    folder = args.keep or Path(tempfile.mkdtemp(prefix="sora-compare-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--keep {folder}: {error.strerror}")
    try:
        latents, frames, seconds = run_reference(args, folder)
        result = {"model": str(args.model_dir), "frames_asked": args.frames, "size": args.size,
                  "solver": args.solver, "steps": args.steps, "guidance": args.guidance, "shift": args.shift,
                  "seed": args.seed, "reference_seconds": {k: round(v, 2) for k, v in seconds.items()},
                  "reference_latents_rms": float(latents.square().mean().sqrt())}
        if worker:
            took, frames_folder = run_worker(args, worker, folder)
            result.update(compare(args, latents, frames, folder, frames_folder), worker_seconds=round(took, 2))
            result["passed"] = (result["latents_relative_l2"] <= args.latents_max
                                and result.get("psnr_worst_db", args.psnr_min) >= args.psnr_min)
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:28} {value:.6g}" if isinstance(value, float) else f"{key:28} {value}")
    return 0 if result.get("passed", True) else 1


if __name__ == "__main__":
    sys.exit(main())
