#!/usr/bin/env python3
"""sora-worker render as a person meets it: files that come out, refusals, faults, Ctrl-C.

Usage: test_render.py SORA_WORKER SOURCE_DIR
Uses the small random-weight models of tests/goldens, so a render takes a second.
"""
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

WORKER, SOURCE = sys.argv[1], sys.argv[2]
MODEL = os.path.join(SOURCE, "tests/goldens/models/d_mini")
BASE = ["--model", MODEL, "--prompt", "a red balloon over the sea", "--size", "96x64",
        "--steps", "2", "--threads", "2"]


def render(arguments, **options):
    return subprocess.run([WORKER, "render"] + arguments, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, **options)


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def read_header(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        return json.loads(file.read(size)), 8 + size


def read_latents(path):
    """Frame-major: a list of bytes, one per latent, from [C,T,H,W] f32."""
    header, start = read_header(path)
    channels, count, height, width = header["latents"]["shape"]
    size = height * width * 4
    data = read_bytes(path)[start:]
    return [b"".join(data[(c * count + t) * size:][:size] for c in range(channels))
            for t in range(count)]


def unfilter(kind, row, above):
    """A row of a PNG of 8-bit RGB (PNG specification, 9.2)."""
    for i, value in enumerate(row):
        left = row[i - 3] if i >= 3 else 0
        corner = above[i - 3] if i >= 3 else 0
        if kind == 4:
            near = left + above[i] - corner
            guess = min((abs(near - left), 0, left), (abs(near - above[i]), 1, above[i]),
                        (abs(near - corner), 2, corner))[2]
        else:
            guess = (0, left, above[i], (left + above[i]) // 2)[kind]
        row[i] = (value + guess) & 255
    return row


def read_picture(path):
    data, at, packed = read_bytes(path), 8, b""
    width, height = struct.unpack(">II", data[16:24])
    while at < len(data):
        size = struct.unpack(">I", data[at:at + 4])[0]
        if data[at + 4:at + 8] == b"IDAT":
            packed += data[at + 8:at + 8 + size]
        at += 12 + size
    raw, stride = zlib.decompress(packed), 3 * width
    rows, above = [], bytes(stride)
    for y in range(height):
        line = raw[y * (stride + 1):(y + 1) * (stride + 1)]
        above = unfilter(line[0], bytearray(line[1:]), above)
        rows.append(above)
    return b"".join(bytes(row) for row in rows)


def mean_differences(folder):
    """Mean absolute change from each frame to the next, in grey levels."""
    pictures = [read_picture(os.path.join(folder, name)) for name in sorted(os.listdir(folder))]
    return [sum(abs(a - b) for a, b in zip(one, two)) / len(one)
            for one, two in zip(pictures, pictures[1:])]


class Folder(unittest.TestCase):
    """Every test has an empty folder and the names in it."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sora-render-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def names(self):
        return sorted(os.listdir(self.folder))

    def copy_model(self):
        """A copy that a test may damage, outside the folder that must stay empty."""
        place = tempfile.mkdtemp(prefix="sora-model-")
        self.addCleanup(shutil.rmtree, place)
        model = os.path.join(place, "model")
        shutil.copytree(MODEL, model)
        return model

    def refused(self, arguments, part, status=2, **options):
        """One line on stderr that holds `part`, the exit status, nothing left behind."""
        done = render(arguments, **options)
        lines = done.stderr.decode().strip().splitlines()
        self.assertEqual(done.returncode, status, lines)
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(part, lines[0])
        self.assertEqual(self.names(), [])


class Outputs(Folder):
    def test_every_output_is_written(self):
        done = render(BASE + ["--seconds", "2", "-o", self.path("a.mp4"), "--json", "--quiet",
                              "--contact", self.path("c.png"), "--report", self.path("r.json"),
                              "--dump-latents", self.path("l.safetensors"),
                              "--dump-frames", self.path("frames")])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, b"")
        result = json.loads(done.stdout)
        self.assertEqual(result["status"], "done")
        self.assertEqual((result["width"], result["height"]), (96, 64))
        self.assertEqual(result["frames"] % 4, 1)
        self.assertEqual(self.names(), ["a.mp4", "c.png", "frames", "l.safetensors", "r.json"])
        self.assertEqual(len(os.listdir(self.path("frames"))), result["frames"])
        header, _ = read_header(self.path("l.safetensors"))
        self.assertEqual(header["latents"]["shape"], [16, result["latents"], 4, 6])
        data = read_bytes(self.path("a.mp4"))
        self.assertEqual(data[4:8], b"ftyp")
        self.assertLess(data.index(b"moov"), data.index(b"mdat"), "index not at the front")
        self.assertIn(b"sora_seed", data)
        with open(self.path("r.json")) as file:
            self.assertIn("seam", json.dumps(json.load(file)))

    def test_same_command_same_bytes_whatever_the_threads(self):
        files = []
        for threads in ("1", "2"):
            video, latents = self.path(threads + ".mp4"), self.path(threads + ".safetensors")
            done = render(BASE + ["--frames", "61", "-o", video, "--dump-latents", latents,
                                  "--quiet", "--threads", threads])
            self.assertEqual(done.returncode, 0, done.stderr)
            files.append([read_bytes(video), read_bytes(latents)])
        self.assertEqual(files[0], files[1])

    def test_noise_of_a_file_is_the_noise(self):
        """The final latents of one run as the noise of the next change the result."""
        first, second = self.path("1.safetensors"), self.path("2.safetensors")
        common = BASE + ["--frames", "9", "--quiet", "-o", self.path("a.mp4"), "--dump-latents"]
        self.assertEqual(render(common + [first]).returncode, 0)
        self.assertEqual(render(common + [second, "--noise", first]).returncode, 0)
        self.assertNotEqual(read_bytes(first), read_bytes(second))
        done = render(common + [second, "--noise", first, "--frames", "13"])
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"this job needs [16, 4, 4, 6]", done.stderr)

    def test_rounding_is_told(self):
        done = render(BASE + ["--frames", "7", "--size", "100x70", "-o", self.path("a.mp4")])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"note: 7 frames become 9", done.stderr)
        self.assertIn(b"note: 100x70 becomes 96x64", done.stderr)

    def test_frame_rates_of_film_and_television(self):
        for rate in ("23.976", "29.97", "12.5", "24"):
            done = render(BASE + ["--frames", "5", "--fps", rate, "--quiet", "-o", self.path("a.mp4"),
                                  "--contact", self.path("a.png")])
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_job_file(self):
        with open(self.path("job.yaml"), "w") as file:
            file.write("model: %s\nprompt: a boat\nframes: 5\nsize: 96x64\nsteps: 1\n" % MODEL)
        done = render(["--job", self.path("job.yaml"), "-o", self.path("a.mp4"), "--json", "--quiet"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["steps"], 1)

    def write_job(self, shots, more=""):
        with open(self.path("job.yaml"), "w") as file:
            file.write("model: %s\nsize: 96x64\nsteps: 4\nseed: 3\n%sshots:\n" %
                       (os.path.join(SOURCE, "models/mini"), more))
            file.writelines("  - {%s}\n" % shot for shot in shots)
        return ["--job", self.path("job.yaml"), "--quiet", "--json", "-o", self.path("a.mp4")]

    def test_shots_cut_where_they_say(self):
        """A shot, one that continues it, a hard cut: exact counts, a jump at the cut only."""
        shots = ["prompt: a red balloon over the sea at noon, frames: 22",
                 "prompt: a red balloon drifting over the sea at noon, frames: 20, cut: false",
                 "prompt: a white moon over snow hills at night, frames: 14"]
        job = self.write_job(shots)
        done = render(job + ["--dump-frames", self.path("f"), "--dump-latents", self.path("l"),
                             "--contact", self.path("c.png"), "--report", self.path("r.json")])
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual((result["frames"], result["takes"], result["latents"]), (56, 2, 12 + 5))
        differences = mean_differences(self.path("f"))
        self.assertEqual(len(differences), 55)
        others = differences[:41] + differences[42:]
        self.assertGreater(differences[41], 3 * max(others), differences)
        self.assertEqual(len(read_latents(self.path("l"))), 17)

    def test_takes_do_not_depend_on_each_other(self):
        """The first take is that of a job without the second; the second has noise of its own."""
        first = "prompt: a boat on the sea, frames: 9"
        done = render(self.write_job([first, first]) + ["--dump-latents", self.path("both")])
        self.assertEqual(done.returncode, 0, done.stderr)
        done = render(self.write_job([first]) + ["--dump-latents", self.path("one")])
        self.assertEqual(done.returncode, 0, done.stderr)
        both, one = read_latents(self.path("both")), read_latents(self.path("one"))
        self.assertEqual(both[:3], one)
        self.assertNotEqual(both[3:], one)
        self.assertEqual(len(both), 6)

    def test_continued_text_counts_from_its_window_on(self):
        """Another text in the last windows changes the timeline, the same text changes nothing."""
        text = "prompt: a boat on the sea, frames: 41"
        latents = []
        for second in (text, "prompt: a bird over the desert, frames: 40"):
            shots = [text, second.replace("41", "40") + ", cut: false"]
            done = render(self.write_job(shots) + ["--dump-latents", self.path("l")])
            self.assertEqual(done.returncode, 0, done.stderr)
            latents.append(read_latents(self.path("l")))
        done = render(self.write_job([text.replace("41", "81")]) +
                      ["--dump-latents", self.path("l")])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(latents[0], read_latents(self.path("l")))
        self.assertEqual(len(latents[1]), 21)
        self.assertNotEqual(latents[0][20], latents[1][20])

    def test_bad_shots_are_named(self):
        job = self.write_job(["prompt: a, frames: 5", "promt: b, frames: 5"])
        done = render(job)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"job.yaml: shot 2: unknown key 'promt'; did you mean prompt?", done.stderr)
        done = render(self.write_job(["prompt: a, frames: 5"]) + ["--seconds", "2"])
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"seconds is given for the job", done.stderr)

    def test_codecs_and_containers(self):
        """The file is what its name or the options say."""
        for name, more, mark in (("a.mkv", [], b"matroska"), ("b.mov", [], b"ftypqt"),
                                 ("c.mkv", ["--codec", "ffv1"], b"FFV1"),
                                 ("d.mov", ["--codec", "prores"], b"apch"),
                                 ("e.mp4", ["--codec", "h265", "--quality", "30"], b"hvc1"),
                                 ("f.mp4", ["--bitrate", "200000"], b"avc1"),
                                 ("g", ["--container", "mkv"], b"matroska")):
            done = render(BASE + ["--frames", "5", "--quiet", "-o", self.path(name)] + more)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(mark in read_bytes(self.path(name)), name)

    def test_encodings_that_do_not_exist(self):
        for more, part in ((["--codec", "prores"], "choose mov, mkv"), (["--container", "avi"], "mp4|mov"),
                           (["--container", "mkv"], "name it *.mkv"),
                           (["--pixel-format", "rgb565"], "rgb565"),
                           (["--quality", "20", "--bitrate", "100000"], "bitrate")):
            self.refused(BASE + ["--frames", "5", "-o", self.path("a.mp4")] + more, part)

    def test_help_on_every_command(self):
        for arguments in (["help"], ["--help"], ["render", "--help"], ["render", "-h"], ["version"]):
            done = subprocess.run([WORKER] + arguments, stdout=subprocess.PIPE)
            self.assertEqual(done.returncode, 0)
            self.assertTrue(done.stdout)
        self.assertEqual(subprocess.run([WORKER, "rendr"], stderr=subprocess.PIPE).returncode, 2)


class BadInput(Folder):
    def test_options(self):
        output = ["-o", self.path("a.mp4")]
        good = BASE + output
        cases = [
            (BASE[2:] + output + ["--model", "/nonexistent", "--frames", "5"], "/nonexistent"),
            (good, "give --seconds or --frames"),
            (good + ["--frames", "5", "--seconds", "1"], "give one of them"),
            (good + ["--seconds", "1e9"], "0.01 to 7200"),
            (good + ["--frames", "5", "--steps", "0"], "1 to 1000"),
            (good + ["--frames", "5", "--steps", "100000000000000000000"], "1 to 1000"),
            (good + ["--frames", "5", "--size", "0x0"], "16 to 8192"),
            (good + ["--frames", "5", "--size", "99999x16"], "16 to 8192"),
            (good + ["--frames", "5", "--guidance", "nan"], "not a number"),
            (good + ["--frames", "5", "--sead", "1"], "did you mean --seed"),
            (good + ["--frames", "5", "--prompt", "x" * 110000], "102400"),
            (good + ["--frames", "5", "--noise", "/nonexistent"], "/nonexistent"),
            (good + ["--frames", "5", "--job", "/nonexistent.yaml"], "/nonexistent.yaml"),
            (BASE + ["--frames", "5", "-o", self.path("no/such/a.mp4")], "no/such"),
            (BASE + ["--frames", "5", "-o", self.folder], self.folder),
            (good + ["--frames", "5", "--contact", "/nonexistent/c.png"], "/nonexistent"),
        ]
        for arguments, part in cases:
            with self.subTest(part=part):
                self.refused(arguments, part)

    def test_prompt_that_is_not_utf8(self):
        self.refused([*BASE[:2], "--prompt", b"\xff\xfe", "--frames", "5", "-o",
                      self.path("a.mp4")], "UTF-8")

    def test_absurd_size_is_refused_before_memory_is_taken(self):
        self.refused(BASE + ["--seconds", "7200", "--size", "8192x8192", "-o", self.path("a.mp4")],
                     "memory")

    def damaged(self, part, change, status=2):
        model = self.copy_model()
        change(model)
        self.refused(["--model", model, *BASE[2:], "--frames", "5", "--quiet", "-o",
                      self.path("a.mp4")], part, status)

    def test_damaged_models(self):
        weights = "transformer/diffusion_pytorch_model.safetensors"

        def truncate(model):
            os.truncate(os.path.join(model, weights), os.path.getsize(os.path.join(model, weights)) - 5)

        def lie(model):
            with open(os.path.join(model, weights), "r+b") as file:
                file.write(struct.pack("<Q", 1 << 62))

        def remove(model):
            os.remove(os.path.join(model, "vae/config.json"))

        def break_json(model):
            with open(os.path.join(model, "transformer/config.json"), "w") as file:
                file.write('{"_class_name": ')

        def other_class(model):
            path = os.path.join(model, "transformer/config.json")
            with open(path) as file:
                config = json.load(file)
            config["_class_name"] = "FluxTransformer2DModel"
            with open(path, "w") as file:
                json.dump(config, file)

        def no_weights(model):
            os.remove(os.path.join(model, "text_encoder/model.safetensors"))

        self.damaged(weights, truncate)
        self.damaged(weights, lie)
        self.damaged("vae/config.json", remove)
        self.damaged("transformer/config.json", break_json)
        self.damaged("FluxTransformer2DModel; this build runs WanTransformer3DModel", other_class)
        self.damaged("text_encoder", no_weights)

    def test_nan_weights_are_named(self):
        def poison(model):
            path = os.path.join(model, "transformer/diffusion_pytorch_model.safetensors")
            header, start = read_header(path)
            item = header["blocks.0.ffn.net.0.proj.weight"]
            with open(path, "r+b") as file:
                file.seek(start + item["data_offsets"][0])
                file.write(b"\xff\xff\xff\xff" * 4)

        self.damaged("blocks.0.ffn.net.0.proj.weight", poison, status=1)


class Faults(Folder):
    def test_file_size_limit(self):
        """The disk is full: one line, exit 1, no partial file."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        done = render(BASE + ["--frames", "61", "--quiet", "-o", self.path("a.mp4")],
                      preexec_fn=limit)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(len(done.stderr.decode().strip().splitlines()), 1)
        self.assertEqual(self.names(), [])

    def test_full_disk(self):
        mount = tempfile.mkdtemp(prefix="sora-disk-")
        self.addCleanup(os.rmdir, mount)
        command = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", mount]
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("mounting a small disk is not permitted here")
        self.addCleanup(subprocess.run, ["umount", mount], check=True)
        done = render(BASE + ["--frames", "61", "--quiet", "-o", os.path.join(mount, "a.mp4")])
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"space", done.stderr)
        self.assertEqual(os.listdir(mount), [])

    def test_interrupt_leaves_nothing(self):
        process = subprocess.Popen(
            [WORKER, "render"] + BASE + ["--seconds", "600", "--steps", "1000", "-o",
             self.path("a.mp4"), "--dump-latents", self.path("l.safetensors")],
            stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with open("/proc/%d/status" % process.pid) as file:
                caught = [line for line in file if line.startswith("SigCgt")][0]
            if int(caught.split()[1], 16) & (1 << (signal.SIGINT - 1)):
                break
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, errors)
        self.assertIn(b"interrupted", errors)
        self.assertEqual(self.names(), [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
