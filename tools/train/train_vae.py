"""Trains the mini model's AutoencoderKLWan on drawn pictures, then on short clips.

  make_frames.py --work DIR/vae
  train_vae.py --work DIR/vae [--image-steps 500] [--clip-seconds 870] [--device cpu]

Resumable: state.pt holds parameters, optimiser, step and random state. The log is vae.csv.
Loss: L1 + 4 x squared error + 0.5 x L1 of picture gradients + a small KL term; noise of the learned
variance is added to the latents while training. Of clips all latents are decoded, but the finest layers, which
look at single frames, only for some frames. The clip stage follows the clock. It may be started with
`python -m torch.distributed.run --nproc-per-node 2`: two processes meet once a step. When done, writes the diffusers directory DIR/vae/out with
the mean and deviation of every latent channel in its config.
"""
import argparse
import csv
import math
import os
import time
import numpy as np
import torch
import torch.distributed as dist
import wan_vae
from muon import Muon


def batch_of(pool, rng, size, frames, device):
    picks = rng.integers(0, len(pool), size)
    x = torch.from_numpy(np.stack([pool[i][:frames] for i in picks]))
    return (x.permute(0, 1, 4, 2, 3).to(device).float() / 127.5 - 1).contiguous()


def make_loss(vae, device, kl_weight):
    def loss_of(x, noise, keep=None):
        with torch.autocast(device, dtype=torch.bfloat16):
            mean, logvar = wan_vae.encode(vae, x)
            mean, logvar = mean.float(), logvar.float()
            y = wan_vae.decode(vae, mean + noise * torch.exp(0.5 * logvar), keep).float()
        d = y - (x if keep is None else x.index_select(1, keep))
        absolute, square = d.abs().mean(), d.square().mean()
        gradient = ((d[..., 1:] - d[..., :-1]).abs().mean()
                    + (d[..., 1:, :] - d[..., :-1, :]).abs().mean())
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return absolute + 4 * square + 0.5 * gradient + kl_weight * kl, square, kl
    return loss_of


@torch.no_grad()
def psnr(vae, pool, device, count):
    """PSNR in dB over whole held-out clips, 8-bit pixels, mean over clips of the clip's PSNR."""
    values = []
    for k in range(count):
        pixels = torch.from_numpy(pool[k:k + 1].copy()).to(device)
        x = pixels.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        with torch.autocast(device, dtype=torch.bfloat16):
            y = wan_vae.decode(vae, wan_vae.encode(vae, x)[0]).float()
        y = ((y.clamp(-1, 1) + 1) * 127.5).round()
        error = (y - pixels.permute(0, 1, 4, 2, 3).float()).square().mean().item()
        values.append(10 * math.log10(255.0 ** 2 / max(error, 1e-9)))
    return float(np.mean(values)), float(np.min(values))


@torch.no_grad()
def latent_statistics(vae, pool, device, count=160):
    total = []
    for k in range(count):
        x = torch.from_numpy(pool[k:k + 1].copy()).to(device).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        with torch.autocast(device, dtype=torch.bfloat16):
            total.append(wan_vae.encode(vae, x)[0].float().transpose(1, 2).flatten(2)[0])
    z = torch.cat(total, dim=1)
    return z.mean(dim=1).tolist(), z.std(dim=1).tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--image-steps", type=int, default=500)
    parser.add_argument("--clip-seconds", type=float, default=870)
    parser.add_argument("--kept-frames", type=int, default=6)
    parser.add_argument("--image-batch", type=int, default=8)
    parser.add_argument("--clip-batch", type=int, default=1)
    parser.add_argument("--clip-frames", type=int, default=17)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--clip-rate", type=float, default=9e-4)
    parser.add_argument("--kl", type=float, default=5e-4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if ranks > 1:
        dist.init_process_group("gloo")
    load = lambda name: np.load(os.path.join(args.work, name + ".npy"), mmap_mode="r")
    images, clips, held_out = load("images"), load("clips"), load("held_out")

    vae = wan_vae.create().to(args.device)
    optimiser = Muon(vae, lr=args.rate)
    state_path, step, elapsed = os.path.join(args.work, "state.pt"), 0, 0.0
    rng = np.random.default_rng(5)
    if os.path.exists(state_path):
        state = torch.load(state_path, weights_only=False, map_location=args.device)
        vae.load_state_dict(state["vae"])
        step, rng, elapsed = state["step"], state["rng"], state.get("elapsed", 0.0)
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["torch_rng"].cpu())
    if ranks > 1:
        torch.manual_seed(1000 * (step + 1) + rank)
        rng = np.random.default_rng((step + 1, rank))
    loss_of = make_loss(vae, args.device, args.kl)
    run = loss_of if args.no_compile else torch.compile(loss_of, dynamic=False)
    started, clip_started, clip_first = time.time(), None, None
    log = open(os.path.join(args.work, "vae.csv") if rank == 0 else os.devnull, "a", newline="")
    writer = csv.writer(log)
    means = []

    def save():
        if rank == 0:
            wan_vae.mark_flat(vae, clear=True)
            spent = elapsed + (time.time() - clip_started if clip_started else 0)
            torch.save(dict(vae=vae.state_dict(), optimiser=optimiser.state_dict(), step=step, rng=rng,
                            elapsed=spent, torch_rng=torch.get_rng_state()), state_path + ".part")
            os.replace(state_path + ".part", state_path)

    while True:
        if step < args.image_steps:
            rate = args.rate * min(1, (step + 1) / 100)
            x, keep = batch_of(images, rng, args.image_batch // ranks, 1, args.device), None
        else:
            if clip_started is None:
                clip_first = step
                if elapsed == 0:
                    wan_vae.start_clips(vae)
                    optimiser.state.clear()
            done = torch.tensor(0.0, dtype=torch.float64)
            if clip_started is not None:
                done += (elapsed + time.time() - clip_started) / args.clip_seconds
            if ranks > 1:
                dist.broadcast(done, 0)
            done = done.item()
            if done >= 1:
                break
            rate = args.clip_rate * min(1, (step - clip_first + 1) / 20)
            rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))
            x = batch_of(clips, rng, args.clip_batch, args.clip_frames, args.device)
            keep = torch.from_numpy(np.sort(rng.choice(args.clip_frames, args.kept_frames, replace=False)))
            keep = keep.to(args.device)
        for group in optimiser.param_groups:
            group["lr"] = rate
        noise = torch.randn(x.shape[0], 1 + (x.shape[1] - 1) // 4, 16, x.shape[3] // 16, x.shape[4] // 16)
        loss, square, kl = run(x, noise.to(args.device), keep)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if step >= args.image_steps and clip_started is None:
            clip_started = time.time()  # the clock starts when compiling is over
        if ranks > 1:
            grads = [p.grad for p in vae.parameters() if p.grad is not None]
            flat = torch.cat([g.flatten() for g in grads]).div_(ranks)
            dist.all_reduce(flat)
            for g, part in zip(grads, flat.split([g.numel() for g in grads])):
                g.copy_(part.view_as(g))
        norm = torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        step += 1
        means.append((loss.item(), square.item(), kl.item(), norm.item()))
        if step % 20 == 0:
            row = np.mean(means, axis=0)
            means = []
            writer.writerow([step, x.shape[1], f"{rate:.2e}", *(f"{v:.5f}" for v in row),
                             f"{10 * math.log10(4 / row[1]):.2f}", f"{time.time() - started:.0f}"])
            log.flush()
        if step % 100 == 0:
            save()
            if rank == 0:
                mean_db, worst_db = psnr(vae, held_out, args.device, 2)
                print(f"step {step} held-out PSNR {mean_db:.2f} dB (worst {worst_db:.2f})"
                      f" {time.time() - started:.0f} s", flush=True)
    save()
    if rank > 0:
        return
    mean_db, worst_db = psnr(vae, held_out, args.device, min(32, len(held_out)))
    mean, std = latent_statistics(vae, clips, args.device, min(160, len(clips)))
    vae.register_to_config(latents_mean=[round(v, 5) for v in mean], latents_std=[round(v, 5) for v in std])
    vae.save_pretrained(os.path.join(args.work, "out"))
    print(f"done: held-out PSNR {mean_db:.2f} dB (worst clip {worst_db:.2f})", flush=True)


if __name__ == "__main__":
    main()
