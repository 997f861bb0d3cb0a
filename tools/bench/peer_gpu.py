#!/usr/bin/env python3
"""PyTorch's side of the comparison on a card: one part per run, one JSON object on stdout.

Usage: peer_gpu.py matmul MxNxK | attention QxKxHxD | transformer MODEL WxH FRAMES | vae MODEL WxH FRAMES
                   [--repeats 5] [--device cuda]

bf16 throughout: torch.mm; scaled_dot_product_attention, which picks its fused kernel; diffusers'
WanTransformer3DModel and AutoencoderKLWan with the weights of MODEL (make_random_model.py). The text
is 40 rows of 512, as for bench_gpu. --device cpu is for trying the program.
"""
import argparse
import json
import statistics
import time

import torch

TEXT_ROWS, PADDED_ROWS = 40, 512
BF16 = torch.bfloat16


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("words", nargs="+")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


def numbers(word):
    return [int(v) for v in word.split("x")]


def random(args, *shape):
    return torch.randn(*shape, device=args.device).to(BF16)


def synchronize(args):
    if args.device == "cuda":
        torch.cuda.synchronize()


def measure(args, call, flops):
    for _ in range(2):  # the second has every kernel chosen
        call()
    synchronize(args)
    times = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        call()
        synchronize(args)
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    return {"repeats": args.repeats, "median_s": median, "best_s": min(times),
            "tflop_per_s": flops / 1e12 / median if flops else None}


def matmul(args):
    m, n, k = numbers(args.words[0])
    a, b = random(args, m, k), random(args, n, k)
    return measure(args, lambda: torch.mm(a, b.T), 2.0 * m * n * k)


def attention(args):
    queries, keys, heads, size = numbers(args.words[0])
    q, k, v = (random(args, 1, heads, rows, size) for rows in (queries, keys, keys))
    return measure(args, lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v),
                   4.0 * queries * keys * heads * size)


def size_of(args):
    width, height = numbers(args.words[1])
    return 1 + (int(args.words[2]) - 1) // 4, height, width


def transformer(args):
    from diffusers import WanTransformer3DModel
    model = WanTransformer3DModel.from_pretrained(args.words[0], subfolder="transformer", torch_dtype=BF16)
    model = model.eval().to(args.device)
    frames, height, width = size_of(args)
    latents = random(args, 1, model.config.in_channels, frames, height // 8, width // 8)
    text = torch.zeros(1, PADDED_ROWS, model.config.text_dim, device=args.device, dtype=BF16)
    text[:, :TEXT_ROWS] = random(args, 1, TEXT_ROWS, model.config.text_dim)
    timestep = torch.tensor([900], device=args.device)
    return measure(args, lambda: model(latents, timestep, text, return_dict=False), None)


def vae(args):
    from diffusers import AutoencoderKLWan
    model = AutoencoderKLWan.from_pretrained(args.words[0], subfolder="vae", torch_dtype=BF16)
    model = model.eval().to(args.device)
    frames, height, width = size_of(args)
    scale = model.config.scale_factor_spatial
    latents = random(args, 1, model.config.z_dim, frames, height // scale, width // scale)
    return measure(args, lambda: model.decode(latents, return_dict=False), None)


PARTS = {"matmul": matmul, "attention": attention, "transformer": transformer, "vae": vae}


def main():
    args = parse_args()
    torch.set_grad_enabled(False)
    row = PARTS[args.part](args)
    row.update(part=args.part, torch=torch.__version__)
    if args.device == "cuda":
        row.update(device=torch.cuda.get_device_name(), memory_bytes_max=torch.cuda.max_memory_allocated())
    print(json.dumps(row))


if __name__ == "__main__":
    main()
