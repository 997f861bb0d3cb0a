"""Contact sheets: frames of clips side by side in one PNG."""
import sys
import numpy as np
from PIL import Image


def sheet(rows, path, scale=1):
    """rows: list of lists of uint8 [H, W, 3] -> PNG."""
    gap = 2
    h, w = rows[0][0].shape[:2]
    columns = max(len(r) for r in rows)
    canvas = np.full((len(rows) * (h + gap), columns * (w + gap), 3), 255, np.uint8)
    for j, row in enumerate(rows):
        for k, picture in enumerate(row):
            canvas[j * (h + gap):j * (h + gap) + h, k * (w + gap):k * (w + gap) + w] = picture
    image = Image.fromarray(canvas)
    if scale != 1:
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.LANCZOS)
    image.save(path)


if __name__ == "__main__":
    import scenes
    rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    rows = []
    for scene in scenes.SCENES:
        row = []
        for time in scenes.TIMES:
            spec = scenes.random_spec(rng)
            spec = scenes.Spec(scene, time, scenes.OBJECTS[(len(rows) * 4 + len(row)) % 7],
                               spec.colour, spec.motion, spec.seed)
            row.append(scenes.Clip(spec).frame(5))
        rows.append(row)
    sheet(rows, sys.argv[1])
