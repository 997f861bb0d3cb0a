"""Checks a finished video against its prompt, on pixels alone; prints JSON.

  check_video.py VIDEO.mp4|FOLDER [--prompt "a red balloon bobbing over the sea at sunset"]
                 [--native OTHER] [--expect object=balloon,colour=red,...] [--summary]

Per second: the object, colour, scene and time that the checker reads (majority over the second) and
whether they are what the prompt names. Per window of 33 frames: the kind of motion. The amount of
motion (mean change of brightness between frames) is compared with that of --native where given: a
native clip of the same prompt. FOLDER holds frames as PNG or PPM in the order of their names. Videos are
read through ffmpeg. Pictures of any size are scaled by the checker.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import numpy as np
import captions
import checker
import scenes


def read_video(path):
    """uint8 [N, H, W, 3] and frames per second."""
    if os.path.isdir(path):
        from PIL import Image
        names = sorted(n for n in os.listdir(path) if n.lower().endswith((".png", ".ppm")))
        return np.stack([np.asarray(Image.open(os.path.join(path, n)).convert("RGB")) for n in names]), scenes.FPS
    probe = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
                            "stream=width,height,r_frame_rate", "-of", "json", path],
                           check=True, capture_output=True)
    stream = json.loads(probe.stdout)["streams"][0]
    width, height = stream["width"], stream["height"]
    over, under = stream["r_frame_rate"].split("/")
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                         check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3), float(over) / float(under)


def read_prompt(prompt):
    """The attributes that a prompt names, found by the words of captions.py."""
    text = " " + re.sub(r"[^a-z-]+", " ", prompt.lower()) + " "
    found = {}
    for name, table in (("motion", captions.MOTION_WORDS), ("scene", captions.SCENE_WORDS),
                        ("time", captions.TIME_WORDS), ("object", captions.OBJECT_WORDS),
                        ("colour", captions.COLOUR_WORDS)):
        words = sorted(((w, key) for key, ws in table.items() for w in set(ws) | {key}), key=lambda p: -len(p[0]))
        for word, key in words:
            if f" {word} " in text:
                found[name] = key
                text = text.replace(f" {word} ", " ", 1)
                break
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--native")
    parser.add_argument("--expect", default="")
    parser.add_argument("--checker", default=checker.DEFAULT)
    parser.add_argument("--summary", action="store_true", help="leave out the list of seconds")
    args = parser.parse_args()
    expected = read_prompt(args.prompt)
    expected.update(pair.split("=", 1) for pair in args.expect.split(",") if pair)
    judge = checker.Checker(args.checker)
    frames, fps = read_video(args.video)
    per_second = max(1, int(round(fps)))
    seconds = []
    for start in range(0, len(frames) - per_second // 2, per_second):
        seen = judge.look(frames[start:start + per_second:max(1, per_second // 4)])
        row = {"second": start // per_second}
        for name, _ in checker.HEADS:
            words = [s[name][0] for s in seen]
            row[name] = max(set(words), key=words.count)
        row["object_present"] = row["object"] == expected["object"] if "object" in expected else row["object"] != "none"
        for name in ("colour", "scene", "time"):
            if name in expected:
                row[name + "_right"] = row[name] == expected[name]
        row["motion_amount"] = round(checker.motion_amount(frames[start:start + per_second]), 4)
        seconds.append(row)
    motions = [judge.motion(frames[k:k + 33])[0] for k in range(0, len(frames) - 32, 32)]
    share = lambda key: round(float(np.mean([s[key] for s in seconds])), 4) if key in seconds[0] else None
    summary = {"frames": len(frames), "fps": fps, "expected": expected,
               "object_present": share("object_present"), "colour_right": share("colour_right"),
               "scene_right": share("scene_right"), "time_right": share("time_right"),
               "object_and_scene": round(float(np.mean([s["object_present"] and s.get("scene_right", True)
                                                        for s in seconds])), 4),
               "motions": motions, "motion_amount": round(checker.motion_amount(frames), 4)}
    if "motion" in expected and motions:
        summary["motion_right"] = round(float(np.mean([m == expected["motion"] for m in motions])), 4)
    if args.native:
        native, _ = read_video(args.native)
        summary["native_motion_amount"] = round(checker.motion_amount(native), 4)
        summary["motion_ratio"] = round(summary["motion_amount"] / max(1e-6, summary["native_motion_amount"]), 4)
    if not args.summary:
        summary["seconds"] = seconds
    json.dump(summary, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
