#!/usr/bin/env python3
"""Looks into the embedded GPU images: matrix instructions where they belong, no spills.

    tests/kernel/check_images.py --list hip/kernels/list.h --compiler /usr/bin/clang-22 [--table] IMAGE...

For AMD code objects llvm-objdump and llvm-readelf of the compiler's version are asked; for PTX the
text is read. Ends with 77 (skipped) when there is no image or no tool, and with 1 when a kernel is
missing, a product, convolution or attention kernel has no matrix instruction, or anything spills.
Prints one line per image: its size, the registers of its largest kernel, and how many kernels reach
memory by flat instructions, which are slower (some compilers' convolutions do). With --table also every
kernel's bytes of code and registers on every architecture, as Markdown; NVIDIA's where ptxas is found.
"""
import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Which instruction does the matrix products of an architecture; None where there is no unit.
UNITS = [
    (r"gfx90a|gfx942|gfx950", "v_mfma_f32_16x16x16"),
    (r"gfx11\d\d|gfx12\d\d", "v_wmma_f32_16x16x16"),
    (r"gfx", None),
    (r"sm_", "mma.sync.aligned.m16n8k16"),
]
PRODUCTS = re.compile(r"(gemm|conv|attention)_.*(bf16|f16)")
# Kernels that are to leave room for a second block beside them, and the registers that this allows.
TWICE = re.compile(r"(gemm_(half_|int8_|fp8_)?|conv_)(bf16|f16)$")
TWICE_REGISTERS_MAX = 128
ASSEMBLED = ("sm_80", "sm_90", "sm_100")

failures = []
table = {}  # {architecture: {kernel: (bytes of code, registers)}}


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


def sizes_of(readelf, path):
    """Bytes of code of every function of an ELF file, as its symbols say."""
    rows = re.findall(r"^ *\d+: [0-9a-f]+ +(\d+|0x[0-9a-f]+) FUNC +\S+ +\S+ +.*?(\w+)$",
                      run(readelf, "-sW", str(path)), flags=re.M)
    return {name: int(size, 0) for size, name in rows}


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
    sizes = sizes_of(readelf, path)
    table[path.stem] = {n: (sizes.get(n, 0), r["vgpr_count"]) for n, r in resources.items()}
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
        if ".maxntid 256" not in body:
            fail(path.stem, f"{name}: no .maxntid 256; registers are then for 1024 threads")
        if TWICE.match(name) and ".minnctapersm 2" not in body:
            fail(path.stem, f"{name}: no .minnctapersm 2")
        if PRODUCTS.search(name):
            wanted = [unit, "ldmatrix.sync"]
            if not re.search("f32|int8|fp8|gemm_wide", name):
                wanted.append("cp.async.cg.shared.global")
            for instruction in wanted:
                if instruction not in body:
                    fail(path.stem, f"{name}: no {instruction}")
    print(f"{path.stem}: {path.stat().st_size // 1024} KB of PTX, {text.count(unit)} matrix "
          "instructions")


def assemble(path, ptxas, readelf, arch):
    """What ptxas says of each kernel: {name: {"spills": bytes, "registers": count}}."""
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "code"
        done = subprocess.run([ptxas, f"-arch={arch}", "-v", str(path), "-o", str(code)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            fail(path.stem, f"ptxas for {arch}: {done.stderr.strip()[:300]}")
            return {}
        sizes = sizes_of(readelf, code)
    found = {}
    for block in done.stderr.split("Compiling entry function ")[1:]:
        found[re.match(r"'(\w+)'", block).group(1)] = {
            "spills": int(re.search(r"(\d+) bytes spill stores", block).group(1)),
            "registers": int(re.search(r"Used (\d+) registers", block).group(1))}
    table[arch] = {n: (sizes.get(n, 0), used["registers"]) for n, used in found.items()}
    return found


def check_assembly(path, ptxas, readelf):
    """NVIDIA's assembler, where it is installed, takes the PTX and spills nothing. An older one does
    not know the newest cards."""
    known = subprocess.run([ptxas, "--help"], capture_output=True, text=True, check=False).stdout
    for arch in (a for a in ASSEMBLED if a in known):
        found = assemble(path, ptxas, readelf, arch)
        for name, used in found.items():
            if used["spills"]:
                fail(path.stem, f"{name}: {used['spills']} bytes spilled on {arch}")
            if TWICE.match(name) and used["registers"] > TWICE_REGISTERS_MAX:
                fail(path.stem, f"{name}: {used['registers']} registers on {arch}; two blocks need "
                     f"at most {TWICE_REGISTERS_MAX}")
        registers = max((used["registers"] for used in found.values()), default=0)
        print(f"{path.stem}: assembled for {arch}, at most {registers} registers")


def print_table(names):
    """Bytes of code and registers, a row for each kernel."""
    archs = list(table)
    print("\n| kernel | " + " | ".join(archs) + " |\n|---" + "|---" * len(archs) + "|")
    for name in names:
        cells = (f"{size} / {count}" for size, count in (table[a].get(name, (0, 0)) for a in archs))
        print(f"| `{name}` | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--list", required=True, help="hip/kernels/list.h")
    parser.add_argument("--compiler", default="", help="the clang that made the images")
    parser.add_argument("--table", action="store_true", help="every kernel's code and registers")
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
                check_assembly(path, ptxas, find_tool("llvm-readelf", arguments.compiler))
            else:
                print(f"{path.stem}: not assembled: no ptxas")
        else:
            check_amd(path, names, unit, find_tool("llvm-objdump", arguments.compiler),
                      find_tool("llvm-readelf", arguments.compiler))
    if arguments.table:
        print_table(names)
    print(f"{len(arguments.images)} images, {len(names)} kernels, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
