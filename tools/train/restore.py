"""Lays the parts of a finished model out as a work directory, so that training can go on from it.

  restore.py --model models/mini --work DIR

After it, encode_data.py draws new latents with the model's own VAE, and
`train_dit.py --work DIR --start DIR/dit/out` goes on from its transformer (without the optimiser's past).
"""
import argparse
import os
import shutil
import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", required=True)
    args = parser.parse_args()
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    part = lambda *names: os.path.join(args.work, *names)
    for cls, name, out in ((AutoencoderKLWan, "vae", part("vae", "out")),
                           (WanTransformer3DModel, "transformer", part("dit", "out"))):
        cls.from_pretrained(args.model, subfolder=name, torch_dtype=torch.float32).save_pretrained(out)
    for name in ("text_encoder", "tokenizer"):
        shutil.copytree(os.path.join(args.model, name), part("text", "out", name), dirs_exist_ok=True)
    print(f"laid out in {args.work}")


if __name__ == "__main__":
    main()
