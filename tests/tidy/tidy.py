#!/usr/bin/env python3
"""Checks the rules of the house that a compiler does not: layers, sizes, format.

    tests/tidy/tidy.py [--root DIR] [CHECK...]

Prints `file:line: check: what is wrong and the rule` per finding and ends with 1 when there is one.
Python's standard library only. A tool that is missing skips its check with a printed reason.
"""
import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# docs/ARCHITECTURE.md, "Folders": which layers each layer may include besides itself.
LAYERS = {
    "base": set(),
    "proto": {"base"},
    "hip": {"base"},
    "media": {"base"},
    "model": {"base", "hip"},
    "scheduler": {"base", "proto", "media"},
    "node": {"base", "proto", "hip", "media", "model"},
    "ctl": {"base", "proto"},
    "daemon": {"base", "proto", "hip", "media", "model", "scheduler", "node"},
}

# Third-party headers and the one folder that may include them (docs/DEPENDENCIES.md).
LIBRARIES = [
    ("cyaml/", ("base",)),
    ("dnnl", ("tools/bench",)),  # timed beside the project's own kernels
    ("oneapi/dnnl/", ("tools/bench",)),
    ("jansson.h", ("model", "ctl")),
    ("seccomp.h", ("node",)),
    ("systemd/", ("daemon",)),
    ("sentencepiece", ("model",)),
    ("utf8proc.h", ("model",)),
    ("libavcodec/", ("media",)),
    ("libavformat/", ("media",)),
    ("libavutil/", ("media",)),
    ("libavfilter/", ("media",)),
    ("libswscale/", ("media",)),
    ("zmq.h", ("proto",)),
    ("protobuf-c/", ("proto",)),
    ("sodium.h", ("proto",)),
    ("sqlite3.h", ("scheduler",)),
    ("cmocka.h", ("tests",)),
]

# C11, POSIX 2008, Linux and the compilers' own headers.
SYSTEM_HEADERS = set("""
    assert complex ctype dirent dlfcn elf endian errno fcntl fenv float fnmatch ftw getopt glob ifaddrs
    immintrin inttypes iso646 langinfo libgen limits link locale malloc math netdb poll pthread pwd
    sched search semaphore setjmp signal spawn stdalign stdarg stdatomic stdbool stddef stdint
    stdio stdlib stdnoreturn string strings syslog termios tgmath threads time uchar ucontext
    unistd utime wchar wctype x86intrin cpuid
    """.split())
SYSTEM_FOLDERS = ("sys/", "linux/", "arpa/", "net/", "netinet/")

# Cores without I/O (docs/ARCHITECTURE.md): pure functions may use these headers and base/.
CORES = ("scheduler/core/", "node/core/")
CORE_HEADERS = set("limits stdbool stddef stdint inttypes string stdlib".split())

# Headers of code that is compiled once per instruction set: (start of the name, compiler options).
SIMD_COMMON = ["-mavx2", "-mfma", "-mf16c"]
HEADER_OPTIONS = [
    ("hip/cpu/fast/simd_avx2", ["-DSORA_SIMD_AVX2"] + SIMD_COMMON),
    ("hip/cpu/fast/", ["-DSORA_SIMD_AVX512", "-mavx512f", "-mavx512bw", "-mavx512dq",
                       "-mavx512vl"] + SIMD_COMMON),
]

# Parts of hip/kernels/gpu.h, which includes the one that its compiler understands.
HEADER_PARTS = ("hip/kernels/gpu_amd.h", "hip/kernels/gpu_emulator.h", "hip/kernels/gpu_nvidia.h",
                "hip/kernels/gpu_pack.h")

FILE_LINES_MAX = 1000
HEADER_LINES_MAX = 250
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
FORMAT_VERSION = 14  # clang-format's output differs between versions; Debian 12's decides

C_SUFFIXES = {".c", ".h", ".cpp", ".hip"}
WIDTH_SUFFIXES = C_SUFFIXES | {".sh", ".cmake"}
TEXT_SUFFIXES = WIDTH_SUFFIXES | {".py", ".md", ".yaml", ".yml"}
# Bulk data and generated records, not written by hand.
DATA_FOLDERS = ("tests/goldens/", "models/", "build/", "demo/")


class Tree:
    """The files to look at, relative to `root`, and their lines."""

    def __init__(self, root):
        self.root = Path(root)
        self.names = sorted(n for n in self._list() if not n.startswith(DATA_FOLDERS))
        self._lines = {}

    def _list(self):
        command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
        if (self.root / ".git").exists() and shutil.which("git"):
            done = subprocess.run(command, cwd=self.root, capture_output=True, check=False)
            if done.returncode == 0:
                names = [n for n in done.stdout.decode().split("\0") if n]
                return [n for n in names if (self.root / n).is_file()]
        found = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = [f for f in folders if f not in (".git", "__pycache__")]
            found += [str((Path(folder) / f).relative_to(self.root)) for f in files]
        return found

    def with_suffix(self, suffixes):
        return [n for n in self.names if Path(n).suffix in suffixes or
                (".cmake" in suffixes and Path(n).name == "CMakeLists.txt")]

    def lines(self, name):
        if name not in self._lines:
            text = (self.root / name).read_bytes().decode("utf-8", "replace")
            self._lines[name] = text.split("\n")[: -1 if text.endswith("\n") else None]
        return self._lines[name]

    def shell_files(self):
        found = []
        for name in self.names:
            with (self.root / name).open("rb") as file:
                first = file.readline(64)
            match = re.match(rb"#!.*\b(bash|sh)\b", first)
            if match or name.endswith(".sh"):
                found.append((name, match.group(1).decode() if match else "sh"))
        return found


def check_layers(tree):
    """Project includes go down the table; cores without I/O stay pure."""
    for name in tree.with_suffix(C_SUFFIXES):
        layer = name.split("/")[0]
        for number, line in enumerate(tree.lines(name), 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not match:
                continue
            kind, path = match.groups()
            target = path.split("/")[0]
            if name.startswith(CORES):
                pure = path[:-2] in CORE_HEADERS if kind == "<" else \
                    target == "base" or path.startswith(CORES)
                if not pure:
                    yield name, number, f"{path} in a core without I/O"
            if kind == '"' and "/" not in path:
                yield name, number, f'"{path}": name the layer, as in "base/{path}"'
            elif kind == '"' and layer in LAYERS:
                if target != layer and target not in LAYERS[layer]:
                    allowed = ", ".join(sorted(LAYERS[layer])) or "no other layer"
                    yield name, number, f"{layer}/ includes {path}; it may include {allowed}"


def check_libraries(tree):
    """A third-party library appears in one folder only; an unknown one is a decision to write."""
    for name in tree.with_suffix(C_SUFFIXES):
        for number, line in enumerate(tree.lines(name), 1):
            match = re.match(r"\s*#\s*include\s*<([^>]+)>", line)
            if not match:
                continue
            path = match.group(1)
            homes = next((h for p, h in LIBRARIES if path.startswith(p)), None)
            if homes:
                if not name.startswith(tuple(h + "/" for h in homes)):
                    yield name, number, f"<{path}> outside {' and '.join(homes)}/"
            elif not (path.startswith(SYSTEM_FOLDERS) or
                      (path.endswith(".h") and path[:-2] in SYSTEM_HEADERS) or
                      (name.endswith((".cpp", ".hip")) and "." not in path)):
                yield name, number, (f"<{path}> is no known library; add it to tests/tidy/tidy.py "
                                     "and docs/DEPENDENCIES.md")


def generate_headers(tree, folder):
    """Writes the headers that the build makes from .proto files below `folder`."""
    protos = [n for n in tree.names if n.endswith(".proto")]
    if protos and shutil.which("protoc-c"):
        subprocess.run(["protoc-c", f"--c_out={folder}", "--proto_path=."] + protos, cwd=tree.root,
                       check=True)


def check_headers(tree):
    """Every header compiles alone, with every compiler present."""
    compilers = [c for c in ("gcc", "clang") if shutil.which(c)]
    if not compilers:
        skip("headers", "neither gcc nor clang found")
    jobs = [(n, c) for n in tree.with_suffix({".h"}) if n not in HEADER_PARTS for c in compilers]
    if platform.machine() not in ("x86_64", "AMD64"):
        jobs = [(n, c) for n, c in jobs if not n.startswith(tuple(p for p, _ in HEADER_OPTIONS))]

    generated = tempfile.TemporaryDirectory()

    def compile_one(job):
        name, compiler = job
        options = next((o for p, o in HEADER_OPTIONS if name.startswith(p)), [])
        command = [compiler, "-std=c11", "-D_GNU_SOURCE", "-DSORA_VERSION=\"0\"", "-I.", "-isystem",
                   generated.name, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-"]
        command += options
        return job, subprocess.run(command, cwd=tree.root, input=f'#include "{name}"\n', text=True,
                                   capture_output=True, check=False)

    with generated, ThreadPoolExecutor(max_workers=2) as pool:
        generate_headers(tree, generated.name)
        for (name, compiler), done in pool.map(compile_one, jobs):
            if done.returncode == 0:
                continue
            match = re.search(rf"{re.escape(name)}:(\d+):\d+: .*", done.stderr)
            text = match.group(0).split(": ", 1)[1] if match else done.stderr.strip()[:200]
            yield name, int(match.group(1)) if match else 1, f"{compiler}, alone: {text}"


def check_file_size(tree):
    """Files up to 1,000 lines, headers up to 250."""
    for name in tree.with_suffix(C_SUFFIXES | {".py", ".sh"}):
        limit = HEADER_LINES_MAX if name.endswith(".h") else FILE_LINES_MAX
        count = len(tree.lines(name))
        if count > limit:
            yield name, limit + 1, f"{count} lines; the limit is {limit}"


def functions(lines):
    """(name, first line, line count) of every function: the format puts its braces in column 0."""
    start = None
    for number, line in enumerate(lines):
        if line == "{" and number > 0 and start is None:
            start = number
            while start > 0 and lines[start - 1] and not re.match(r"[#}/]| \*", lines[start - 1]):
                start -= 1
        elif line.startswith("}") and start is not None:
            signature = " ".join(lines[start:number + 1]).split("(")[0]
            yield signature.split()[-1].lstrip("*"), start, number + 1 - start
            start = None


def check_function_size(tree):
    """Functions up to 70 lines; flat tables may be longer under `tidy: long table, <reason>`."""
    for name in tree.with_suffix(C_SUFFIXES):
        lines = tree.lines(name)
        for function, start, count in functions(lines):
            if count <= FUNCTION_LINES_MAX:
                continue
            above = start
            while above > 0 and re.match(r"/\*| \*|//", lines[above - 1]):
                above -= 1
            if "tidy: long table" not in "\n".join(lines[above:start]):
                yield name, start + 1, (f"{function} has {count} lines; the limit is "
                                        f"{FUNCTION_LINES_MAX}")


def check_columns(tree):
    """100 columns in C, CMake and shell."""
    shell = [n for n, _ in tree.shell_files()]
    for name in sorted(set(tree.with_suffix(WIDTH_SUFFIXES) + shell)):
        for number, line in enumerate(tree.lines(name), 1):
            if len(line) > COLUMNS_MAX:
                yield name, number, f"{len(line)} columns; the limit is {COLUMNS_MAX}"


def check_spaces(tree):
    """No trailing spaces, no tabs, one newline at the end."""
    shell = [n for n, _ in tree.shell_files()]
    for name in sorted(set(tree.with_suffix(TEXT_SUFFIXES) + shell)):
        lines = tree.lines(name)
        for number, line in enumerate(lines, 1):
            if line != line.rstrip():
                yield name, number, "trailing space"
            if "\t" in line:
                yield name, number, "tab; indent with spaces"
        raw = (tree.root / name).read_bytes()
        if raw and (not raw.endswith(b"\n") or raw.endswith(b"\n\n")):
            yield name, len(lines), "the file must end with one newline"


def check_format(tree):
    """clang-format, by the file .clang-format."""
    tool = shutil.which(f"clang-format-{FORMAT_VERSION}") or shutil.which("clang-format")
    if not tool:
        skip("format", "clang-format not found")
        return
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    version = int(re.search(r"version (\d+)", said).group(1))
    if version != FORMAT_VERSION:
        skip("format", f"clang-format {version} found; version {FORMAT_VERSION} decides")
        return
    names = tree.with_suffix(C_SUFFIXES)
    for first in range(0, len(names), 50):
        command = [tool, "--dry-run", "-Werror"] + names[first:first + 50]
        done = subprocess.run(command, cwd=tree.root, capture_output=True, text=True, check=False)
        seen = set()
        for match in re.finditer(r"^(\S+):(\d+):\d+: error: .*-Wclang-format", done.stderr, re.M):
            if match.group(1) not in seen:
                seen.add(match.group(1))
                yield match.group(1), int(match.group(2)), "differs from clang-format -i"


def check_test_names(tree):
    """tests/unit/test_<module>[_<aspect>].c belongs to a source file or folder of that name."""
    modules = set()
    for name in tree.with_suffix(C_SUFFIXES):
        if name.split("/")[0] in LAYERS:
            modules.add(Path(name).stem)
            modules.update(Path(name).parent.parts)
    for name in tree.with_suffix({".c"}):
        match = re.fullmatch(r"tests/unit/(.*)\.c", name)
        if not match:
            continue
        test = match.group(1)
        known = any(test == f"test_{m}" or test.startswith(f"test_{m}_") for m in modules)
        if not known:
            yield name, 1, "no module of that name in any layer"


def check_scripts(tree):
    """Shell and Python files parse."""
    for name, shell in tree.shell_files():
        if not shutil.which(shell):
            skip("scripts", f"{shell} not found")
            continue
        done = subprocess.run([shell, "-n", name], cwd=tree.root, capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            match = re.search(r"(?:line )?(\d+): (.*)", done.stderr)
            yield name, int(match.group(1)) if match else 1, done.stderr.strip().split("\n")[0]
    for name in tree.with_suffix({".py"}):
        try:
            compile("\n".join(tree.lines(name)) + "\n", name, "exec")
        except SyntaxError as error:
            yield name, error.lineno or 1, error.msg


CHECKS = {
    "layers": check_layers,
    "libraries": check_libraries,
    "headers": check_headers,
    "file-size": check_file_size,
    "function-size": check_function_size,
    "columns": check_columns,
    "spaces": check_spaces,
    "format": check_format,
    "test-names": check_test_names,
    "scripts": check_scripts,
}


def skip(check, reason):
    print(f"tidy: {check} skipped: {reason}", file=sys.stderr)


def findings(root, checks=None):
    """All findings as (file, line, check, text), in order."""
    tree = Tree(root)
    found = []
    for check in checks or CHECKS:
        found += [(name, line, check, text) for name, line, text in CHECKS[check](tree)]
    return sorted(found), len(tree.names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--root", default=Path(__file__).resolve().parents[2])
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(CHECKS))
    arguments = parser.parse_args()
    unknown = [c for c in arguments.checks if c not in CHECKS]
    if unknown:
        parser.error(f"no check {unknown[0]}; there are: {', '.join(CHECKS)}")
    found, count = findings(arguments.root, arguments.checks)
    for name, line, check, text in found:
        print(f"{name}:{line}: {check}: {text}")
    print(f"tidy: {count} files, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
