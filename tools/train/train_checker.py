"""Trains the checker's two networks on drawn frames, tests them on drawn held-out clips.

  train_checker.py --work DIR/checker [--pool DIR/vae] [--images 1000] [--clips 900]

--pool adds the pictures and clips that make_frames.py drew. Writes checker.npz beside this file and prints the shares read right on held-out combinations.
"""
import argparse
import csv
import os
from concurrent.futures import ProcessPoolExecutor
import numpy as np
import torch
import checker
import scenes


def _image(job):
    seed, held_out = job
    rng = np.random.default_rng(seed)
    spec = scenes.random_spec(rng, held_out)
    empty = rng.random() < (0.12 if held_out else 0.5)
    frame = scenes.Clip(spec).frame(int(rng.integers(0, 2000)), not empty)
    label = [words.index(getattr(spec, name)) for name, words in checker.HEADS]
    if empty:
        label[0] = len(scenes.OBJECTS)
    return (checker.shrink(frame[None], 96, 60)[0] * 255).astype(np.uint8), label


def _clip(job):
    seed, held_out = job
    rng = np.random.default_rng(seed)
    spec = scenes.random_spec(rng, held_out)
    start, clip = int(rng.integers(0, 2000)), scenes.Clip(spec)
    frames = np.stack([clip.frame(start + checker.MOTION_STEP * k) for k in range(checker.MOTION_FRAMES)])
    return checker.motion_input(frames).astype(np.float16), scenes.MOTIONS.index(spec.motion)


def from_pool(folder):
    """Inputs and labels of the pool that make_frames.py drew; its specs follow from its seeds."""
    images, clips = (np.load(os.path.join(folder, n + ".npy"), mmap_mode="r") for n in ("images", "clips"))
    look, labels, moving, motions = [], [], [], []
    for k in range(len(images)):
        spec = scenes.random_spec(np.random.default_rng((11, k)))
        look.append((checker.shrink(images[k], 96, 60)[0] * 255).astype(np.uint8))
        labels.append([words.index(getattr(spec, name)) for name, words in checker.HEADS])
    for k in range(len(clips)):
        spec = scenes.random_spec(np.random.default_rng((12, k)))
        moving.append(checker.motion_input(clips[k][::checker.MOTION_STEP]).astype(np.float16))
        motions.append(scenes.MOTIONS.index(spec.motion))
    return look, labels, moving, motions


class Net(torch.nn.Module):
    def __init__(self, channels, sizes, features, heads):
        super().__init__()
        sizes = (channels,) + sizes
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(sizes, sizes[1:]))
        self.hidden = torch.nn.Linear(features, 64)
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(64, n) for name, n in heads.items()})

    def forward(self, x):
        for conv in self.convs:
            x = torch.relu(conv(x))
        x = torch.relu(self.hidden(torch.nn.functional.dropout(x.flatten(1), 0.2, self.training)))
        return {name: head(x) for name, head in self.heads.items()}


def disturb(x, scale):
    """Brightness, contrast, noise and now and then blur, so that decoded frames are read as well."""
    n = x.shape[0]
    x = x * (1 + 0.06 * torch.randn(n, 1, 1, 1)) + scale * 0.04 * torch.randn(n, 1, 1, 1)
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.4, blurred, x)
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(3), x)
    if x.shape[1] == checker.MOTION_FRAMES:  # motions stay what they are backwards
        x = torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(1), x)
    else:  # things stay what they are a little to the side or higher
        x = torch.roll(x, tuple(np.random.randint(-4, 5, 2)), (2, 3))
    return x + scale * 0.05 * torch.rand(n, 1, 1, 1) * torch.randn_like(x)


def fit(net, x, labels, prepare, epochs, writer, name):
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    steps = epochs * (len(x) // 64)
    rng = np.random.default_rng(7)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps) + 1e-5
        picks = rng.integers(0, len(x), 64)
        batch = prepare(torch.from_numpy(x[picks]).float())
        losses = []
        for head, out in net(batch).items():
            target = torch.from_numpy(labels[head][picks])
            losses.append(torch.nn.functional.cross_entropy(out, target, ignore_index=-1, label_smoothing=0.02))
        loss = sum(losses)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 0:
            writer.writerow([name, step, f"{loss.item():.4f}"])
    net.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--clips", type=int, default=900)
    parser.add_argument("--pool")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    cache = os.path.join(args.work, "drawn.npz")
    if not os.path.exists(cache):
        with ProcessPoolExecutor(args.processes) as pool:
            draw = lambda f, seed, n, held: list(zip(*pool.map(f, [((seed, k), held) for k in range(n)], chunksize=16)))
            parts = {"image": draw(_image, 51, args.images, False), "clip": draw(_clip, 52, args.clips, False),
                     "image_test": draw(_image, 53, 500, True), "clip_test": draw(_clip, 54, 300, True)}
        if args.pool:
            look, labels, moving, motions = from_pool(args.pool)
            parts["image"] = [list(parts["image"][0]) + look, list(parts["image"][1]) + labels]
            parts["clip"] = [list(parts["clip"][0]) + moving, list(parts["clip"][1]) + motions]
        np.savez(cache, **{k + "_x": np.stack(v[0]) for k, v in parts.items()},
                 **{k + "_y": np.asarray(v[1]) for k, v in parts.items()})
        print("drawn", flush=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(6)
    np.random.seed(6)
    data = np.load(cache)
    log = open(os.path.join(args.work, "checker.csv"), "w", newline="")
    writer = csv.writer(log)
    look = Net(3, (24, 48, 64), 64 * 8 * 12, {name: len(words) for name, words in checker.HEADS})
    labels = {name: data["image_y"][:, k].astype(np.int64) for k, (name, _) in enumerate(checker.HEADS)}
    labels["colour"] = np.where(labels["object"] == len(scenes.OBJECTS), -1, labels["colour"])
    to_look = lambda x: x.permute(0, 3, 1, 2) / 127.5 - 1
    fit(look, data["image_x"], labels, lambda x: disturb(to_look(x), 1.0), args.epochs, writer, "look")
    motion = Net(checker.MOTION_FRAMES, (32, 48, 64), 64 * 5 * 8, {"motion": len(scenes.MOTIONS)})
    fit(motion, data["clip_x"], {"motion": data["clip_y"].astype(np.int64)}, lambda x: disturb(x, 0.6),
        args.epochs * 2, writer, "motion")
    weights = {}
    for name, net in (("look", look), ("motion", motion)):
        weights.update({f"{name}.{k}": v.numpy().astype(np.float16) for k, v in net.state_dict().items()})
    np.savez_compressed(checker.DEFAULT, **weights)
    with torch.no_grad():
        out = look(to_look(torch.from_numpy(data["image_test_x"]).float()))
        truth = data["image_test_y"]
        shown = truth[:, 0] < len(scenes.OBJECTS)
        for k, (name, _) in enumerate(checker.HEADS):
            right = out[name].argmax(dim=1).numpy() == truth[:, k]
            print(name, f"{(right[shown] if name == 'colour' else right).mean():.4f}")
        right = motion(torch.from_numpy(data["clip_test_x"]).float())["motion"].argmax(dim=1).numpy() == data["clip_test_y"]
        print("motion", f"{right.mean():.4f}")


if __name__ == "__main__":
    main()
