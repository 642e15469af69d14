#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""This project as ggml/src/ggml-rknpu2 of a llama.cpp tree: a copy of the tree is prepared by scripts/in-tree.sh, the
plug-in is built in it, and a small program finds the device without being told where the plug-in is.

    test_in_tree.py LLAMA_DIRECTORY [--configure-only]

ggml's CPU backend, which takes minutes to build, is left out: nothing is computed here.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/in-tree.sh"
EDITED = ("ggml/src/CMakeLists.txt", "ggml/src/ggml-backend-reg.cpp")
OPTIONS = ["GGML_RKNPU2=ON", "GGML_BACKEND_DL=ON", "BUILD_SHARED_LIBS=ON", "CMAKE_BUILD_TYPE=Release", "GGML_CPU=OFF", "GGML_CCACHE=OFF",
           "LLAMA_BUILD_COMMON=OFF", "LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_TOOLS=OFF", "LLAMA_BUILD_EXAMPLES=OFF",
           "LLAMA_BUILD_SERVER=OFF", "LLAMA_BUILD_APP=OFF", "LLAMA_BUILD_NUMBER=0", "LLAMA_CURL=OFF", "LLAMA_OPENSSL=OFF"]


def run(*command, expect=0, env=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GGML_")} | (env or {})
    done = subprocess.run([str(c) for c in command], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=environment)
    if done.returncode != expect:
        sys.exit(f"{' '.join(str(c) for c in command)}: exit status {done.returncode}\n{done.stdout[-8000:]}")
    return done.stdout


def copy_tree(source, tree):
    """ggml is copied, since the script changes it; the rest is links."""
    tree.mkdir()
    for entry in source.iterdir():
        if entry.name == "ggml":
            shutil.copytree(entry, tree / "ggml", symlinks=True)
        else:
            (tree / entry.name).symlink_to(entry)


def check_script(tree, source):
    for _ in range(2):  # the second time there is nothing to do
        run(SCRIPT, tree)
    for name in EDITED:
        added = set((tree / name).read_text().splitlines()) - set((source / name).read_text().splitlines())
        if len(added) != 1 or len((tree / name).read_text().splitlines()) != len((source / name).read_text().splitlines()) + 1:
            sys.exit(f"{name}: the script added {added}")
    run(SCRIPT, "--undo", tree)
    if any((tree / name).read_bytes() != (source / name).read_bytes() for name in EDITED):
        sys.exit("--undo does not give the tree back as it was")
    run(SCRIPT, tree)
    text = run(SCRIPT, tree.parent, expect=1)
    if text.count("\n") != 1 or "is not a source tree of llama.cpp" not in text:
        sys.exit(f"another folder gives\n{text}")


def check_static_build_is_refused(tree, build):
    text = run("cmake", "-G", "Ninja", "-S", tree, "-B", build, *(f"-D{o}" for o in OPTIONS), "-DGGML_BACKEND_DL=OFF", expect=1)
    if "-DGGML_BACKEND_DL=ON" not in text:
        sys.exit(f"a build without GGML_BACKEND_DL does not say what to do\n{text}")


def main():
    source = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="rknpu2-in-tree.") as name:
        folder = pathlib.Path(name).resolve()
        tree, build = folder / "llama.cpp", folder / "build"
        copy_tree(source, tree)
        check_script(tree, source)
        check_static_build_is_refused(tree, folder / "static")
        run("cmake", "-G", "Ninja", "-S", tree, "-B", build, *(f"-D{option}" for option in OPTIONS))
        if "--configure-only" in sys.argv[2:]:
            print("in-tree build: configured")
            return
        run("cmake", "--build", build, "--target", "ggml", "rknnrt")
        tool = build / "bin/list_devices"
        run("cc", pathlib.Path(__file__).parent / "in_tree/list_devices.c", f"-I{tree}/ggml/include", f"-L{build}/bin", "-lggml",
            "-lggml-base", f"-Wl,-rpath,{build}/bin", f"-Wl,-rpath-link,{build}/bin", "-o", tool)
        devices = run(tool, env={"GGML_RKNPU2_RUNTIME": "sim"})
        if "RKNPU0: Rockchip RK3588 NPU (simulated)" not in devices:
            sys.exit(f"the device is missing; there are\n{devices}")
    print("in-tree build: all checks passed")


if __name__ == "__main__":
    main()
