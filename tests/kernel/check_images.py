#!/usr/bin/env python3
"""Looks into the embedded GPU images: matrix instructions where they belong, no spills.

    tests/kernel/check_images.py --list hip/kernels/list.h --compiler /usr/bin/clang-22 IMAGE...

For AMD code objects llvm-objdump and llvm-readelf of the compiler's version are asked; for PTX the
text is read. Ends with 77 (skipped) when there is no image or no tool, and with 1 when a kernel is
missing, a product, convolution or attention kernel has no matrix instruction, or anything spills.
Prints one line per image: its size, the registers of its largest kernel, and how many kernels reach
memory by flat instructions, which are slower (some compilers' convolutions do).
"""
import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Which instruction does the matrix products of an architecture; None where there is no unit.
UNITS = [
    (r"gfx90a|gfx942|gfx950", "v_mfma_f32_16x16x16"),
    (r"gfx11\d\d|gfx12\d\d", "v_wmma_f32_16x16x16"),
    (r"gfx", None),
    (r"sm_", "mma.sync.aligned.m16n8k16"),
]
PRODUCTS = re.compile(r"(gemm|conv|attention)_.*(bf16|f16)")

failures = []


def fail(image, text):
    failures.append(text)
    print(f"{image}: {text}")


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def run(tool, *arguments):
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=True).stdout


def find_tool(name, compiler):
    """The tool beside the compiler, of the same version."""
    version = re.search(r"-\d+$", Path(compiler).name)
    tool = shutil.which(name + (version.group(0) if version else ""))
    if not tool:
        skip(f"{name} of {compiler} not found")
    return tool


def notes(readelf, path):
    """Per kernel what the code object says: {name: {field: number}}."""
    found = {}
    for block in re.split(r"^  - \.", run(readelf, "--notes", str(path)), flags=re.M)[1:]:
        fields = dict(re.findall(r"\.?(\w+):\s+(\S+)", block))
        if "symbol" in fields:
            name = fields["symbol"].removesuffix(".kd")
            found[name] = {k: int(v) for k, v in fields.items() if v.isdigit()}
    return found


def code_of(objdump, path):
    """Per function its disassembly."""
    found, name = {}, None
    for line in run(objdump, "-d", str(path)).split("\n"):
        match = re.match(r"[0-9a-f]+ <(\w+)>:", line)
        if match:
            name = match.group(1)
            found[name] = []
        elif name and line.strip():
            found[name].append(line.split()[0])
    return found


def check_amd(path, names, unit, objdump, readelf):
    resources, code = notes(readelf, path), code_of(objdump, path)
    for name in names:
        if name not in resources or name not in code:
            fail(path.stem, f"kernel {name} is missing")
            continue
        for field in ("vgpr_spill_count", "sgpr_spill_count", "private_segment_fixed_size"):
            if resources[name].get(field, -1) != 0:
                fail(path.stem, f"{name}: {field} is {resources[name].get(field)}; it must be 0")
        count = sum(i.startswith(unit) for i in code[name]) if unit else 0
        if unit and PRODUCTS.search(name) and count == 0:
            fail(path.stem, f"{name}: no {unit}")
    largest = max(resources.values(), key=lambda r: r["vgpr_count"])
    flat = sum(any(i.startswith("flat_") for i in c) for c in code.values())
    matrix = sum(i.startswith(unit) for c in code.values() for i in c) if unit else 0
    print(f"{path.stem}: {path.stat().st_size // 1024} KB, at most {largest['vgpr_count']} vector "
          f"registers, {matrix} matrix instructions, {flat} kernels with flat instructions")


def check_ptx(path, names, unit):
    text = path.read_text()
    bodies = dict(re.findall(r"\.entry (\w+)\((.*?)^}", text, flags=re.M | re.S))
    if not re.search(r"^\.version 7\.0$", text, re.M):
        fail(path.stem, "the PTX version is not 7.0, which drivers since CUDA 11.0 take")
    for name in names:
        body = bodies.get(name)
        if body is None:
            fail(path.stem, f"kernel {name} is missing")
            continue
        if re.search(r"\.local\b", body):
            fail(path.stem, f"{name}: local memory")
        if PRODUCTS.search(name):
            wanted = [unit, "ldmatrix.sync"]
            if "f32" not in name and "int8" not in name and not name.startswith("gemm_wide"):
                wanted.append("cp.async.cg.shared.global")
            for instruction in wanted:
                if instruction not in body:
                    fail(path.stem, f"{name}: no {instruction}")
    print(f"{path.stem}: {path.stat().st_size // 1024} KB of PTX, {text.count(unit)} matrix "
          "instructions")


def check_assembly(path, ptxas):
    """NVIDIA's assembler, where it is installed, takes the PTX and spills nothing."""
    for arch in ("sm_80", "sm_90"):
        done = subprocess.run([ptxas, f"-arch={arch}", "-v", str(path), "-o", "/dev/null"],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            fail(path.stem, f"ptxas for {arch}: {done.stderr.strip()[:300]}")
            continue
        for name, used in re.findall(r"entry function '(\w+)'.*?\n.*?\n.*?(\d+ bytes spill stores)",
                                     done.stderr):
            if not used.startswith("0 "):
                fail(path.stem, f"{name}: {used} on {arch}")
        registers = max(map(int, re.findall(r"Used (\d+) registers", done.stderr)))
        print(f"{path.stem}: assembled for {arch}, at most {registers} registers")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--list", required=True, help="hip/kernels/list.h")
    parser.add_argument("--compiler", default="", help="the clang that made the images")
    parser.add_argument("images", nargs="*", type=Path)
    arguments = parser.parse_args()
    if not arguments.images:
        skip("this build has no GPU images (its configuration says why)")
    names = re.findall(r"^    X\((\w+)\)", Path(arguments.list).read_text(), re.M)
    assert names, "no kernels in the list"
    for path in arguments.images:
        unit = next(u for pattern, u in UNITS if re.match(pattern, path.stem))
        if path.stem.startswith("sm_"):
            check_ptx(path, names, unit)
            ptxas = shutil.which("ptxas") or shutil.which("/usr/local/cuda/bin/ptxas")
            if ptxas:
                check_assembly(path, ptxas)
            else:
                print(f"{path.stem}: not assembled: no ptxas")
        else:
            check_amd(path, names, unit, find_tool("llvm-objdump", arguments.compiler),
                      find_tool("llvm-readelf", arguments.compiler))
    print(f"{len(arguments.images)} images, {len(names)} kernels, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
