"""Draws the training clips: a small world in a paper-cut style, from numpy alone.

A clip is described by a `Spec` (scene, time of day, object, colour, motion, seed) and can be drawn
at any frame, so that windows may be cut anywhere and motions go on for ever:
  bobbing   the object rises and sinks (32 frames a cycle), the camera rests
  swaying   the object swings from side to side about its top (32 frames a cycle)
  drifting  a tracking camera: the object stays, the land scrolls by without end
  panning   the camera swings slowly left and right (64 frames a cycle), all moves together
  still     nothing moves but the light on water
Everything is antialiased from distances; large soft shapes only, so that it compresses well.
"""
from dataclasses import dataclass, asdict
import hashlib
import numpy as np

WIDTH, HEIGHT, FPS = 256, 160, 12
SCENES = ("sea", "hills", "desert", "city", "snow", "forest")
TIMES = ("day", "sunset", "night", "dawn")
OBJECTS = ("balloon", "boat", "bird", "car", "lantern", "kite", "moon")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "pink")
MOTIONS = ("bobbing", "swaying", "drifting", "panning", "still")
CYCLE, PAN_CYCLE = 32.0, 64.0  # frames

RGB = {
    "red": (218, 42, 44), "orange": (243, 126, 22), "yellow": (252, 208, 44),
    "green": (46, 166, 74), "blue": (38, 96, 222), "purple": (128, 58, 190),
    "white": (248, 246, 240), "pink": (250, 138, 186)}

# per time: sky top, middle, horizon; light on the land; haze; sun or moon disc; cloud; object tint
LIGHT = {
    "day": ((64, 140, 222), (130, 190, 240), (218, 238, 248), (1.0, 1.0, 1.0), (200, 226, 244),
            (255, 250, 220), (252, 253, 255), (1.0, 1.0, 1.0)),
    "sunset": ((84, 52, 128), (226, 92, 98), (255, 182, 90), (0.84, 0.56, 0.56), (246, 142, 96),
               (255, 226, 130), (250, 136, 120), (1.0, 0.93, 0.86)),
    "night": ((12, 18, 52), (26, 38, 88), (52, 74, 134), (0.32, 0.40, 0.66), (44, 62, 118),
              (244, 240, 214), (50, 62, 112), (0.80, 0.82, 0.92)),
    "dawn": ((128, 168, 200), (196, 196, 214), (252, 214, 204), (0.80, 0.78, 0.86), (238, 212, 214),
             (255, 244, 226), (246, 226, 226), (0.97, 0.96, 1.0))}

# per scene: colours of the far, middle and near layer in full light
LAND = {
    "sea": ((70, 120, 150), (34, 132, 164), (18, 92, 132)),
    "hills": ((120, 176, 120), (94, 168, 84), (62, 140, 62)),
    "desert": ((226, 176, 118), (232, 168, 88), (214, 138, 58)),
    "city": ((150, 162, 186), (116, 126, 156), (78, 86, 116)),
    "snow": ((178, 198, 222), (216, 228, 242), (244, 248, 254)),
    "forest": ((84, 128, 112), (44, 100, 76), (22, 72, 54))}


@dataclass(frozen=True)
class Spec:
    """What a clip shows. `seed` picks everything that the caption does not say."""
    scene: str
    time: str
    object: str
    colour: str
    motion: str
    seed: int

    def combination(self):
        return f"{self.scene}/{self.time}/{self.object}/{self.colour}/{self.motion}"

    def is_held_out(self):
        """One combination in twenty is never trained on."""
        return hashlib.sha256(self.combination().encode()).digest()[0] < 13

    def asdict(self):
        return asdict(self)


def random_spec(rng, held_out=False):
    while True:
        spec = Spec(str(rng.choice(SCENES)), str(rng.choice(TIMES)), str(rng.choice(OBJECTS)),
                    str(rng.choice(COLOURS)), str(rng.choice(MOTIONS)), int(rng.integers(2**31)))
        if spec.is_held_out() == held_out:
            return spec


_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
_COLUMN = np.arange(WIDTH, dtype=np.float32)
_ROW = np.arange(HEIGHT, dtype=np.float32)


def _rgb(c):
    return np.asarray(c, np.float32)


def _hash01(i, salt):
    """Uniform numbers in [0, 1) from integer arrays, for things that repeat without end."""
    h = (i.astype(np.int64) * 2654435761 + salt * 40503 + 12345) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 3266489917) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF).astype(np.float32) / 0x1000000


def _blend(frame, alpha, colour):
    frame += alpha[..., None] * (colour - frame)


class Clip:
    """One drawn clip. `frame(i)` gives uint8 [HEIGHT, WIDTH, 3]."""

    def __init__(self, spec):
        self.spec = spec
        rng = np.random.default_rng(spec.seed)
        (top, mid, low, light, haze, sun, cloud, tint) = map(_rgb, LIGHT[spec.time])
        self.light, self.haze, self.sun_colour, self.cloud_colour, self.tint = (
            light, haze, sun, cloud, tint)
        self.horizon = 96.0 + rng.uniform(-4, 4)
        self.salt = int(rng.integers(1 << 20))
        self.wave_phase = rng.uniform(0, 6.28, 8).astype(np.float32)
        self.phase = rng.uniform(0, 2 * np.pi)
        self.sun_x = float(rng.choice([-1, 1])) * rng.uniform(60, 92) + WIDTH / 2
        self.sun_y = {"day": 26.0, "sunset": self.horizon - 20, "night": 30.0,
                      "dawn": self.horizon - 34}[spec.time] + rng.uniform(-3, 3)
        self.sun_r = {"day": 11.0, "sunset": 19.0, "night": 10.0, "dawn": 14.0}[spec.time]
        ground = spec.object in ("boat", "car")
        self.object_x = WIDTH / 2 + rng.uniform(-22, 22)
        self.object_y = (self.horizon + 8 if ground else 66.0) + rng.uniform(-5, 5)
        self.object_h = {"balloon": 70, "boat": 66, "bird": 62, "car": 58, "lantern": 62,
                         "kite": 70, "moon": 60}[spec.object] * rng.uniform(0.94, 1.08)
        k = np.clip(_ROW / self.horizon, 0, 1)[:, None]
        sky = np.where(k < 0.55, top + (mid - top) * (k / 0.55), mid + (low - mid) * ((k - 0.55) / 0.45))
        self.sky = np.broadcast_to(sky[:, None, :], (HEIGHT, WIDTH, 3)).astype(np.float32)
        self.reflection = low * 0.6 + mid * 0.4
        if spec.scene == "snow":  # snow keeps more of its white
            light = light * 0.72 + 0.28 * (1.0 if spec.time != "night" else 0.7)
        self.land = [_rgb(c) * light for c in LAND[spec.scene]]
        self.static = None

    # ---- camera -------------------------------------------------------------------------------

    def _motion(self, i):
        """Scroll of the land (pixels at the near layer), pan, object dy and object angle."""
        motion, turn = self.spec.motion, 2 * np.pi * i / CYCLE + self.phase
        if motion == "bobbing":
            return 0.0, 0.0, 11.0 * np.sin(turn), 0.0
        if motion == "swaying":
            return 0.0, 0.0, 0.0, 0.30 * np.sin(turn)
        if motion == "drifting":
            return 2.4 * i, 0.0, 0.0, 0.0
        if motion == "panning":
            return 0.0, 26.0 * np.sin(2 * np.pi * i / PAN_CYCLE + self.phase), 0.0, 0.0
        return 0.0, 0.0, 0.0, 0.0

    # ---- background ---------------------------------------------------------------------------

    def _waves(self, x, base, amplitude, wavelength, salt):
        """A ridge line: three sines of unrelated wavelengths, the same statistics everywhere."""
        p = self.wave_phase + salt
        return base - amplitude * (0.55 * np.sin(x * (6.283 / wavelength) + p[0])
                                   + 0.30 * np.sin(x * (6.283 / (wavelength * 0.53)) + p[1])
                                   + 0.25 * np.sin(x * (6.283 / (wavelength * 1.73)) + p[2]))

    def _cells(self, x, cell, salt):
        """Cell index, place in the cell (-0.5..0.5) and a random number per cell."""
        q = x / cell
        index = np.floor(q)
        return index, q - index - 0.5, _hash01(index, self.salt + salt)

    def _ridge(self, depth, x):
        """Height of layer `depth` (0 far, 1 middle, 2 near) at land coordinate x."""
        scene, base = self.spec.scene, self.horizon + (-2, 14, 36)[depth]
        if scene == "hills":
            return self._waves(x, base, (13, 10, 8)[depth], (150, 190, 230)[depth], depth * 1.7)
        if scene == "desert":
            wave = self._waves(x, base, 5.0, (200, 260, 300)[depth], depth * 2.1)
            _, u, r = self._cells(x, (130, 170, 230)[depth], depth)
            dune = (8 + 10 * r) * np.clip(1 - np.abs(u + 0.12) / 0.42, 0, 1) ** 1.3
            return wave - dune
        if scene == "snow":
            _, u, r = self._cells(x, (74, 104, 190)[depth], depth)
            peak = ((34, 24, 7)[depth] * (0.6 + 0.6 * r)) * (1 - 2 * np.abs(u))
            return self._waves(x, base + 4, 3.0, 170.0, depth) - peak
        if scene == "city":
            _, u, r = self._cells(x, (30, 38, 300)[depth], depth)
            if depth == 2:
                return np.full_like(x, base + 4)
            side = np.clip((0.46 - np.abs(u)) * 38, 0, 1)
            return base + 4 - (14 + (40, 28)[depth] * r) * side
        if scene == "forest":
            if depth == 2:
                return self._waves(x, base, 4.0, 210.0, 1.0)
            _, u, r = self._cells(x, (26, 36)[depth], depth)
            tree = (20 + (16, 22)[depth] * r) * np.clip(1 - np.abs(u) / 0.5, 0, 1) ** 0.75
            return self._waves(x, base + 6, 3.0, 200.0, depth) - tree
        return base

    def _layer(self, frame, depth, x):
        ridge = self._ridge(depth, x)
        first = max(0, int(ridge.min()) - 1)
        rows = _ROW[first:, None]
        alpha = np.clip(rows - ridge[None, :] + 0.5, 0, 1)
        near = self.land[depth]
        mist = (0.50, 0.26, 0.04)[depth]
        top = near + (self.haze - near) * mist
        fade = np.clip((rows - self.horizon - (-30, 0, 30)[depth]) / 60.0, 0, 1)[..., None]
        bottom = near * 0.86 + (self.haze - near * 0.86) * (mist + (0.25, 0.12, 0.0)[depth])
        colour = top + (bottom - top) * fade
        if self.spec.scene == "snow" and depth < 2:  # shaded side of the peaks
            _, u, _ = self._cells(x, (74, 104)[depth], depth)
            shade = np.clip(u * 14 + 0.5, 0, 1) * np.clip((0.5 - u) / 0.4, 0, 1) * 0.24
            colour = colour * (1 - shade[None, :, None] * (1 - 0.5 * fade))
        if self.spec.scene == "desert":
            _, u, _ = self._cells(x, (130, 170, 230)[depth], depth)
            shade = np.clip((u + 0.12) * 12 + 0.5, 0, 1) * np.clip((0.5 - u) / 0.5, 0, 1) * 0.16
            colour = colour * (1 - shade[None, :, None] * (1 - fade))
        if self.spec.scene == "city" and depth == 1:
            colour = np.repeat(colour, WIDTH, axis=1)
            self._windows(colour, x, ridge, rows)
        part = frame[first:]
        part += alpha[..., None] * (colour - part)

    def _windows(self, colour, x, ridge, rows):
        """Two soft windows side by side on some floors, lit at night and at sunset."""
        index, u, r = self._cells(x, 38, 1)
        column = np.clip(2.2 - np.abs(np.abs(u * 38) - 7.0) * 0.8, 0, 1)
        v = rows - ridge[None, :] - 12.0
        floor = np.floor(v / 14.0)
        row = np.clip(2.6 - np.abs(v - floor * 14.0 - 7.0) * 0.8, 0, 1)
        lit = _hash01(index[None, :] * 31 + floor, self.salt + 5) < 0.6
        alpha = column[None, :] * row * lit * (v > 0) * (rows < self.horizon + 14)
        glow = {"night": (255, 214, 120), "sunset": (255, 206, 130)}.get(self.spec.time)
        target = _rgb(glow) if glow else self.land[1] * 0.62
        colour += (alpha * (0.9 if glow else 0.6))[..., None] * (target - colour)

    def _water(self, frame, x, i):
        """The sea: sky colours mirrored, long soft waves, a path of light under sun or moon."""
        first = int(self.horizon)
        rows = _ROW[first:, None]
        depth = np.clip((rows - self.horizon) / (HEIGHT - self.horizon), 0, 1)
        far = self.reflection * 0.55 + self.land[1] * 0.45
        colour = far + (self.land[2] - far) * (depth[..., None] ** 0.8)
        scale = 0.35 + depth * 1.0
        turn = 2 * np.pi * i / CYCLE
        y = 22.0 * np.sqrt(depth + 0.02)
        wave = np.sin(y + 0.030 * x[None, :] / scale + self.wave_phase[3] + turn)
        wave = wave * np.sin(0.6 * y - 0.021 * x[None, :] / scale + self.wave_phase[4] - turn)
        crest = np.clip(wave, 0, 1) ** 2 * (0.10 + 0.22 * depth)
        colour = colour + crest[..., None] * (self.cloud_colour * 0.6 + self.haze * 0.4 - colour)
        sun = self.sun_screen_x
        path = np.exp(-((_COLUMN[None, :] - sun) / (9 + 26 * depth)) ** 2)
        path = path * (0.55 - 0.3 * depth) * (0.72 + 0.28 * wave)
        if self.spec.time == "day":
            path = path * 0.5
        colour = colour + path[..., None] * (self.sun_colour - colour)
        alpha = np.clip(rows - self.horizon + 0.5, 0, 1)[..., None]
        frame[first:] += alpha * (colour - frame[first:])

    def _clouds(self, frame, x):
        """One flat cloud in most cells of a band of the sky."""
        strength = {"day": 0.85, "sunset": 0.55, "night": 0.36, "dawn": 0.6}[self.spec.time]
        index, u, r = self._cells(x, 150.0, 9)
        r2, r3 = _hash01(index, self.salt + 10), _hash01(index, self.salt + 11)
        centre = 18.0 + 26.0 * r2
        rows = _ROW[:76, None]
        total = np.zeros((76, WIDTH), np.float32)
        for du, dv, w, h in ((0, 0, 30, 8), (-17, 3, 17, 5.5), (18, 3, 19, 6), (6, -5, 14, 7)):
            size = 0.8 + 0.4 * r3
            d = np.sqrt(((u * 150.0 - du * size) / (w * size)) ** 2
                        + ((rows - centre - dv * size) / (h * size)) ** 2)
            total = np.maximum(total, np.clip((1.12 - d) * 3.2, 0, 1))
        total = total * (r > 0.25)
        _blend(frame[:76], total * strength, self.cloud_colour)

    def _background(self, i, scroll, pan):
        frame = self.sky.copy()
        shift = pan * 0.6
        sun = self.sun_x - shift
        self.sun_screen_x = sun
        d = np.sqrt((_X - sun) ** 2 + (_Y - self.sun_y) ** 2)
        if self.spec.time == "night":
            for j in range(9):
                sx = (_hash01(np.asarray([j]), self.salt + 20)[0] * 300 - 20 - shift)
                sy = _hash01(np.asarray([j]), self.salt + 21)[0] * 62 + 4
                y0, x0 = int(sy) - 3, int(sx) - 3
                if 0 <= y0 and 0 <= x0 < WIDTH - 7:
                    patch = np.s_[y0:y0 + 7, x0:x0 + 7]
                    r2 = (_X[patch] - sx) ** 2 + (_Y[patch] - sy) ** 2
                    _blend(frame[patch], np.exp(-r2 / 2.4) * 0.8, _rgb((240, 240, 255)))
        glow = np.exp(-d / (self.sun_r * 2.2)) * (0.55 if self.spec.time != "day" else 0.45)
        _blend(frame, glow, self.sun_colour)
        if not (self.spec.time == "night" and self.spec.object == "moon"):
            _blend(frame, np.clip(self.sun_r - d + 0.5, 0, 1), self.sun_colour)
        self._clouds(frame, _COLUMN + scroll * 0.22 + shift)
        if self.spec.scene == "sea":
            self._water(frame, _COLUMN + scroll + pan, i)
        else:
            for depth, (speed, lag) in enumerate(((0.30, 0.8), (0.60, 0.9), (1.0, 1.0))):
                self._layer(frame, depth, _COLUMN + scroll * speed + pan * lag)
        return frame

    # ---- frames -------------------------------------------------------------------------------

    def frame(self, i, with_object=True):
        from draw_objects import draw_object
        scroll, pan, dy, angle = self._motion(float(i))
        moving = self.spec.motion in ("drifting", "panning") or self.spec.scene == "sea"
        if moving or self.static is None:
            frame = self._background(float(i), scroll, pan)
            if not moving:
                self.static = frame.copy()
        else:
            frame = self.static.copy()
        if with_object:
            draw_object(frame, self, self.object_x - pan, self.object_y + dy, angle, float(i))
        return np.clip(frame + 0.5, 0, 255).astype(np.uint8)

    def frames(self, start, count):
        return np.stack([self.frame(start + k) for k in range(count)])
