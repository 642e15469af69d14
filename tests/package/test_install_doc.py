#!/usr/bin/env python3
"""The commands of docs/install.md: each block of them says which test runs it, and those of one preset are run here.

    test_install_doc.py PRESET LLAMA_DIRECTORY

A block is `run: PRESET` (here, all blocks of a preset in one shell, in the checkout, whose build folder is up to date),
`run by: FILE` or `not run: REASON`.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:^<!-- (.*?) -->\n)?^```sh\n(.*?)^```$", re.M | re.S)


def blocks_of(text):
    """Yields (marker, commands)."""
    for marker, commands in BLOCK.findall(text):
        kind, _, what = marker.partition(": ")
        if kind == "run by" and (ROOT / what).is_file():
            needle = re.search(r"scripts/[\w-]+\.sh", commands)
            # The named test must at least know the script that the block calls.
            if needle and needle[0] not in (ROOT / what).read_text():
                sys.exit(f"{what} does not call {needle[0]}")
        elif kind not in ("run", "not run") or not what:
            sys.exit(f"docs/install.md: a block is marked \"{marker}\", which says nothing of a test:\n{commands}")
        yield marker, commands


def main():
    preset, llama = sys.argv[1:]
    blocks = list(blocks_of((ROOT / "docs/install.md").read_text()))
    mine = [commands for marker, commands in blocks if marker == f"run: {preset}"]
    if not mine:
        sys.exit(f"docs/install.md has no block to run for the preset {preset}")
    with tempfile.TemporaryDirectory(prefix="rknpu2-install.") as prefix:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("GGML_", "PKG_CONFIG"))}
        environment |= {"LLAMA_DIR": llama, "PREFIX": prefix}
        done = subprocess.run(["bash", "-euxo", "pipefail", "-c", "\n".join(mine)], env=environment, cwd=ROOT, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            sys.exit(f"exit status {done.returncode}\n{done.stdout[-6000:]}")
        for part in ("lib/ggml-rknpu2/libggml-rknpu2.so", "bin/rknpu2-info", "lib/ggml-rknpu2/rknnsim/librknnrt.so"):
            if not (pathlib.Path(prefix) / part).is_file():
                sys.exit(f"docs/install.md installs no {part}")
        if preset == "release" and f"{prefix}/lib/pkgconfig/../../lib/ggml-rknpu2/libggml-rknpu2.so" not in done.stdout:
            sys.exit(f"pkg-config does not tell the plug-in's path\n{done.stdout}")
    print(f"docs/install.md: {len(mine)} blocks of {len(blocks)} were run")


if __name__ == "__main__":
    main()
