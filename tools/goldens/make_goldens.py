#!/usr/bin/env python3
"""Makes the reference values under tests/goldens: models, tokenizer cases, tensors, index.

Usage: make_goldens.py [OUTDIR]          (default: tests/goldens beside this repository's root)
       make_goldens.py --only tokenizer  (or models, or the name of one configuration)
"""

import argparse
import io
import json
import platform
import shutil
import sys
import warnings
from pathlib import Path
from unittest import mock

import diffusers
import ftfy
import numpy
import safetensors
import sentencepiece
import tokenizers
import torch
import transformers
from diffusers import (AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler,
                       WanPipeline, WanTransformer3DModel)
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from safetensors.torch import load_file, save_file
from transformers import UMT5EncoderModel

import corpus
import prompts
import tiny_models

ROOT = Path(__file__).resolve().parents[2]
PIECES = 1500
TOKENS_MAX = 512
STEPS, GUIDANCE = 8, 5.0
TOLERANCES = {"tokenizer": 0.0, "text": 1e-5, "transformer": 1e-5, "sampling": 1e-4, "vae": 1e-5}

PROMPTS = [
    "A red balloon drifts over the calm sea at sunrise, soft golden light, cinematic.",
    "夜晚的城市街道，霓虹灯倒映在雨水中 — schÃ¶n &amp; ruhig, der kleine Hund 🐶 läuft…",
    "",
    " ".join(f"{s} {v} {p}" for s in corpus.SUBJECTS for v, p in zip(corpus.VERBS, corpus.PLACES)),
]
NEGATIVE = "色调艳丽，过曝，静态，细节模糊不清，字幕, worst quality, low quality"

# Per configuration: latent grids of the two transformer cases, of the sampling runs, and the
# VAE's clips as (frames, height, width).
SHAPES = {
    "a_f32": dict(forward=[(3, 6, 10), (1, 2, 14)], sample=(3, 6, 10), text_rows=512,
                  vae=[(1, 24, 40), (5, 40, 8), (9, 16, 24)]),
    "b_bf16": dict(forward=[(2, 10, 6), (5, 6, 6)], sample=(2, 6, 10), text_rows=131,
                   vae=[(1, 8, 8), (13, 8, 24)]),
    "c_f16": dict(forward=[(5, 2, 18), (4, 6, 14)], sample=(4, 10, 6), text_rows=77,
                  vae=[(5, 24, 16), (9, 8, 24)]),
    "d_mini": dict(forward=[(3, 10, 6), (9, 6, 2)], sample=(5, 6, 6), text_rows=512,
                   vae=[(1, 32, 48), (5, 16, 48), (9, 32, 16)]),
}


def train_tokenizer():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus.sentences()), model_writer=model, model_type="unigram",
        vocab_size=PIECES, character_coverage=0.9999, byte_fallback=True,
        normalization_rule_name="nmt_nfkc", pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece="<pad>", eos_piece="</s>", bos_piece="<s>", unk_piece="<unk>",
        add_dummy_prefix=True, num_threads=1, minloglevel=1, max_sentence_length=16384)
    return model.getvalue()


def uniform(seed, name, shape):
    g = tiny_models.generator(seed, name)
    return torch.rand(shape, generator=g, dtype=torch.float32)


class Recorder:
    """Writes tensor files and collects their description for index.json."""

    def __init__(self, out):
        self.out, self.files = out, {}

    def save(self, path, kind, tensors, **about):
        tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
        file = self.out / path
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, file)
        file.chmod(0o644)
        self.files[path] = {
            "kind": kind, "tolerance_relative_l2": TOLERANCES[kind], **about,
            "tensors": {k: {"dtype": str(v.dtype)[6:], "shape": list(v.shape)}
                        for k, v in sorted(tensors.items())}}


def make_text(rec, name, pipe):
    tensors = {}
    for index, prompt in enumerate([*PROMPTS, NEGATIVE]):
        if index == 3 and name != "a_f32":
            continue  # 512 rows are large, once is enough
        text = pipe.tokenizer([prompt_clean(prompt)], padding="max_length", max_length=TOKENS_MAX,
                              truncation=True, add_special_tokens=True, return_attention_mask=True,
                              return_tensors="pt")
        count = int(text.attention_mask.sum())
        full = pipe._get_t5_prompt_embeds(prompt=prompt, max_sequence_length=TOKENS_MAX)[0]
        assert torch.count_nonzero(full[count:]) == 0
        tensors[f"ids.{index}"] = text.input_ids[0].to(torch.int32)
        tensors[f"mask.{index}"] = text.attention_mask[0].to(torch.int32)
        tensors[f"embeds.{index}"] = full[:count]
    rec.save(f"values/{name}/text.safetensors", "text", tensors, prompts=[*PROMPTS, NEGATIVE],
             note="ids and mask padded to 512; embeds are the rows of real tokens (mask sum); the "
                  "prompt_embeds given to the transformer are these rows and zeros up to 512")


def watch(model, tensors):
    """Keeps intermediate values of the next forward pass."""
    def keep(key):
        def hook(_module, _inputs, output):
            tensors[key] = (output[0] if isinstance(output, tuple) else output)[0]
        return hook

    def keep_input(key):
        def hook(_module, inputs):
            tensors[key] = inputs[0][0]
        return hook

    emb = model.condition_embedder
    pairs = [(model.patch_embedding, "patch_embedding"), (emb.timesteps_proj, "time_sinusoid"),
             (emb.time_embedder, "temb"), (emb.time_proj, "timestep_proj"),
             (emb.text_embedder, "text_embedded"), (model.blocks[0].attn1, "block0_self_attention"),
             (model.blocks[0].attn2, "block0_cross_attention"), (model.blocks[0].ffn, "block0_ffn"),
             (model.blocks[0], "block0")]
    handles = [m.register_forward_hook(keep(k)) for m, k in pairs]
    handles.append(model.norm_out.register_forward_pre_hook(keep_input("before_head")))
    handles.append(model.proj_out.register_forward_pre_hook(keep_input("head_modulated")))
    return handles


def make_transformer(rec, name, config, model, text):
    seed, channels = config["seed"], model.config.in_channels
    model_text = model.config.text_dim
    for index, grid in enumerate(SHAPES[name]["forward"]):
        latents = tiny_models.normal(seed, f"forward/{index}", (1, channels, *grid))
        timestep = torch.tensor([[937], [58]][index])
        if index == 0:
            rows = text["embeds.0"]
        else:
            rows = tiny_models.normal(seed, "forward/text", (SHAPES[name]["text_rows"], model_text))
        padded = torch.cat([rows, rows.new_zeros(TOKENS_MAX - len(rows), model_text)])[None]
        steps, handles = {}, []
        if name == "a_f32" and index == 0:
            handles = watch(model, steps)
        velocity = model(latents, timestep, padded, return_dict=False)[0]
        for handle in handles:
            handle.remove()
        if handles:
            steps["text_embedded"] = steps["text_embedded"][:len(rows) + 1].clone()
            rec.save(f"values/{name}/transformer_{index}_steps.safetensors", "transformer", steps,
                     note="intermediate values of transformer_%d: patch_embedding is [d,T,H/2,W/2]; "
                          "timestep_proj is [6*d]; text_embedded holds the real rows and one padded row; "
                          "block0_* are the outputs of the parts of block 0 before gate and residual; "
                          "before_head is the input of the last norm" % index)
        rec.save(f"values/{name}/transformer_{index}.safetensors", "transformer",
                 {"latents": latents[0], "timestep": timestep, "text": rows, "velocity": velocity[0]},
                 text_rows=len(rows), text_rows_total=TOKENS_MAX, velocity_rms=float(velocity.square().mean().sqrt()),
                 note="text is zero-padded to 512 rows before the text embedder")


def sample(pipe, solver, shift, noise):
    if solver == "unipc":
        pipe.scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2,
            solver_type="bh2")
    else:
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    trail, sigmas = [], []

    def note(pipeline, step, timestep, values):
        trail.append(values["latents"][0].clone())
        return values

    scale = pipe.vae_scale_factor_spatial
    out = pipe(prompt=PROMPTS[0], negative_prompt=NEGATIVE, height=noise.shape[3] * scale,
               width=noise.shape[4] * scale, num_frames=(noise.shape[2] - 1) * 4 + 1,
               num_inference_steps=STEPS, guidance_scale=GUIDANCE, latents=noise.clone(),
               output_type="latent", callback_on_step_end=note).frames[0]
    sigmas = pipe.scheduler.sigmas
    return out, torch.stack(trail), sigmas, pipe.scheduler.timesteps


def make_sampling(rec, name, config, pipe):
    seed, channels = config["seed"], pipe.transformer.config.in_channels
    noise = tiny_models.normal(seed, "sampling/noise", (1, channels, *SHAPES[name]["sample"]))
    for solver, shift in (("unipc", 3.0), ("unipc", 5.0), ("euler", 3.0)):
        final, trail, sigmas, timesteps = sample(pipe, solver, shift, noise)
        nudge = tiny_models.normal(seed, "sampling/nudge", noise.shape)
        moved = sample(pipe, solver, shift, noise + 1e-5 * nudge)[0]
        gain = float((moved - final).norm() / (1e-5 * nudge.norm()) * noise.norm() / final.norm())
        tensors = {"noise": noise[0], "sigmas": sigmas, "timesteps": timesteps, "latents": final}
        if name == "a_f32" and shift == 3.0:
            tensors["trail"] = trail
        rec.save(f"values/{name}/sampling_{solver}_shift{shift:g}.safetensors", "sampling", tensors,
                 prompt=PROMPTS[0], negative_prompt=NEGATIVE, solver=solver, shift=shift, steps=STEPS,
                 guidance=GUIDANCE, latents_rms=float(final.square().mean().sqrt()),
                 relative_error_gain=round(gain, 3),
                 note="trail[i] is the latents after step i; timesteps are what the transformer is given "
                      "(int64 for unipc, float32 for euler); sigmas are the solver's float32 values")


def make_clip(seed, frames, height, width):
    """A smooth moving picture with some noise, in [-1, 1]."""
    t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    planes = [torch.sin(0.21 * (c + 1) * x + 0.17 * y * (c - 1) + 0.5 * t + c) for c in range(3)]
    clip = 0.7 * torch.stack(planes).float() + 0.6 * (uniform(seed, "vae/clip", (3, frames, height, width)) - 0.5)
    return clip.clamp(-1, 1)[None]


def make_vae(rec, name, config, vae):
    seed, z = config["seed"], vae.config.z_dim
    scale = vae.config.scale_factor_spatial
    mean = torch.tensor(vae.config.latents_mean).view(1, z, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, z, 1, 1, 1)
    for index, (frames, height, width) in enumerate(SHAPES[name]["vae"]):
        clip = make_clip(seed + index, frames, height, width)
        mode = vae.encode(clip).latent_dist.mode()
        grid = (1 + (frames - 1) // 4, height // scale, width // scale)
        assert mode.shape[2:] == grid
        rec.save(f"values/{name}/vae_encode_{index}.safetensors", "vae",
                 {"pixels": clip[0], "mode": mode[0], "latents": ((mode - mean) / std)[0]},
                 latents_rms=float(mode.square().mean().sqrt()),
                 note="mode is the raw mean of the posterior; latents = (mode - latents_mean) / latents_std")
        latents = tiny_models.normal(seed, f"vae/latents/{index}", (1, z, *grid))
        raw = latents * std + mean
        clamped = vae.decode(raw, return_dict=False)[0]
        with mock.patch.object(torch, "clamp", side_effect=lambda x, **_: x):
            free = vae.decode(raw, return_dict=False)[0]
        assert torch.equal(free.clamp(-1, 1), clamped)
        rec.save(f"values/{name}/vae_decode_{index}.safetensors", "vae",
                 {"latents": latents[0], "raw_latents": raw[0], "pixels_unclamped": free[0]},
                 clamped_share=float((free.abs() > 1).float().mean()),
                 pixels_rms=float(free.square().mean().sqrt()),
                 note="raw_latents = latents * latents_std + latents_mean is what the decoder is given; "
                      "the reference then clamps to [-1, 1] (checked equal to clamping pixels_unclamped)")


def make_config(rec, name, spiece):
    folder = rec.out / "models" / name
    config = tiny_models.build(name, folder, spiece, PIECES)
    pipe = WanPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    for part in (pipe.transformer, pipe.vae, pipe.text_encoder):
        assert part.dtype == torch.float32
    make_text(rec, name, pipe)
    text = load_file(rec.out / f"values/{name}/text.safetensors")
    make_transformer(rec, name, config, pipe.transformer, text)
    make_sampling(rec, name, config, pipe)
    make_vae(rec, name, config, pipe.vae)
    return pipe.tokenizer


def make_tokenizer_cases(rec, folder):
    tokenizer = transformers.T5TokenizerFast.from_pretrained(folder)
    lines = []
    for group, prompt in prompts.all_prompts():
        cleaned = prompt_clean(prompt)
        ids = tokenizer([cleaned], padding=False, max_length=TOKENS_MAX, truncation=True,
                        add_special_tokens=True).input_ids[0]
        case = {"group": group, "prompt": prompt, "cleaned": cleaned, "ids": ids}
        alternative = prompts.ids_with_unk(tokenizer, cleaned, TOKENS_MAX)
        if alternative != ids:
            case["ids_unk3"] = alternative
        lines.append(json.dumps(case, ensure_ascii=True, separators=(",", ":")))
    path = rec.out / "tokenizer" / "prompts.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    rec.files["tokenizer/prompts.jsonl"] = {
        "kind": "tokenizer", "tolerance_relative_l2": 0.0, "cases": len(lines),
        "note": "every model directory holds the same spiece.model; see tools/goldens/README.md for ids_unk3"}


def write_index(rec):
    index = {
        "made_by": "tools/goldens/make_goldens.py",
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "diffusers": diffusers.__version__, "transformers": transformers.__version__,
                     "tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__,
                     "safetensors": safetensors.__version__, "ftfy": ftfy.__version__,
                     "numpy": numpy.__version__},
        "tolerances_relative_l2": TOLERANCES,
        "models": {n: {"path": f"models/{n}", "seed": c["seed"], "dtype": c["dtype"]}
                   for n, c in tiny_models.CONFIGS.items()},
        "files": dict(sorted(rec.files.items()))}
    files = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in index.pop("files").items())
    head = json.dumps(index, indent=1)[:-2]
    (rec.out / "index.json").write_text(f'{head},\n "files": {{\n{files}\n}}}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outdir", nargs="?", type=Path, default=ROOT / "tests" / "goldens")
    parser.add_argument("--only", help="tokenizer, models, or one configuration")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    diffusers.utils.logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)

    rec = Recorder(args.outdir)
    old = args.outdir / "index.json"
    if args.only and old.exists():
        rec.files = json.loads(old.read_text())["files"]
    elif args.outdir.exists():
        for sub in ("models", "values", "tokenizer"):
            shutil.rmtree(args.outdir / sub, ignore_errors=True)
    spiece = train_tokenizer()
    names = list(tiny_models.CONFIGS)
    for name in names:
        if args.only in (None, "models", name):
            make_config(rec, name, spiece)
            print(f"{name}: done", flush=True)
    if args.only in (None, "tokenizer"):
        make_tokenizer_cases(rec, args.outdir / "models" / names[0] / "tokenizer")
    write_index(rec)
    return 0


if __name__ == "__main__":
    sys.exit(main())
