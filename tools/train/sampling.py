"""Samples native windows from trained parts and draws contact sheets.

  sampling.py --work DIR|--model DIR --out sheet.png [--prompt TEXT ...] [--steps 12] [--guidance 3]

The sampler is flow matching with guidance against the empty prompt; solvers are Euler and UniPC
(second order, bh2, predict x0) on the sigmas of diffusers' UniPCMultistepScheduler with use_flow_sigmas.
"""
import argparse
import math
import os
import numpy as np
import torch
import dit_model
import text_model
import wan_vae


class Model:
    """Text encoder, transformer and VAE from a work directory or an exported model directory."""

    def __init__(self, work=None, model=None, device="cpu"):
        from diffusers import AutoencoderKLWan, WanTransformer3DModel
        vae, dit, text = ((model + "/vae", model + "/transformer", model) if model else
                          (work + "/vae/out", work + "/dit/out", work + "/text/out"))
        self.device = device
        self.pieces, self.encoder = text_model.load(text, device)
        self.dit = WanTransformer3DModel.from_pretrained(dit, torch_dtype=torch.float32).eval().to(device)
        self.vae = AutoencoderKLWan.from_pretrained(vae, torch_dtype=torch.float32).eval().to(device)
        wan_vae.mark_flat(self.vae)
        self.decoder = wan_vae.decode
        self.mean = torch.tensor(self.vae.config.latents_mean, device=device).view(1, 1, 16, 1, 1)
        self.std = torch.tensor(self.vae.config.latents_std, device=device).view(1, 1, 16, 1, 1)

    @torch.no_grad()
    def decode(self, z):
        """Normalised latents [B, T, 16, h, w] -> uint8 [B, F, H, W, 3]."""
        out = []
        for one in z.split(1):
            with torch.autocast(self.device, dtype=torch.bfloat16):
                y = self.decoder(self.vae, one * self.std + self.mean).float()
            out.append(((y.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
        return torch.cat(out).permute(0, 1, 3, 4, 2).cpu().numpy()

    @torch.no_grad()
    def sample(self, prompts, steps=12, guidance=3.0, shift=3.0, solver="unipc", seed=0, frames=9,
               negative="", height=10, width=16):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(len(prompts), frames, 16, height, width, generator=generator).to(self.device)
        rows, counts = text_model.encode(self.pieces, self.encoder, list(prompts) + [negative] * len(prompts))
        rows, bias = dit_model.text_keys(rows, counts, max(dit_model.TEXT_KEYS, rows.shape[1] + 1))
        tables = dit_model.rope_tables(frames, height // 2, width // 2, self.device)

        def predict(x, sigma):
            timestep = int(1000 * sigma) / 1000.0
            s = torch.full((2 * len(prompts),), timestep, device=self.device)
            with torch.autocast(self.device, dtype=torch.bfloat16):
                v = dit_model.velocity(self.dit, torch.cat([x, x]), s, rows, bias, *tables).float()
            named, empty = v.chunk(2)
            return empty + guidance * (named - empty)
        return SOLVERS[solver](x, predict, schedule(steps, shift))


def schedule(steps, shift):
    """Sigmas, `steps` + 1 of them, the last 0."""
    u = np.linspace(1.0, 0.001, steps + 1)[:-1]
    sigma = shift * u / (1 + (shift - 1) * u)
    sigma[0] -= 1e-6 if sigma[0] == 1.0 else 0
    return [float(s) for s in sigma] + [0.0]


def euler(x, predict, sigmas):
    for now, following in zip(sigmas, sigmas[1:]):
        x = x + (following - now) * predict(x, now)
    return x


def unipc(x, predict, sigmas):
    """UniPC, order 2, bh2: corrector and predictor as in diffusers, in scalar form."""
    count = len(sigmas) - 1
    lam = [math.log((1 - s) / s) if s > 0 else math.inf for s in sigmas]
    last, before, previous, order = None, None, None, 0
    for i in range(count):
        m = x - sigmas[i] * predict(x, sigmas[i])
        if i > 0:
            h = lam[i] - lam[i - 1]
            phi = math.expm1(-h)
            d = m - last
            if order == 1:
                correction = 0.5 * d
            else:
                rk = (lam[i - 2] - lam[i - 1]) / h
                d1 = (before - last) / rk
                g1 = phi / -h - 1
                b1, b2 = g1 / phi, (g1 / -h - 0.5) * 2 / phi
                r0 = (b2 - b1) / (rk - 1)
                correction = r0 * d1 + (b1 - r0) * d
            x = sigmas[i] / sigmas[i - 1] * previous - (1 - sigmas[i]) * phi * (last + correction)
        order = min(2, count - i, i + 1)
        previous = x
        if sigmas[i + 1] == 0:
            return m
        h = lam[i + 1] - lam[i]
        phi = math.expm1(-h)
        a = 1 - sigmas[i + 1]
        x = sigmas[i + 1] / sigmas[i] * x - a * phi * m
        if order == 2:
            rk = (lam[i - 1] - lam[i]) / h
            x = x - a * phi * 0.5 * (last - m) / rk
        before, last = last, m
    return x


SOLVERS = {"euler": euler, "unipc": unipc}

DEFAULT_PROMPTS = (
    "a red balloon over the sea", "a red balloon bobbing over the sea at sunset",
    "a white boat drifting at sea by day", "a purple bird drifting over the forest at dawn",
    "a green car drifting in the desert at noon", "a yellow moon swaying over the city at night",
    "an orange lantern swaying over snowy mountains at night", "a blue kite over the hills, the camera pans slowly")


def main():
    import contact
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work")
    parser.add_argument("--model")
    parser.add_argument("--out", required=True)
    parser.add_argument("--prompt", nargs="*", default=DEFAULT_PROMPTS)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--solver", default="unipc", choices=sorted(SOLVERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latents", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = Model(args.work, args.model, args.device)
    z = model.sample(args.prompt, args.steps, args.guidance, args.shift, args.solver, args.seed, args.latents)
    clips = model.decode(z)
    picks = [0] if args.latents == 1 else np.linspace(0, clips.shape[1] - 1, 5).round().astype(int)
    rows = [[clip[k] for k in picks] for clip in clips]
    if args.latents == 1:
        rows = [[r[0] for r in rows[k:k + 5]] for k in range(0, len(rows), 5)]
    contact.sheet(rows, args.out, 0.75)
    print("wrote", args.out)


if __name__ == "__main__":
    main()
