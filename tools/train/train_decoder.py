"""Polishes the VAE's decoder with the encoder frozen, so that stored latents stay valid.

  train_decoder.py --work DIR/vae [--seconds 1700]

Starts from state.pt of train_vae.py (or resumes decoder.pt). The encoder's latents of the pool are computed
once, when first drawn. Noise of a twentieth of each channel's deviation (now and then three times that) is added to
them, as the transformer's latents are not perfect. Of each clip all latents are decoded, but the finest
layers, which look at single frames, only for some frames. Writes DIR/vae/out. The log is decoder.csv.
"""
import argparse
import csv
import math
import os
import time
import numpy as np
import torch
import wan_vae
from muon import Muon
from train_vae import latent_statistics, psnr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--seconds", type=float, default=1700, help="in all, over resumed runs")
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--change-weight", type=float, default=1.0, help="weight of errors in the change from "
                        "frame to frame, without which the four frames of one latent differ from the next four")
    parser.add_argument("--kept-frames", type=int, default=4)
    parser.add_argument("--freeze-only", action="store_true", help="write out/ with this encoder, do not train")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = args.device
    clips, held_out = (np.load(os.path.join(args.work, n + ".npy"), mmap_mode="r") for n in ("clips", "held_out"))
    vae = wan_vae.create().to(device)
    vae.load_state_dict(torch.load(os.path.join(args.work, "state.pt"), weights_only=False, map_location=device)["vae"])
    wan_vae.mark_flat(vae, clear=True)
    statistics = os.path.join(args.work, "statistics.pt")
    if not os.path.exists(statistics):
        torch.save(latent_statistics(vae, clips, device, 100), statistics)
    mean, std = torch.load(statistics)
    vae.register_to_config(latents_mean=[round(v, 5) for v in mean], latents_std=[round(v, 5) for v in std])
    if args.freeze_only:
        vae.save_pretrained(os.path.join(args.work, "out"))
        print("deviations", [round(v, 2) for v in std])
        return
    deviation = torch.tensor(std, device=device).view(1, 1, 16, 1, 1)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    optimiser = Muon(vae.decoder, lr=args.rate)
    optimiser.add_param_group(dict(params=list(vae.post_quant_conv.parameters()), muon=False))
    state_path, step, elapsed = os.path.join(args.work, "decoder.pt"), 0, 0.0
    rng = np.random.default_rng(8)
    if os.path.exists(state_path):
        state = torch.load(state_path, weights_only=False, map_location=device)
        vae.load_state_dict(state["vae"])
        optimiser.load_state_dict(state["optimiser"])
        step, rng, elapsed = state["step"], state["rng"], state["elapsed"]
    known = {}

    def latents(k):
        if k not in known:
            with torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16):
                x = torch.from_numpy(clips[k:k + 1].copy()).to(device).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
                known[k] = wan_vae.encode(vae, x)[0].float()
        return known[k]

    def loss_of(z, target, keep, segment):
        with torch.autocast(device, dtype=torch.bfloat16):
            y = wan_vae.decode(vae, z, keep, segment).float()
        d = y - target
        gradient = ((d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean())
        square, change = d.square().mean(), (d[:, 1:] - d[:, :-1]).abs().mean()
        return d.abs().mean() + 4 * square + 0.5 * gradient + args.change_weight * change, square, change
    run = loss_of if args.no_compile else torch.compile(loss_of, dynamic=False)
    log = open(os.path.join(args.work, "decoder.csv"), "a", newline="")
    writer, started, recent = csv.writer(log), time.time(), []

    def save():
        wan_vae.mark_flat(vae, clear=True)
        torch.save(dict(vae=vae.state_dict(), optimiser=optimiser.state_dict(), step=step, rng=rng,
                        elapsed=elapsed + time.time() - started), state_path + ".part")
        os.replace(state_path + ".part", state_path)
        vae.save_pretrained(os.path.join(args.work, "out"))

    while True:
        done = (elapsed + time.time() - started) / args.seconds
        if done >= 1:
            break
        rate = args.rate * min(1, (step + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        k = int(rng.integers(len(clips)))
        z = latents(k)
        strength = 0.15 if rng.random() < 0.15 else 0.05
        z = z + torch.randn(z.shape).to(device) * deviation * strength
        begin = int(rng.integers(0, clips.shape[1] - args.kept_frames + 1))
        first = max(0, begin - 4)  # the frames before matter to the second finest size
        target = torch.from_numpy(clips[k][begin:begin + args.kept_frames][None])
        target = target.to(device).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        loss, square, change = run(z, target.contiguous(),
                           torch.arange(begin - first, begin - first + args.kept_frames, device=device),
                           torch.arange(first, first + args.kept_frames + 4, device=device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.decoder.parameters(), 1.0)
        optimiser.step()
        step += 1
        recent.append((loss.item(), square.item(), change.item()))
        if step % 25 == 0:
            row = np.mean(recent, axis=0)
            recent = []
            writer.writerow([step, f"{rate:.2e}", f"{row[0]:.5f}", f"{row[1]:.6f}", f"{row[2]:.5f}",
                             f"{10 * math.log10(4 / row[1]):.2f}", f"{time.time() - started:.0f}"])
            log.flush()
        if step % 100 == 0:
            save()
            mean_db, worst_db = psnr(vae, held_out, device, 2)
            print(f"step {step} held-out PSNR {mean_db:.2f} dB (worst {worst_db:.2f}) {time.time() - started:.0f} s", flush=True)
    save()
    mean_db, worst_db = psnr(vae, held_out, device, min(8, len(held_out)))
    print(f"done: held-out PSNR {mean_db:.2f} dB (worst clip {worst_db:.2f})", flush=True)


if __name__ == "__main__":
    main()
