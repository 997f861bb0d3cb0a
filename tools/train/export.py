"""Writes the model directory that ships: the diffusers layout in bf16, sora.yaml and a scheduler.

  export.py --work DIR --out models/mini [--steps 12] [--guidance 3] [--shift 3] [--solver unipc] [--untrained]

--untrained writes the same layout from parts that are not trained yet, for loaders to be tried on.
README.md in the directory is the model card and is written by hand; it is left alone here.
"""
import argparse
import base64
import json
import os
import re
import shutil
import numpy as np
import torch
import captions
import dit_model
import scenes
import text_model
import wan_vae


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=2)
        f.write("\n")


def save_tokenizer(spiece, folder):
    """spiece.model as it is, and tokenizer.json for the transformers library, with byte fallback."""
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import (Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors)
    os.makedirs(folder, exist_ok=True)
    shutil.copy(spiece, os.path.join(folder, "spiece.model"))
    proto = sentencepiece_model_pb2.ModelProto()
    with open(spiece, "rb") as f:
        proto.ParseFromString(f.read())
    vocabulary = [(p.piece, p.score) for p in proto.pieces]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
        normalizers.Strip(left=True, right=True), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement="▁")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    write_json(os.path.join(folder, "special_tokens_map.json"), special)
    write_json(os.path.join(folder, "tokenizer_config.json"), {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "padding_side": "right",
        "clean_up_tokenization_spaces": False, "extra_ids": 0, **special})


SORA = """# What the renderer takes from this model when the user does not say otherwise.
name: mini
window_latents: 9
overlap_latents: 3
size: {width}x{height}
fps: {fps}
steps: {steps}
guidance: {guidance}
shift: {shift}
noise_share: 0.8
solver: {solver}
negative: ""
# Told to whoever uses another word than those of `words`; such a prompt still renders.
knows: "{knows}"
words: "{words}"
"""


def known_words():
    """Every word that captions can hold, lower case, in order."""
    tables = (captions.OBJECT_WORDS, captions.COLOUR_WORDS, captions.SCENE_WORDS, captions.TIME_WORDS,
              captions.MOTION_WORDS, captions.TIME_ADJECTIVES)
    text = " ".join(phrase for table in tables for phrases in table.values() for phrase in phrases)
    text += " a an the is and of with scene view video clip showing" + " ".join(captions.TAILS)
    return " ".join(sorted(set(re.findall("[a-z]+", text.lower()))))


def knowledge():
    listed = lambda words: ", ".join(words)
    return (f"{listed(scenes.SCENES)}; {listed(scenes.TIMES)}; {listed(scenes.OBJECTS)}; "
            f"{listed(scenes.COLOURS)}; bobbing, swaying, drifting, a panning camera, still")


def to_bf16(module, folder):
    """Weights and config; the place that the part was loaded from does not belong in the config."""
    module.to(torch.bfloat16).save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    config.pop("_name_or_path", None)
    write_json(path, config)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--solver", default="unipc", choices=("unipc", "euler"))
    parser.add_argument("--untrained", action="store_true")
    args = parser.parse_args()
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
    from transformers import UMT5EncoderModel
    os.makedirs(args.out, exist_ok=True)
    part = lambda *names: os.path.join(args.work, *names)
    spiece = part("text", "out", "tokenizer", "spiece.model")
    if args.untrained:
        vae, dit = wan_vae.create(), dit_model.create()
        text = text_model.create(len(text_model.Pieces(spiece)))
    else:
        vae = AutoencoderKLWan.from_pretrained(part("vae", "out"), torch_dtype=torch.float32)
        dit = WanTransformer3DModel.from_pretrained(part("dit", "out"), torch_dtype=torch.float32)
        text = UMT5EncoderModel.from_pretrained(part("text", "out", "text_encoder"), dtype=torch.float32)
    to_bf16(vae, os.path.join(args.out, "vae"))
    to_bf16(dit, os.path.join(args.out, "transformer"))
    to_bf16(text, os.path.join(args.out, "text_encoder"))
    save_tokenizer(spiece, os.path.join(args.out, "tokenizer"))
    UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=args.shift,
                            num_train_timesteps=1000).save_pretrained(os.path.join(args.out, "scheduler"))
    write_json(os.path.join(args.out, "model_index.json"), {
        "_class_name": "WanPipeline", "_diffusers_version": "0.35.0",
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"], "vae": ["diffusers", "AutoencoderKLWan"]})
    with open(os.path.join(args.out, "sora.yaml"), "w") as f:
        f.write(SORA.format(width=scenes.WIDTH, height=scenes.HEIGHT, fps=scenes.FPS, steps=args.steps,
                            guidance=args.guidance, shift=args.shift, solver=args.solver,
                            knows=knowledge(), words=known_words()))
    for folder, _, names in os.walk(args.out):
        for name in names:
            os.chmod(os.path.join(folder, name), 0o644)
    size = sum(os.path.getsize(os.path.join(d, n)) for d, _, names in os.walk(args.out) for n in names)
    print(f"wrote {args.out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
