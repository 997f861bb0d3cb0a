#!/usr/bin/env python3
"""PyTorch/diffusers side of the speed comparison: one transformer forward, one VAE decode, sgemm.

Usage: peer_torch.py MODEL_DIR [--what transformer,vae,sgemm] [--shapes 9x256x256,17x320x192]
                     [--repeat 3] [--threads N] [--text-rows 24]

MODEL_DIR is a model in the diffusers layout, for example one written by make_random_model.py.
A shape is FRAMESxWIDTHxHEIGHT. Weights of any type are upcast to f32 and everything is computed
in f32 on the CPU. Prints one JSON object a line:

    {"name": "transformer/9x256x256", "seconds_median": …, "seconds_best": …, "gflop": …, …}

gflop counts a multiply and an add as two. For the transformer with N tokens, width d, feed-forward
width f and L text rows it is, per block, 2N(6d²+2df) + 4Ld² + 4N²d + 4NLd, plus the embeddings and
the head: the work as PyTorch does it, with all 512 text rows. For the VAE it is counted at the
convolutions and the attention.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import time


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("--what", default="transformer,vae", help="comma list of transformer, vae, sgemm")
    parser.add_argument("--shapes", default="9x256x256,17x320x192", help="comma list of FRAMESxWIDTHxHEIGHT")
    parser.add_argument("--repeat", type=int, default=3, help="timed runs after one warm-up run")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--text-rows", type=int, default=24, help="rows of real text; the rest of 512 is zero")
    args = parser.parse_args()
    args.shapes = [tuple(int(v) for v in s.split("x")) for s in args.shapes.split(",")]
    for frames, width, height in args.shapes:
        if frames % 4 != 1 or width % 16 or height % 16:
            parser.error("frames must be 4n+1, width and height multiples of 16")
    args.what = args.what.split(",")
    return args


ARGS = parse_args()
os.environ.setdefault("OMP_NUM_THREADS", str(ARGS.threads))

import torch  # noqa: E402
from diffusers import AutoencoderKLWan, WanTransformer3DModel  # noqa: E402

TEXT_ROWS = 512


def measure(name, gflop, call, **about):
    call()
    seconds, cpu = [], []
    for _ in range(ARGS.repeat):
        wall, busy = time.perf_counter(), time.process_time()
        call()
        seconds.append(time.perf_counter() - wall)
        cpu.append(time.process_time() - busy)
    median = statistics.median(seconds)
    print(json.dumps({
        "name": name, "seconds_median": round(median, 4), "seconds_best": round(min(seconds), 4),
        "seconds": [round(s, 4) for s in seconds], "cpu_seconds": [round(s, 3) for s in cpu],
        "gflop": round(gflop, 2), "gflop_per_second_median": round(gflop / median, 2),
        "gflop_per_second_best": round(gflop / min(seconds), 2), "threads": torch.get_num_threads(),
        "dtype": "f32", "torch": torch.__version__, **about}), flush=True)


def transformer_gflop(config, tokens):
    d = config.num_attention_heads * config.attention_head_dim
    f, rows = config.ffn_dim, TEXT_ROWS
    patch = config.patch_size[0] * config.patch_size[1] * config.patch_size[2]
    block = 2 * tokens * (6 * d * d + 2 * d * f) + 4 * rows * d * d + 4 * tokens**2 * d + 4 * tokens * rows * d
    time_part = 2 * (config.freq_dim * d + d * d + 6 * d * d)
    text_part = 2 * rows * (config.text_dim * d + d * d)
    ends = 2 * tokens * d * patch * (config.in_channels + config.out_channels)
    return (config.num_layers * block + time_part + text_part + ends) / 1e9


def bench_transformer():
    model = WanTransformer3DModel.from_pretrained(ARGS.model_dir, subfolder="transformer",
                                                  torch_dtype=torch.float32).eval()
    config = model.config
    noise = torch.Generator().manual_seed(1)
    text = torch.zeros(1, TEXT_ROWS, config.text_dim)
    text[:, :ARGS.text_rows] = torch.randn(1, ARGS.text_rows, config.text_dim, generator=noise)
    for frames, width, height in ARGS.shapes:
        grid = (1 + (frames - 1) // 4, height // 8, width // 8)
        latents = torch.randn(1, config.in_channels, *grid, generator=noise)
        tokens = grid[0] * (grid[1] // 2) * (grid[2] // 2)
        timestep = torch.tensor([900])
        measure(f"transformer/{frames}x{width}x{height}", transformer_gflop(config, tokens),
                lambda x=latents: model(x, timestep, text, return_dict=False), tokens=tokens)


def count_vae_gflop(vae, latents):
    """Runs one decode and adds up the multiplications of convolutions and attention."""
    total = [0.0]

    def conv(module, _inputs, output):
        kernel = module.weight[0].numel()
        total[0] += 2.0 * output.numel() * kernel

    def attention(_module, inputs, _output):
        b, c, t, h, w = inputs[0].shape
        total[0] += 4.0 * b * t * (h * w) ** 2 * c

    handles = []
    for module in vae.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)):
            handles.append(module.register_forward_hook(conv))
        elif type(module).__name__ == "WanAttentionBlock":
            handles.append(module.register_forward_hook(attention))
    vae.decode(latents)
    for handle in handles:
        handle.remove()
    return total[0] / 1e9


def bench_vae():
    vae = AutoencoderKLWan.from_pretrained(ARGS.model_dir, subfolder="vae", torch_dtype=torch.float32).eval()
    scale = vae.config.scale_factor_spatial
    noise = torch.Generator().manual_seed(2)
    for frames, width, height in ARGS.shapes:
        grid = (1 + (frames - 1) // 4, height // scale, width // scale)
        latents = torch.randn(1, vae.config.z_dim, *grid, generator=noise)
        gflop = count_vae_gflop(vae, latents)
        measure(f"vae_decode/{frames}x{width}x{height}", gflop, lambda z=latents: vae.decode(z))


def bench_sgemm():
    """The machine's own rate at the transformer's shapes: [N,K] x [K,M] in f32."""
    for rows, inner, columns in ((768, 1536, 8960), (768, 8960, 1536), (768, 1536, 1536), (2048, 2048, 2048)):
        a, b = torch.randn(rows, inner), torch.randn(columns, inner)
        out = torch.empty(rows, columns)
        measure(f"sgemm/{rows}x{columns}x{inner}", 2e-9 * rows * inner * columns,
                lambda a=a, b=b, out=out: torch.mm(a, b.T, out=out))


def main():
    torch.set_num_threads(ARGS.threads)
    torch.set_grad_enabled(False)
    parts = {"transformer": bench_transformer, "vae": bench_vae, "sgemm": bench_sgemm}
    for what in ARGS.what:
        parts[what]()
        gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main())
