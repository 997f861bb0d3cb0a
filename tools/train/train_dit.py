"""Trains the WanTransformer3DModel on the stored latents, by flow matching.

  train_dit.py --work DIR [--image-steps 1000] [--short-steps 300] [--clip-steps 1200] [--device cpu]

Curriculum: single first latents (cheap: scene, colour, object), short windows, whole windows.
A third of the windows begin at their clip's true first latent, the others in the middle of a clip,
because the renderer cuts windows anywhere from a long timeline. Target velocity noise - x0; one
caption in ten is empty, for guidance. Resumable: dit.pt holds parameters, average, optimiser, step
and random state. Log dit.csv. The averaged parameters are written to DIR/dit/out.

On a busy CPU start it with `python -m torch.distributed.run --nproc-per-node 2 train_dit.py ... --threads 1`:
two processes share each batch and meet once a step, which other load disturbs far less than threads.
"""
import argparse
import csv
import glob
import json
import math
import os
import time
import numpy as np
import torch
import torch.distributed as dist
import captions
import dit_model
import scenes
import text_model
from muon import Muon

WINDOW = 9


class Data:
    """Latents in memory; batches of windows with fresh captions."""

    def __init__(self, folder, seed):
        self.images, self.image_specs = self._read(folder, "images")
        self.clips, self.clip_specs = self._read(folder, "clips")
        self.rng = np.random.default_rng(seed)
        print(f"{len(self.images)} images, {len(self.clips)} clips of {self.clips.shape[1]} latents", flush=True)

    @staticmethod
    def _read(folder, kind):
        latents, specs = [], []
        for path in sorted(glob.glob(os.path.join(folder, kind + "-????.npz"))):
            with np.load(path) as f:
                latents.append(f["latents"])
                specs += [scenes.Spec(**s) for s in json.loads(str(f["specs"]))]
        return np.concatenate(latents), specs

    def batch(self, size, frames):
        rng = self.rng
        x, texts = [], []
        for _ in range(size):
            if frames == 1 and rng.random() < 0.8:
                k = int(rng.integers(len(self.images)))
                spec = self.image_specs[k]
                x.append(self.images[k])
            else:
                k = int(rng.integers(len(self.clips)))
                spec, length = self.clip_specs[k], self.clips.shape[1]
                start = 0 if frames == 1 or rng.random() < 0.34 else int(rng.integers(1, length - frames + 1))
                x.append(self.clips[k][start:start + frames])
            if rng.random() < 0.10:
                texts.append("")
            else:
                texts.append(captions.plain(spec) if rng.random() < 0.15 else captions.caption(spec, rng)[0])
        return torch.from_numpy(np.stack(x)).float(), texts


def draw_sigma(size, shift):
    """Logit-normal, then shifted as the sampler shifts; one in ten uniform before the shift. A batch holds
    one from each of `size` equal parts of the distribution, which makes the gradient less noisy."""
    part = (torch.randperm(size) + torch.rand(size)) / size
    u = torch.sigmoid(math.sqrt(2.0) * torch.erfinv((2 * part - 1).clamp(-0.9999, 0.9999)))
    u = torch.where(torch.rand(size) < 0.1, torch.rand(size), u)
    return (shift * u / (1 + (shift - 1) * u)).clamp(0.001, 0.9995)


def make_loss(model, device, change_weight=0.0):
    """Per window: the loss, and the plain squared error. The error's changing part (what remains of it
    without its mean over time) counts 1 + change_weight * sigma times: it is a fourteenth of what there
    is to predict at high noise, where the kind of motion is decided, and was learnt last."""
    def loss_of(x, noise, sigma, rows, bias, cos, sin):
        s = sigma[:, None, None, None, None]
        with torch.autocast(device, dtype=torch.bfloat16):
            v = dit_model.velocity(model, (1 - s) * x + s * noise, sigma, rows, bias, cos, sin)
        error = v.float() - (noise - x)
        square = error.square().mean(dim=(1, 2, 3, 4))
        lasting = error.mean(dim=1).square().mean(dim=(1, 2, 3))
        return square + change_weight * sigma * (square - lasting), square.detach()
    return loss_of


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--image-steps", type=int, default=1000)
    parser.add_argument("--short-steps", type=int, default=300)
    parser.add_argument("--clip-steps", type=int, default=1200)
    parser.add_argument("--image-batch", type=int, default=96)
    parser.add_argument("--short-batch", type=int, default=36)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--average", type=float, default=0.995)
    parser.add_argument("--change-weight", type=float, default=4.0, help="extra weight of what changes over time")
    parser.add_argument("--stage-ends", type=float, nargs=2, default=(0.40, 0.60), help="shares of --seconds "
                        "after which the stages of pictures and of short windows end; 0 0: whole windows at once")
    parser.add_argument("--picture-every", type=int, default=4, help="every so many steps of the last stage one "
                        "of pictures, so that they are not forgotten; 0: none")
    parser.add_argument("--layers", type=int, default=dit_model.LAYERS)
    parser.add_argument("--ffn", type=int, default=dit_model.FFN)
    parser.add_argument("--heads", type=int, default=dit_model.HEADS)
    parser.add_argument("--seconds", type=float, default=0, help="train for this long in all, over resumed "
                        "runs; stages (--stage-ends) and learning rate then follow the clock, not the steps")
    parser.add_argument("--start", help="a transformer directory to begin from when there is no state yet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = args.device
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if ranks > 1:
        dist.init_process_group("gloo")
    work = os.path.join(args.work, "dit")
    os.makedirs(work, exist_ok=True)
    data = Data(os.path.join(args.work, "data"), (41, rank))
    pieces, encoder = text_model.load(os.path.join(args.work, "text", "out"), device)
    torch.manual_seed(4)
    model = dit_model.create(args.layers, args.ffn, args.heads).to(device)
    if args.start:
        model.load_state_dict(type(model).from_pretrained(args.start, torch_dtype=torch.float32).state_dict())
    average = {k: v.clone() for k, v in model.state_dict().items()}
    optimiser = Muon(model, lr=args.rate, weight_decay=0.01,
                     exclude=("patch_embedding", "proj_out", "scale_shift_table", "time_embedder"))
    state_path, step, elapsed = os.path.join(work, "dit.pt"), 0, 0.0
    if os.path.exists(state_path):
        state = torch.load(state_path, weights_only=False, map_location=device)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average, step, data.rng = state["average"], state["step"], state["rng"]
        elapsed = state["elapsed"]
        torch.set_rng_state(state["torch_rng"].cpu())
    if rank > 0 or ranks > 1:
        torch.manual_seed(1000 * (step + 1) + rank)
        data.rng = np.random.default_rng((step + 1, rank))
    first = step
    loss_of = make_loss(model, device, args.change_weight)
    run = loss_of if args.no_compile else torch.compile(loss_of, dynamic=False)
    ends = np.cumsum([args.image_steps, args.short_steps, args.clip_steps])
    stages = ((1, args.image_batch), (5, args.short_batch), (WINDOW, args.batch))
    tables = {}
    log = open(os.path.join(work, "dit.csv") if rank == 0 else os.devnull, "a", newline="")
    writer, started, recent = csv.writer(log), time.time(), []

    def save():
        if rank > 0:
            return
        torch.save(dict(model=model.state_dict(), average=average, optimiser=optimiser.state_dict(),
                        step=step, rng=data.rng, elapsed=elapsed + time.time() - started, torch_rng=torch.get_rng_state()), state_path + ".part")
        os.replace(state_path + ".part", state_path)
        frozen = dit_model.create(args.layers, args.ffn, args.heads)
        frozen.load_state_dict(average)
        frozen.save_pretrained(os.path.join(work, "out"))

    def progress():
        """0..1 through the whole run: by steps, or by the clock where --seconds is given."""
        if args.seconds:
            return min(1.0, (elapsed + time.time() - started) / args.seconds)
        return step / ends[-1]

    while True:
        done = torch.tensor(progress(), dtype=torch.float64)
        if ranks > 1:
            dist.broadcast(done, 0)
        done = done.item()
        if done >= 1.0:
            break
        if args.seconds:
            stage = int(np.searchsorted(args.stage_ends, done, side="right"))
        else:
            stage = int(np.searchsorted(ends, step, side="right"))
        if stage == 2 and args.picture_every and step % args.picture_every == 0:
            stage = 0
        frames, size = stages[stage]
        size //= ranks
        rate = args.rate * min(1, (step - first + 1) / (60 if first == 0 else 10))
        rate *= 0.02 + 0.98 * min(1.0, 1.8 * (1 - done))
        for group in optimiser.param_groups:
            group["lr"] = rate
        x, texts = data.batch(size, frames)
        rows, counts = text_model.encode(pieces, encoder, texts)
        rows, bias = dit_model.text_keys(rows, counts)
        if frames not in tables:
            tables[frames] = dit_model.rope_tables(frames, x.shape[3] // 2, x.shape[4] // 2, device)
        noise, sigma = torch.randn(x.shape), draw_sigma(size, args.shift)
        losses, squares = run(x.to(device), noise.to(device), sigma.to(device), rows, bias, *tables[frames])
        loss = losses.mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if ranks > 1:
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            flat = torch.cat([g.flatten() for g in grads]).div_(ranks)
            dist.all_reduce(flat)
            for g, part in zip(grads, flat.split([g.numel() for g in grads])):
                g.copy_(part.view_as(g))
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(args.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - keep)
        recent.append((frames, squares.mean().item(), norm.item()))
        if step % 20 == 0:
            longest = max(r[0] for r in recent)
            row = np.mean([r[1:] for r in recent if r[0] == longest], axis=0)
            recent = []
            writer.writerow([step, longest, dict(stages)[longest], f"{rate:.2e}", f"{row[0]:.5f}", f"{row[1]:.3f}",
                             f"{time.time() - started:.0f}"])
            log.flush()
        if step % 100 == 0 and rank == 0:
            print(f"step {step} frames {frames} loss {loss.item():.4f} {time.time() - started:.0f} s", flush=True)
            save()
    save()
    print("done at step", step, flush=True)


if __name__ == "__main__":
    main()
