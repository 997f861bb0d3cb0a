"""The objects of the drawn world: balloon, boat, bird, car, lantern, kite, moon.

Each shape is a list of (coverage, colour) layers in local coordinates: u to the right, v down, the
object about one unit high and its centre at 0. `px` is one screen pixel in these units and is used
for antialiasing.
"""
import numpy as np

CREAM = np.asarray((250, 240, 220), np.float32)
DARK = np.asarray((52, 46, 60), np.float32)
WOOD = np.asarray((140, 92, 58), np.float32)


def _cover(distance, px):
    return np.clip(0.5 - distance / px, 0, 1)


def _ellipse(u, v, cu, cv, ru, rv):
    k = np.sqrt(((u - cu) / ru) ** 2 + ((v - cv) / rv) ** 2)
    return (k - 1) * min(ru, rv)


def _box(u, v, cu, cv, hu, hv, r):
    qu, qv = np.abs(u - cu) - hu + r, np.abs(v - cv) - hv + r
    outside = np.sqrt(np.maximum(qu, 0) ** 2 + np.maximum(qv, 0) ** 2)
    return outside + np.minimum(np.maximum(qu, qv), 0) - r


def _polygon(u, v, points):
    """Distance to a convex polygon, points clockwise on the screen."""
    d = np.full_like(u, -1e9)
    for (au, av), (bu, bv) in zip(points, points[1:] + points[:1]):
        du, dv = bu - au, bv - av
        n = np.hypot(du, dv)
        d = np.maximum(d, ((u - au) * dv - (v - av) * du) / n)
    return d


def _shaded(colour, u, v, amount=0.20):
    """Light from the upper left."""
    k = 1.0 - amount * np.clip(0.9 * u + 0.7 * v + 0.15, -0.35, 1)
    return colour * k[..., None]


def _balloon(u, v, px, colour):
    round_part = _ellipse(u, v, 0, -0.14, 0.37, 0.37)
    cone = _polygon(u, v, [(-0.325, 0.04), (0.325, 0.04), (0.10, 0.35), (-0.10, 0.35)])
    skin = np.minimum(round_part, cone)
    width = np.sqrt(np.clip(1 - ((v + 0.14) / 0.40) ** 2, 0.10, 1)) * 0.37
    q = np.clip(u / width, -1, 1)
    band = np.clip((0.30 - np.abs(q)) * 7 + 0.5, 0, 1)
    light = colour + (255 - colour) * 0.30
    body = _shaded(colour + band[..., None] * (light - colour), u, v, 0.30)
    ropes = np.minimum(np.abs(u - 0.075), np.abs(u + 0.075)) - 0.008
    ropes = np.maximum(ropes, np.abs(v - 0.38) - 0.05)
    return [(_cover(ropes, px) * 0.8, DARK), (_cover(_box(u, v, 0, 0.455, 0.085, 0.055, 0.02), px), WOOD),
            (_cover(skin, px), body)]


def _boat(u, v, px, colour):
    hull = _polygon(u, v, [(-0.46, 0.20), (0.46, 0.20), (0.30, 0.42), (-0.32, 0.42)])
    mast = _box(u, v, 0.0, -0.12, 0.014, 0.36, 0.01)
    main = _polygon(u, v, [(0.03, -0.48), (0.40, 0.14), (0.03, 0.14)])
    jib = _polygon(u, v, [(-0.03, -0.38), (-0.03, 0.14), (-0.32, 0.14)])
    return [(_cover(mast, px), WOOD), (_cover(main, px), _shaded(colour, u, v, 0.22)),
            (_cover(jib, px), _shaded(CREAM * 0.97, u, v, 0.2)),
            (_cover(hull, px), _shaded(colour * 0.86, u, v, 0.2)),
            (_cover(np.maximum(hull, np.abs(v - 0.235) - 0.022), px), np.broadcast_to(CREAM, u.shape + (3,)))]


def _bird(u, v, px, colour):
    body = _ellipse(u, v, 0.02, 0.06, 0.36, 0.23)
    head = _ellipse(u, v, 0.34, -0.14, 0.165, 0.165)
    tail = _polygon(u, v, [(-0.62, -0.10), (-0.24, -0.06), (-0.22, 0.18), (-0.60, 0.10)])
    beak = _polygon(u, v, [(0.47, -0.20), (0.66, -0.11), (0.47, -0.06)])
    wing = _polygon(u, v, [(-0.30, -0.50), (0.16, -0.02), (0.10, 0.10), (-0.16, 0.08)])
    eye = _ellipse(u, v, 0.39, -0.17, 0.032, 0.032)
    orange = np.asarray((246, 160, 50), np.float32)
    skin = np.minimum(np.minimum(body, head), tail)
    return [(_cover(beak, px), orange), (_cover(skin, px), _shaded(colour, u, v, 0.22)),
            (_cover(wing, px), _shaded(colour * 0.72, u, v, 0.1)), (_cover(eye, px), DARK)]


def _car(u, v, px, colour):
    body = _box(u, v, 0, 0.13, 0.66, 0.16, 0.09)
    cabin = _polygon(u, v, [(-0.26, -0.30), (0.20, -0.30), (0.38, 0.02), (-0.42, 0.02)])
    glass = _polygon(u, v, [(-0.22, -0.24), (0.17, -0.24), (0.29, -0.01), (-0.33, -0.01)])
    pillar = np.abs(u + 0.02) - 0.025
    wheels = np.minimum(_ellipse(u, v, -0.36, 0.29, 0.145, 0.145), _ellipse(u, v, 0.36, 0.29, 0.145, 0.145))
    hubs = np.minimum(_ellipse(u, v, -0.36, 0.29, 0.06, 0.06), _ellipse(u, v, 0.36, 0.29, 0.06, 0.06))
    lamp = _ellipse(u, v, 0.60, 0.09, 0.05, 0.05)
    sky = np.asarray((196, 226, 240), np.float32)
    return [(_cover(cabin - 0.02, px), _shaded(colour, u, v)),
            (_cover(np.maximum(glass, -pillar), px), sky), (_cover(body, px), _shaded(colour, u, v, 0.25)),
            (_cover(wheels, px), DARK), (_cover(hubs, px), CREAM * 0.85),
            (_cover(lamp, px), np.asarray((255, 240, 170), np.float32))]


def _lantern(u, v, px, colour):
    body = _box(u, v, 0, 0.0, 0.34, 0.33, 0.24)
    caps = np.minimum(_box(u, v, 0, -0.35, 0.17, 0.045, 0.02), _box(u, v, 0, 0.35, 0.17, 0.045, 0.02))
    cord = np.minimum(_box(u, v, 0, -0.44, 0.014, 0.07, 0.01), _box(u, v, 0, 0.45, 0.035, 0.075, 0.02))
    shine = np.exp(-(u / 0.22) ** 2 - ((v + 0.02) / 0.24) ** 2)
    ribs = 0.5 + 0.5 * np.cos(v * 6.283 / 0.165)
    skin = colour * (0.90 + 0.10 * ribs)[..., None]
    skin = skin + (0.42 * shine)[..., None] * (np.asarray((255, 244, 200), np.float32) - skin)
    return [(_cover(cord, px), DARK), (_cover(body, px), skin), (_cover(caps, px), DARK)]


def _kite(u, v, px, colour):
    top, side, low = (0.0, -0.48), 0.34, (0.0, 0.26)
    sail = _polygon(u, v, [top, (side, -0.14), low, (-side, -0.14)])
    quarter = np.clip(u / px + 0.5, 0, 1) * np.clip((-0.14 - v) / px + 0.5, 0, 1)
    quarter = quarter + np.clip(0.5 - u / px, 0, 1) * np.clip((v + 0.14) / px + 0.5, 0, 1)
    light = colour + (255 - colour) * 0.34
    skin = colour + quarter[..., None] * (light - colour)
    wave = 0.07 * np.sin((v - 0.26) * 16)
    tail = np.maximum(np.abs(u - wave) - 0.014, np.abs(v - 0.38) - 0.12)
    bows = np.minimum(_ellipse(u, v, 0.06, 0.36, 0.06, 0.035), _ellipse(u, v, -0.05, 0.48, 0.06, 0.035))
    return [(_cover(tail, px), CREAM), (_cover(bows, px), colour * 0.9), (_cover(sail, px), skin)]


def _moon(u, v, px, colour):
    crescent = np.maximum(_ellipse(u, v, 0, 0, 0.46, 0.46), -_ellipse(u, v, 0.24, -0.12, 0.37, 0.37))
    return [(_cover(crescent, px), _shaded(colour, -u, v, 0.12))]


_SHAPES = {"balloon": _balloon, "boat": _boat, "bird": _bird, "car": _car, "lantern": _lantern,
           "kite": _kite, "moon": _moon}
_GLOW = {"lantern": 0.75, "moon": 0.55}


def draw_object(frame, clip, x, y, angle, i):
    """Draws the clip's object with its shadow, glow and, on the sea, its reflection."""
    from scenes import RGB, WIDTH, HEIGHT, _X, _Y
    spec, size = clip.spec, clip.object_h
    colour = np.asarray(RGB[spec.colour], np.float32)
    tint = clip.tint if spec.object not in _GLOW else np.maximum(clip.tint, 0.94)
    half = int(size * 0.80) + 4
    x0, x1 = max(0, int(x) - half), min(WIDTH, int(x) + half)
    y0, y1 = max(0, int(y) - half), min(HEIGHT, int(y) + half)
    part, px_x, px_y = frame[y0:y1, x0:x1], _X[y0:y1, x0:x1], _Y[y0:y1, x0:x1]
    if spec.scene == "sea":
        mirror = 2 * clip.horizon + 14 - y + size * 0.16
        wobble = 3.0 * np.sin(_Y[int(clip.horizon):] * 0.45 + 2 * np.pi * i / 32.0)
        d = ((_X[int(clip.horizon):] - x - wobble) / (size * 0.34)) ** 2
        d = d + ((_Y[int(clip.horizon):] - max(mirror, clip.horizon + size * 0.42)) / (size * 0.34)) ** 2
        rows = frame[int(clip.horizon):]
        rows += (0.46 * np.exp(-d * d))[..., None] * (colour * tint * 0.9 - rows)
    elif spec.object in ("boat", "car"):
        d = ((px_x - x) / (size * 0.60)) ** 2 + ((px_y - clip.object_y - size * 0.42) / (size * 0.10)) ** 2
        part *= (1 - 0.40 * np.exp(-d * d))[..., None]
    pivot = -0.55 if spec.object not in ("boat", "car") else 0.40
    c, s = np.cos(angle), np.sin(angle)
    u, v = (px_x - x) / size, (px_y - y) / size - pivot
    u, v = c * u + s * v, -s * u + c * v + pivot
    if spec.object in _GLOW:
        strength = _GLOW[spec.object] * (1.0 if spec.time == "night" else 0.55)
        edge = np.clip((0.79 - np.sqrt(u * u + v * v)) / 0.3, 0, 1)
        glow = np.exp(-(u * u + v * v) / 0.16) * edge * strength
        part += glow[..., None] * ((colour + 255) * 0.5 - part)
    else:
        su, sv = u - 0.03, v - 0.04
        d = np.sqrt(su * su + sv * sv)
        part *= (1 - 0.12 * np.clip((0.74 - d) / 0.5, 0, 1))[..., None]
    for cover, paint in _SHAPES[spec.object](u, v, 1.1 / size, colour):
        part += cover[..., None] * (paint * tint - part)
