#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks what the compiler cannot: who may include what, and the few one-home rules of CONTRIBUTING.md.

    scripts/check_layers.py [ROOT]     checks the tree; one line `file:line: what is wrong` per finding, exit 1 if any
    scripts/check_layers.py --self-test  proves, on a small tree made for it, that each rule catches its violation

Rules:
  layer     a folder of src/ includes only itself and lower ones (LAYERS); sim/ includes only base/, system/ and matrix/ of src
  sim       a folder of sim/ includes only those of SIM_LAYERS: the core knows neither who watches it nor the C interface
  path      includes of our own headers are written relative to src/ ("base/status.hpp"), without ".."
  ggml      only tests include ggml's headers; src/ggml/api declares what we use
  getenv    in src/, only src/config/config.cpp reads the environment
  neon      only *_neon.cpp includes <arm_neon.h>
  rknn      in src/ and sim/, only src/runtime/rknn_*, sim/api/ and sim/include/ name the vendor's functions and types
  folder    no folder of src/ has more than 25 files of code
  length    no file has more than 400 lines, unless LONG_FILES says why
"""

import pathlib
import re
import sys
import tempfile

# From the lowest up. A folder within a folder is a layer of its own, but for kernels/lanes,
# which holds the loops behind the interfaces in kernels/.
LAYERS = ["base", "system", "config", "matrix", "soc", "gguf", "kernels", "runtime", "plan", "calibration", "counters", "device", "weights", "runs", "matmul", "attention",
          "ggml/api", "ggml/host", "ggml/node", "ggml/buffer", "ggml/cpu", "ggml/flow", "ggml/graph", "ggml/diagnostics", "ggml"]
SIM_MAY_USE = {"base", "system", "matrix"}
# Folder of sim/ -> those of sim/ that it may include, itself included.
SIM_LAYERS = {"include": {"include"}, "core": {"core"}, "checker": {"checker", "core"}, "timing": {"timing", "core"},
              "api": {"api", "include", "checker", "timing", "core"}}
MAX_LINES = 400
MAX_FILES = 25  # in a folder of src/
# Path -> reason. An entry whose file is short again, or gone, is a finding too.
LONG_FILES: dict[str, str] = {}

CODE = {".cpp", ".hpp", ".h", ".c", ".inc"}
FOLDERS = ["src", "sim", "tools", "tests", "bench", "scripts"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
GGML_HEADER = re.compile(r"(^|/)(ggml[-\w]*|gguf)\.h(pp)?$")


def code_lines(text):
    """Yields (number, line) with comments blanked and string literals kept."""
    keep_newlines = lambda found: found[0] if found[0][0] in "\"'" else re.sub(r"[^\n]", " ", found[0])
    token = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|//[^\n]*|/\*.*?\*/'
    return enumerate(re.sub(token, keep_newlines, text, flags=re.S).split("\n"), 1)


def layer_of(file):
    """Returns the layer of a file (relative to src/), or None."""
    folder = str(pathlib.PurePosixPath(file).parent).removesuffix("/lanes")
    return folder if folder in LAYERS else None


def check_include(path, quote, header):
    """Yields what is wrong with one #include of the file `path` (relative to the root)."""
    folder = path.parts[0]
    if header == "arm_neon.h" and not path.name.endswith("_neon.cpp"):
        yield "neon: only *_neon.cpp may include <arm_neon.h>"
    if folder == "tests":  # tests play hosts and look inside every layer
        return
    if GGML_HEADER.search(header) and path.parts[0] != "tests":
        yield f"ggml: only tests may include {header}"
    if quote == '"' and ".." in header.split("/"):
        yield f'path: write "{header}" relative to src/'
    target, sim_target = layer_of(header), pathlib.PurePosixPath(header).parts[0]
    if folder == "sim" and quote == '"' and "/" in header and sim_target in SIM_LAYERS:
        if sim_target not in SIM_LAYERS.get(path.parts[1], SIM_LAYERS):
            yield f"sim: sim/{path.parts[1]}/ may not include {header}"
    if quote != '"' or target is None:
        return
    here = layer_of(path.relative_to("src")) if folder == "src" else None
    if here is not None and LAYERS.index(target) > LAYERS.index(here):
        yield f"layer: {here} may not include {header}, which is above it"
    if folder == "sim" and target not in SIM_MAY_USE:
        yield f"layer: sim may include only base/, system/ and matrix/ of src, not {header}"


def check_code(root, path, text):
    """Yields (line, what) for one C or C++ file."""
    name = path.as_posix()
    may_rknn = name.startswith(("src/runtime/rknn_", "sim/api/", "sim/include/")) or path.parts[0] not in ("src", "sim")
    for number, line in code_lines(text):
        include = INCLUDE.match(line)
        if include:
            for what in check_include(path, *include.groups()):
                yield number, what
            header = include[2]
            if path.parts[0] == "src" and include[1] == '"' and "/" not in header and (root / path).with_name(header).exists():
                yield number, f'path: write "{header}" relative to src/'
            if header.startswith(tuple(f"{layer}/" for layer in LAYERS)):
                continue  # a file of ours may be called rknn_...; who may include it is a matter of layers
        if path.parts[0] == "src" and name != "src/config/config.cpp" and re.search(r"\b(secure_)?getenv\b", line):
            yield number, "getenv: only src/config/config.cpp reads the environment"
        if not may_rknn and re.search(r"\brknn_", line):
            yield number, "rknn: only src/runtime/rknn_*, sim/api/ and sim/include/ may name the vendor's interface"


def check_tree(root, long_files):
    """Returns the findings of a whole tree as lines of text."""
    findings, long_seen = [], set()
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            if not file.is_file() or file.suffix not in CODE | {".py", ".sh", ".cmake"}:
                continue
            path, text = file.relative_to(root), file.read_text(encoding="utf-8", errors="replace")
            # The licence's line is none of the file's own.
            lines = text.count("\n") - ("SPDX-License-Identifier" in text[:200])
            if lines > MAX_LINES:
                long_seen.add(path.as_posix())
                if path.as_posix() not in long_files:
                    findings.append(f"{path}:1: length: {lines} lines, more than {MAX_LINES}: split it")
            if file.suffix in CODE:
                findings += [f"{path}:{number}: {what}" for number, what in check_code(root, path, text)]
    for folder in sorted(path for path in (root / "src").rglob("*") if path.is_dir()):
        files = sum(file.suffix in CODE for file in folder.iterdir())
        if files > MAX_FILES:
            findings.append(f"{folder.relative_to(root)}:1: folder: {files} files, more than {MAX_FILES}: it holds more than one noun")
    for name in sorted(set(long_files) - long_seen):
        findings.append(f"scripts/check_layers.py:1: length: LONG_FILES lists {name}, which is not long (any more)")
    return findings


# path -> (content, the rules that it must break)
SELF_TEST = {
    "src/base/status.hpp": ("#pragma once\n#include <string>\n", []),
    "src/config/config.cpp": ('#include "base/status.hpp"\nauto x = getenv("A");\n', []),
    "src/matrix/up.cpp": ('#include "kernels/pack.hpp"\n', ["layer"]),
    "src/kernels/pack.hpp": ('#include "matrix/shape.hpp"\n// rknn_init and getenv in a comment are fine\n', []),
    "src/kernels/spaced.cpp": ('  #  include   "plan/weight_plan.hpp"\n', ["layer"]),
    "src/kernels/dots.cpp": ('#include "../base/status.hpp"\n', ["path"]),
    "src/kernels/near.cpp": ('#include "pack.hpp"\n', ["path"]),
    "src/kernels/pack_neon.cpp": ("#include <arm_neon.h>\n", []),
    "src/kernels/lanes/pack_generic.cpp": ("#include <arm_neon.h>\n", ["neon"]),
    "src/matmul/host.cpp": ('#include "ggml.h"\n#include <ggml-backend.h>\n#include "gguf.h"\n', ["ggml"] * 3),
    "src/matmul/env.cpp": ('auto x = std::getenv("A");\n/* rknn_x\n rknn_y */\n', ["getenv"]),
    "src/matmul/vendor.cpp": ('auto s = "https://x"; rknn_matmul_run(c);\n', ["rknn"]),
    "src/runtime/rknn_runtime.cpp": ("rknn_matmul_run(c);\n", []),
    "src/runtime/open.cpp": ('#include "runtime/rknn_runtime.hpp"\nrknn_context c;\n', ["rknn"]),
    "src/ggml/device.cpp": ('#include "ggml.h"\n#include "ggml-backend-impl.h"\n#include "runtime/rknn_runtime.hpp"\n', ["ggml"] * 2),
    "sim/core/engine.cpp": ('#include "matrix/layout.hpp"\n#include "kernels/pack.hpp"\nrknn_init(c);\n', ["layer", "rknn"]),
    "sim/core/calls.hpp": ('#include "checker/checker.hpp"\n#include "timing/clock.hpp"\n#include "api/messages.hpp"\n', ["sim"] * 3),
    "sim/checker/checks.cpp": ('#include "core/observer.hpp"\n#include "checker/checker.hpp"\n#include "timing/clock.hpp"\n', ["sim"]),
    "sim/timing/clocks.cpp": ('#include "core/observer.hpp"\n#include "checker/checker.hpp"\n', ["sim"]),
    "sim/api/state.hpp": ('#include "core/observer.hpp"\n#include "checker/checker.hpp"\n#include "timing/clock.hpp"\n', []),
    "sim/api/matmul.cpp": ('#include "base/status.hpp"\nrknn_matmul_run(c); getenv("RKNNSIM_X");\n', []),
    "tools/info.cpp": ('#include "gguf.h"\n', ["ggml"]),
    "tests/host.cpp": ('#include "ggml.h"\n#include "plan/weight_plan.hpp"\nrknn_init();\n', []),
    "tests/long.cpp": ("\n" * 401, ["length"]),
    "tests/allowed.cpp": ("\n" * 401, []),
    "tests/short.cpp": ("\n" * 400, []),
    "tests/licensed.cpp": ("// SPDX-License-Identifier: MIT\n" + "\n" * 400, []),
}


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, (content, _) in SELF_TEST.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        for name, files in (("crowded", MAX_FILES + 1), ("full", MAX_FILES)):
            (root / "src" / name).mkdir()
            for i in range(files):
                (root / "src" / name / f"{i}.cpp").write_text("")
        findings = check_tree(root, {"tests/allowed.cpp": "self-test", "tests/short.cpp": "stale"})
    failures = 0
    expected_all = dict(SELF_TEST, **{"scripts/check_layers.py": ("", ["length"]), "src/crowded": ("", ["folder"]), "src/full": ("", [])})
    for name, (_, expected) in expected_all.items():
        found = sorted(line.split(": ")[1] for line in findings if line.startswith(name + ":"))
        if found != sorted(expected):
            failures += 1
            print(f"self-test: {name}: expected {expected}, found {found}")
    print(f"self-test: {len(expected_all) - failures} passed, {failures} failed")
    return failures


def main():
    if sys.argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    root = pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).resolve().parent.parent
    findings = check_tree(root, LONG_FILES)
    print("\n".join(findings) if findings else "layers: nothing to report")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
