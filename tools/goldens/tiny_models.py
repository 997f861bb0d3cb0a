"""Small random-weight models in the diffusers layout, deterministic by seed.

Every tensor gets its values from its own generator, keyed by (configuration seed, name), so
adding or reordering tensors changes nothing else. Scales are chosen so that activations stay
near one and every tensor is visible in the output: norms near one, biases and modulation
tables well away from zero.
"""

import json
import shutil
import zlib
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}

EXTRA_IDS = 100

VAE_STANDARD = dict(dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True])
VAE_MINI = dict(dim_mult=[1, 2, 4, 4, 4], num_res_blocks=1,
                temperal_downsample=[False, True, True, False], scale_factor_spatial=16)

CONFIGS = {
    # Two heads of 64, f32, transformer in shards, standard VAE.
    "a_f32": dict(
        seed=101, dtype="f32", transformer_shards=3, solver="unipc", shift=3.0,
        transformer=dict(num_attention_heads=2, attention_head_dim=64, ffn_dim=168, num_layers=1,
                         text_dim=32, freq_dim=256),
        text=dict(d_model=32, d_kv=16, d_ff=72, num_layers=2, num_heads=2),
        embedding_names=("shared.weight",),
        vae=dict(base_dim=4, z_dim=16, **VAE_STANDARD),
    ),
    # The real head dimension, 128, in bf16; text encoder in shards.
    "b_bf16": dict(
        seed=202, dtype="bf16", text_shards=2, solver="unipc", shift=5.0,
        transformer=dict(num_attention_heads=2, attention_head_dim=128, ffn_dim=192, num_layers=1,
                         text_dim=48, freq_dim=64),
        text=dict(d_model=48, d_kv=64, d_ff=80, num_layers=1, num_heads=1),
        embedding_names=("shared.weight",),
        vae=dict(base_dim=3, z_dim=16, **VAE_STANDARD),
    ),
    # Head dimension 40 (rope split 16, 12, 12), f16, 8 latent channels.
    "c_f16": dict(
        seed=303, dtype="f16", solver="unipc", shift=3.0,
        transformer=dict(num_attention_heads=2, attention_head_dim=40, ffn_dim=136, num_layers=2,
                         text_dim=40, freq_dim=128, in_channels=8, out_channels=8),
        text=dict(d_model=40, d_kv=8, d_ff=56, num_layers=3, num_heads=5),
        embedding_names=("encoder.embed_tokens.weight",),
        vae=dict(base_dim=4, z_dim=8, **VAE_STANDARD),
    ),
    # The mini model's VAE topology: 16 times smaller in each direction, wider decoder.
    "d_mini": dict(
        seed=404, dtype="f16", solver="euler", shift=3.0, text_dtype="f32",
        transformer=dict(num_attention_heads=2, attention_head_dim=32, ffn_dim=160, num_layers=3,
                         text_dim=24, freq_dim=256),
        text=dict(d_model=24, d_kv=12, d_ff=64, num_layers=2, num_heads=3),
        embedding_names=("shared.weight",),
        vae=dict(base_dim=4, decoder_base_dim=8, z_dim=16, **VAE_MINI),
    ),
}


def generator(seed, name):
    return torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(name.encode()))


def normal(seed, name, shape):
    return torch.randn(shape, generator=generator(seed, name), dtype=torch.float32)


def fan_in(shape):
    count = 1
    for extent in shape[1:]:
        count *= extent
    return max(count, 1)


def fill(seed, part, tensors, text=None):
    """Random values for a state dict; `text` is the text encoder's config or None."""
    out = {}
    for name, tensor in tensors.items():
        x = normal(seed, f"{part}/{name}", tuple(tensor.shape))
        leaf = name.rsplit(".", 2)
        if name.endswith("scale_shift_table"):
            x = 0.3 * x
        elif "relative_attention_bias" in name:
            x = 0.7 * x
        elif "embed_tokens" in name or name.startswith("shared"):
            pass
        elif name.endswith("gamma") or (tensor.dim() == 1 and name.endswith("weight")):
            x = 1.0 + 0.1 * x
        elif name.endswith("bias"):
            x = 0.1 * x
        else:
            x = x / fan_in(tensor.shape) ** 0.5
            if text is not None and leaf[-2] == "q":
                x = x / text["d_kv"] ** 0.5
        out[name] = x
    return out


def save_weights(folder, stem, tensors, shards):
    """One safetensors file, or shards with an index, in the layout of the diffusers library."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    if shards == 1:
        save_file(tensors, folder / f"{stem}.safetensors", metadata={"format": "pt"})
        (folder / f"{stem}.safetensors").chmod(0o644)
        return
    names = list(tensors)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    groups, size = [[]], 0
    for name in names:
        if size >= total * len(groups) / shards and len(groups) < shards:
            groups.append([])
        groups[-1].append(name)
        size += tensors[name].numel() * tensors[name].element_size()
    weight_map = {}
    for index, group in enumerate(groups):
        file = f"{stem}-{index + 1:05d}-of-{shards:05d}.safetensors"
        save_file({n: tensors[n] for n in group}, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)
        weight_map.update({n: file for n in group})
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def latent_statistics(seed, z_dim):
    mean = 0.8 * normal(seed, "vae/latents_mean", (z_dim,))
    std = 1.0 + normal(seed, "vae/latents_std", (z_dim,)).abs()
    return [round(float(v), 4) for v in mean], [round(float(v), 4) for v in std]


def text_config(config, vocab_size):
    return UMT5Config(vocab_size=vocab_size, feed_forward_proj="gated-gelu", dropout_rate=0.1,
                      relative_attention_num_buckets=32, relative_attention_max_distance=128,
                      architectures=["UMT5EncoderModel"], is_encoder_decoder=True, **config["text"])


def write_scheduler(folder, config):
    folder.mkdir(parents=True, exist_ok=True)
    if config["solver"] == "euler":
        values = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000,
                  "shift": config["shift"], "use_dynamic_shifting": False}
    else:
        values = {"_class_name": "UniPCMultistepScheduler", "num_train_timesteps": 1000,
                  "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
                  "solver_order": 2, "solver_type": "bh2", "predict_x0": True,
                  "lower_order_final": True, "disable_corrector": [], "thresholding": False,
                  "prediction_type": "flow_prediction", "use_flow_sigmas": True,
                  "flow_shift": config["shift"], "timestep_spacing": "linspace",
                  "final_sigmas_type": "zero", "steps_offset": 0}
    values["_diffusers_version"] = "0.42.1"
    (folder / "scheduler_config.json").write_text(json.dumps(values, indent=2) + "\n")
    return values["_class_name"]


def write_tokenizer(folder, spiece):
    """The files of a published UMT5 tokenizer, without tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(spiece)
    extra = [f"<extra_id_{i}>" for i in range(EXTRA_IDS)]
    values = {"tokenizer_class": "T5Tokenizer", "model_max_length": 512, "extra_ids": EXTRA_IDS,
              "eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>",
              "legacy": True, "additional_special_tokens": extra}
    (folder / "tokenizer_config.json").write_text(json.dumps(values) + "\n")


def write_index(folder, scheduler):
    index = {"_class_name": "WanPipeline", "_diffusers_version": "0.42.1",
             "scheduler": ["diffusers", scheduler],
             "text_encoder": ["transformers", "UMT5EncoderModel"],
             "tokenizer": ["transformers", "T5TokenizerFast"],
             "transformer": ["diffusers", "WanTransformer3DModel"],
             "vae": ["diffusers", "AutoencoderKLWan"]}
    (Path(folder) / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def build(name, folder, spiece, piece_count):
    """Writes one complete model directory and returns its configuration."""
    config, folder = CONFIGS[name], Path(folder)
    if folder.exists():
        shutil.rmtree(folder)
    seed, dtype = config["seed"], DTYPES[config["dtype"]]

    options = dict(patch_size=[1, 2, 2], in_channels=16, out_channels=16, cross_attn_norm=True,
                   qk_norm="rms_norm_across_heads", eps=1e-6, rope_max_seq_len=1024)
    transformer = WanTransformer3DModel(**{**options, **config["transformer"]})
    transformer.save_config(folder / "transformer")
    weights = fill(seed, "transformer", transformer.state_dict())
    save_weights(folder / "transformer", "diffusion_pytorch_model",
                 {k: v.to(dtype) for k, v in weights.items()}, config.get("transformer_shards", 1))

    mean, std = latent_statistics(seed, config["vae"]["z_dim"])
    vae = AutoencoderKLWan(latents_mean=mean, latents_std=std, **config["vae"])
    vae.save_config(folder / "vae")
    weights = fill(seed, "vae", vae.state_dict())
    save_weights(folder / "vae", "diffusion_pytorch_model",
                 {k: v.to(dtype) for k, v in weights.items()}, 1)

    vocab_size = -(-(piece_count + EXTRA_IDS) // 64) * 64
    text = text_config(config, vocab_size)
    text.save_pretrained(folder / "text_encoder")
    weights = fill(seed, "text_encoder", UMT5EncoderModel(text).state_dict(), config["text"])
    text_dtype = DTYPES[config.get("text_dtype", config["dtype"])]
    weights = {k: v.to(text_dtype) for k, v in weights.items() if "embed_tokens" not in k}
    shared = weights.pop("shared.weight")
    for alias in config["embedding_names"]:
        weights[alias] = shared.clone()
    save_weights(folder / "text_encoder", "model", weights, config.get("text_shards", 1))

    write_tokenizer(folder / "tokenizer", spiece)
    scheduler = write_scheduler(folder / "scheduler", config)
    write_index(folder, scheduler)
    return config
