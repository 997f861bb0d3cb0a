#!/usr/bin/env python3
"""Proves that every check of tidy.py can fail, at the right line, and that clean files pass."""
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tidy  # noqa: E402 (found through the path above)

ROOT = Path(__file__).resolve().parents[2]
GUARD = "#ifndef X_H\n#define X_H\n{}\n#endif\n"


def long_function(lines, comment=""):
    body = "".join(f"    use({i});\n" for i in range(lines - 3))
    return f"void use(int x);\n\n{comment}void many(void)\n{{\n{body}}}\n"


class TidyTest(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="sora-tidy-"))
        shutil.copy(ROOT / ".clang-format", self.root)

    def tearDown(self):
        shutil.rmtree(self.root)

    def find(self, check, **files):
        """Findings of one check on a tree of the given files ('__' for '/', last '_' for '.')."""
        for name, text in files.items():
            stem, suffix = name.replace("__", "/").rsplit("_", 1)
            path = self.root / (stem if suffix == "bare" else f"{stem}.{suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        found, _ = tidy.findings(self.root, [check])
        return [(name, line) for name, line, _, _ in found]

    def test_layers(self):
        clean = '#include "base/error.h"\n#include "hip/device.h"\n'
        self.assertEqual(self.find("layers", model__a_c=clean), [])
        upward = '#include "base/error.h"\n#include "model/vae.h"\n'
        self.assertEqual(self.find("layers", hip__b_c=upward), [("hip/b.c", 2)])

    def test_layers_wants_the_folder(self):
        self.assertEqual(self.find("layers", base__a_c='#include "log.h"\n'), [("base/a.c", 1)])

    def test_layers_keeps_cores_pure(self):
        text = '#include "base/error.h"\n#include <stdint.h>\n#include <time.h>\n'
        self.assertEqual(self.find("layers", node__core__a_c=text), [("node/core/a.c", 3)])
        text = '#include "node/blob.h"\n'
        self.assertIn(("node/core/b.c", 1), self.find("layers", node__core__b_c=text))

    def test_libraries(self):
        self.assertEqual(self.find("libraries", media__a_c="#include <libavutil/frame.h>\n"), [])
        found = self.find("libraries", node__a_c="#include <stdio.h>\n#include <jansson.h>\n")
        self.assertEqual(found, [("node/a.c", 2)])
        found = self.find("libraries", base__b_c="#include <glib.h>\n")
        self.assertIn(("base/b.c", 1), found)

    def test_headers(self):
        clean = GUARD.format("#include <stdint.h>\nuint8_t f(void);")
        self.assertEqual(self.find("headers", base__a_h=clean), [])
        found = self.find("headers", base__b_h=GUARD.format("uint8_t f(void);"))
        self.assertIn(("base/b.h", 3), found)

    def test_headers_of_instruction_sets_get_their_options(self):
        if tidy.platform.machine() not in ("x86_64", "AMD64"):
            self.skipTest("those headers are x86-64 only")
        text = GUARD.format("#ifndef SORA_SIMD_AVX512\n#error none\n#endif")
        self.assertEqual(self.find("headers", hip__cpu__fast__a_h=text), [])
        self.assertIn(("hip/b.h", 4), self.find("headers", hip__b_h=text))

    def test_file_size(self):
        self.assertEqual(self.find("file-size", base__a_c="\n" * 1000, base__a_h="\n" * 250), [])
        found = self.find("file-size", base__b_c="\n" * 1001, base__b_h="\n" * 251)
        self.assertEqual(found, [("base/b.c", 1001), ("base/b.h", 251)])

    def test_function_size(self):
        excused = long_function(90, "/* tidy: long table, one row per code */\n")
        self.assertEqual(self.find("function-size", base__a_c=long_function(70) + excused), [])
        found = self.find("function-size", base__b_c=long_function(71))
        self.assertEqual(found, [("base/b.c", 3)])
        elsewhere = "/* tidy: long table */\nint a;\n\n" + long_function(80)
        self.assertIn(("base/c.c", 6), self.find("function-size", base__c_c=elsewhere))

    def test_function_size_measures_this_project(self):
        sizes = {f: n for f, _, n in tidy.functions(tidy.Tree(ROOT).lines("base/error.c"))}
        self.assertIn("sora_fault_set", sizes)
        self.assertGreater(sizes["sora_error_exit_status"], 15)

    def test_columns(self):
        wide = "é" * 100 + "\n"
        self.assertEqual(self.find("columns", base__a_c=f"/* */\n{wide}"), [])
        found = self.find("columns", base__b_c=f"int b;\n// {wide}",
                          tool_bare="#!/bin/sh\n# " + wide)
        self.assertEqual(found, [("base/b.c", 2), ("tool", 2)])

    def test_spaces(self):
        self.assertEqual(self.find("spaces", docs__a_md="# a\n\nb\n"), [])
        found = self.find("spaces", docs__b_md="a \nb\n", base__b_c="int b;\n\tint c;\n",
                          docs__c_md="a\n\n", docs__d_md="a")
        self.assertEqual(found, [("base/b.c", 2), ("docs/b.md", 1), ("docs/c.md", 2),
                                 ("docs/d.md", 1)])

    def test_format(self):
        if not shutil.which("clang-format-14"):
            self.skipTest("clang-format 14 not found")
        self.assertEqual(self.find("format", base__a_c="int a(void)\n{\n    return 1;\n}\n"), [])
        found = self.find("format", base__b_c="int b;\nint c(void) {\n  return 1;\n}\n")
        self.assertEqual(found, [("base/b.c", 2)])

    def test_test_names(self):
        clean = {"base__error_c": "int a;\n", "tests__unit__test_error_c": "int a;\n",
                 "tests__unit__test_error_text_c": "int a;\n"}
        self.assertEqual(self.find("test-names", **clean), [])
        found = self.find("test-names", tests__unit__test_errors_c="int a;\n")
        self.assertEqual(found, [("tests/unit/test_errors.c", 1)])

    def test_scripts(self):
        self.assertEqual(self.find("scripts", a_sh="#!/bin/sh\ntrue\n", b_py="x = 1\n"), [])
        found = self.find("scripts", c_sh="#!/bin/sh\ntrue\nif\n", d_bare="#!/bin/bash\na=(1\n",
                          e_py="x = 1\nx = (\n")
        self.assertEqual([name for name, _ in found], ["c.sh", "d", "e.py"])
        self.assertEqual(found[2][1], 2)

    def test_every_check_is_tested_here(self):
        tests = " ".join(name for name in dir(self) if name.startswith("test_"))
        for check in tidy.CHECKS:
            self.assertIn("test_" + check.replace("-", "_"), tests)


if __name__ == "__main__":
    unittest.main()
