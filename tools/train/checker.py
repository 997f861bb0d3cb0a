"""Judges videos by their pixels: object, colour, scene and time of a frame, motion of 17 frames.

Two small networks, trained on frames that the generator draws (never on the model's output) and run
here in numpy alone. Frames are shrunk to 96 x 60 in colour for what is seen and to 64 x 40 in grey
for how it moves. `train_checker.py` makes checker.npz and reports how well it reads drawn clips.
"""
import os
import numpy as np
import scenes

OBJECTS = scenes.OBJECTS + ("none",)
HEADS = (("object", OBJECTS), ("colour", scenes.COLOURS), ("scene", scenes.SCENES), ("time", scenes.TIMES))
MOTION_FRAMES, MOTION_STEP = 9, 2  # 17 frames, every second
DEFAULT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "checker.npz")


def shrink(frames, width, height):
    """uint8 [N, H, W, 3] -> float32 [N, height, width, 3] in 0..1, box filter of whole or part pixels."""
    n, h, w, _ = frames.shape
    x = frames.astype(np.float32) / 255.0

    def matrix(size, out):
        edges = np.linspace(0, size, out + 1)
        m = np.zeros((out, size), np.float32)
        for k in range(out):
            a, b = edges[k], edges[k + 1]
            for j in range(int(a), min(size, int(np.ceil(b)))):
                m[k, j] = max(0.0, min(b, j + 1) - max(a, j))
        return m / m.sum(axis=1, keepdims=True)
    x = np.einsum("kh,nhwc->nkwc", matrix(h, height), x, optimize=True)
    return np.einsum("kw,nhwc->nhkc", matrix(w, width), x, optimize=True)


def look_input(frames):
    return shrink(frames, 96, 60).transpose(0, 3, 1, 2) * 2 - 1


def motion_input(frames):
    """9 frames, two apart -> [9, 40, 64]: grey, less its mean over time, times 4."""
    grey = shrink(frames, 64, 40) @ np.asarray((0.299, 0.587, 0.114), np.float32)
    return (grey - grey.mean(axis=0, keepdims=True)) * 4


def _conv(x, weight, bias):
    """3x3, stride 2, padding 1, then ReLU."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    y = np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True) + bias[None, :, None, None]
    return np.maximum(y, 0)


def _softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Checker:
    def __init__(self, path=DEFAULT):
        with np.load(path) as f:
            self.w = {k: f[k].astype(np.float32) for k in f.files}

    def _features(self, net, x):
        w = self.w
        for k in range(3):
            x = _conv(x, w[f"{net}.convs.{k}.weight"], w[f"{net}.convs.{k}.bias"])
        x = x.reshape(len(x), -1) @ w[f"{net}.hidden.weight"].T + w[f"{net}.hidden.bias"]
        return np.maximum(x, 0)

    def look(self, frames):
        """uint8 [N, H, W, 3] -> list of N dicts: per attribute (word, probability)."""
        x = self._features("look", look_input(frames))
        out = [{} for _ in range(len(frames))]
        for name, words in HEADS:
            p = _softmax(x @ self.w[f"look.heads.{name}.weight"].T + self.w[f"look.heads.{name}.bias"])
            for k, best in enumerate(p.argmax(axis=1)):
                out[k][name] = (words[best], float(p[k, best]))
        return out

    def motion(self, frames):
        """uint8 [>= 17, H, W, 3] -> (word, probability), mean over windows of 17 frames."""
        span = (MOTION_FRAMES - 1) * MOTION_STEP + 1
        starts = range(0, len(frames) - span + 1, span // 2)
        x = np.stack([motion_input(frames[s:s + span:MOTION_STEP]) for s in starts])
        x = self._features("motion", x)
        p = _softmax(x @ self.w["motion.heads.motion.weight"].T + self.w["motion.heads.motion.bias"]).mean(axis=0)
        return scenes.MOTIONS[int(p.argmax())], float(p.max())

    def clip(self, frames):
        """What a clip shows: majority over every eighth frame, and its motion where long enough."""
        seen = self.look(frames[::8])
        result = {}
        for name, _ in HEADS:
            words = [s[name][0] for s in seen]
            result[name] = max(set(words), key=words.count)
        if len(frames) >= (MOTION_FRAMES - 1) * MOTION_STEP + 1:
            result["motion"] = self.motion(frames)[0]
        return result


def motion_amount(frames):
    """Mean absolute change of brightness from frame to frame, in grey levels of 255."""
    grey = frames.astype(np.float32) @ np.asarray((0.299, 0.587, 0.114), np.float32)
    return float(np.abs(np.diff(grey, axis=0)).mean())
