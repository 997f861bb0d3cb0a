#!/usr/bin/env python3
"""Writes a model directory of real dimensions with random weights, for benchmarks.

Usage: make_random_model.py DIR [--size 1.3b] [--dtype bf16|f32|f16] [--seed N] [--shard-mb 1000]

Layout and tensor names are those of Wan2.1-T2V-1.3B in the diffusers layout: the transformer and
the VAE have their real sizes; the text encoder is a legal one-layer UMT5 of the real width 4096
(the real one is 11 GB) with the tokenizer of tests/goldens. Tensors are made one at a time and
written as they are made, so memory stays far below the size of the files. The VAE is f32, as
published. Values are scaled so that activations stay near one.
"""

import argparse
import json
import struct
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "goldens"))
import tiny_models  # noqa: E402

SIZES = {
    "1.3b": dict(num_attention_heads=12, attention_head_dim=128, num_layers=30, ffn_dim=8960),
    "quarter": dict(num_attention_heads=6, attention_head_dim=128, num_layers=15, ffn_dim=4480),
}
TEXT = dict(d_model=4096, d_kv=64, d_ff=1024, num_layers=1, num_heads=8)
NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def shapes_of(build):
    with torch.device("meta"):
        model = build()
    return model, {k: tuple(v.shape) for k, v in model.state_dict().items()}


def raw_bytes(tensor):
    return tensor.contiguous().view(torch.uint8).reshape(-1).numpy().data


def write_file(path, shapes, dtype, make):
    """One safetensors file; make(name) gives each tensor when it is its turn."""
    size_of = torch.empty(0, dtype=dtype).element_size()
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = size_of * torch.Size(shape).numel()
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(raw_bytes(make(name, shape).to(dtype)))
    return offset


def write_part(folder, stem, shapes, dtype, part, seed, shard_bytes, text=None):
    folder.mkdir(parents=True, exist_ok=True)
    size_of = torch.empty(0, dtype=dtype).element_size()
    groups, size = [{}], 0
    for name, shape in shapes.items():
        bytes_here = size_of * torch.Size(shape).numel()
        if groups[-1] and size + bytes_here > shard_bytes:
            groups.append({})
            size = 0
        groups[-1][name] = shape
        size += bytes_here

    def make(name, shape):
        meta = {name: torch.empty(shape, device="meta")}
        return tiny_models.fill(seed, part, meta, text)[name]

    if len(groups) == 1:
        return write_file(folder / f"{stem}.safetensors", groups[0], dtype, make)
    total, weight_map = 0, {}
    for index, group in enumerate(groups):
        file = f"{stem}-{index + 1:05d}-of-{len(groups):05d}.safetensors"
        total += write_file(folder / file, group, dtype, make)
        weight_map.update({name: file for name in group})
        print(f"{file}: {total / 1e6:.0f} MB so far", file=sys.stderr, flush=True)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--size", choices=SIZES, default="1.3b")
    parser.add_argument("--dtype", choices=tiny_models.DTYPES, default="bf16")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--shard-mb", type=int, default=1000)
    args = parser.parse_args()
    dtype, shard = tiny_models.DTYPES[args.dtype], args.shard_mb * 1_000_000
    began = time.monotonic()

    transformer, shapes = shapes_of(lambda: WanTransformer3DModel(
        in_channels=16, out_channels=16, text_dim=4096, freq_dim=256, **SIZES[args.size]))
    transformer.save_config(args.dir / "transformer")
    total = write_part(args.dir / "transformer", "diffusion_pytorch_model", shapes, dtype, "transformer",
                       args.seed, shard)

    vae, shapes = shapes_of(lambda: AutoencoderKLWan())
    vae.save_config(args.dir / "vae")
    total += write_part(args.dir / "vae", "diffusion_pytorch_model", shapes, torch.float32, "vae", args.seed, shard)

    tokenizer = ROOT / "tests" / "goldens" / "models" / "a_f32" / "tokenizer"
    spiece = (tokenizer / "spiece.model").read_bytes()
    tiny_models.write_tokenizer(args.dir / "tokenizer", spiece)
    vocab = json.loads((tokenizer.parent / "text_encoder" / "config.json").read_text())["vocab_size"]
    config = UMT5Config(vocab_size=vocab, feed_forward_proj="gated-gelu", architectures=["UMT5EncoderModel"],
                        **TEXT)
    config.save_pretrained(args.dir / "text_encoder")
    _, shapes = shapes_of(lambda: UMT5EncoderModel(config))
    shapes = {k: v for k, v in shapes.items() if "embed_tokens" not in k}
    total += write_part(args.dir / "text_encoder", "model", shapes, dtype, "text_encoder", args.seed, shard, TEXT)

    scheduler = tiny_models.write_scheduler(args.dir / "scheduler", {"solver": "unipc", "shift": 3.0})
    tiny_models.write_index(args.dir, scheduler)
    print(json.dumps({"dir": str(args.dir), "bytes": total, "seconds": round(time.monotonic() - began, 1)}))
    return 0


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
