#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the commands of the pages as a reader would.

    test_commands.py GROUP --build FOLDER [--llama FOLDER] [--host FOLDER] [--model FILE] [PAGE ...]

The comment above a block names its group; all blocks of a page and group run one after the other in one shell.

  copy     no comment: in a copy of the checkout whose build/release is the build folder
  full     <!-- run: full -->: the same, for what takes minutes; where a page configures build/release itself, without the build
  release, rk3588   <!-- run: release -->: in the checkout itself, whose build/release (or rk3588) is up to date

They find a home folder of their own, the simulator as the NPU, the build's and llama.cpp's programs on the PATH, $LLAMA_DIR, $PREFIX,
`model.gguf`, and a `./program` with its `program.c` that uses the vendor's interface. Exit status 77 when something that a block
needs is not there.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import pages

GROUPS = {"copy": "", "full": "full", "release": "release", "rk3588": "rk3588"}
IN_THE_CHECKOUT = ("release", "rk3588")


def copy_of_checkout(folder):
    """The files that git knows or would know, in `folder`; without git all but the build."""
    listed = subprocess.run(["git", "-C", str(pages.ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, text=True)
    if listed.returncode != 0:
        shutil.copytree(pages.ROOT, folder, ignore=shutil.ignore_patterns("build", "dist", "__pycache__"))
        return
    for name in filter(None, listed.stdout.split("\0")):
        if (pages.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(pages.ROOT / name, folder / name)


# What commands put into the cache folder and later runs would find; the rest of it (llama.cpp, models) is expensive and shared.
OWN_PARTS = {"statistics", "weights", "quality", "logs"}


def users_cache():
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return pathlib.Path(os.environ.get("RKNPU2_CACHE") or home / "ggml-rknpu2")


def fill_cache(folder):
    """A cache folder with a link to each part of the user's own that only saves time."""
    folder.mkdir()
    for part in users_cache().iterdir() if users_cache().is_dir() else ():
        if part.name not in OWN_PARTS:
            (folder / part.name).symlink_to(part)


class Workshop:
    """Where the blocks of one page run."""

    def __init__(self, folder, arguments):
        self.folder, self.arguments = pathlib.Path(folder), arguments
        self.prefix = self.folder / "prefix"
        self.checkout = pages.ROOT
        (self.folder / "home").mkdir()
        self.cache = users_cache()  # what a build in the checkout remembers must still be there tomorrow

    def use_copy(self, with_build):
        self.cache = self.folder / "cache"
        fill_cache(self.cache)
        self.checkout = self.folder / "checkout"
        self.checkout.mkdir()
        copy_of_checkout(self.checkout)
        (self.checkout / "build").mkdir()
        if with_build:
            (self.checkout / "build/release").symlink_to(self.arguments.build)
        shutil.copy(pages.ROOT / "examples/matmul_normal.c", self.checkout / "program.c")
        example = next(self.arguments.build.rglob("example_matmul_normal"), None)
        if example:
            shutil.copy(example, self.checkout / "program")

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GGML_", "RKNNSIM_", "PKG_CONFIG"))}
        path = [self.arguments.build / "bin"]
        path += [self.arguments.host] if self.arguments.host else []
        kept["PATH"] = ":".join([*map(str, path), kept["PATH"]])
        return kept | {"HOME": str(self.folder / "home"), "RKNPU2_CACHE": str(self.cache), "GGML_RKNPU2_RUNTIME": "sim",
                       "LLAMA_DIR": str(self.arguments.llama or ""), "PREFIX": str(self.prefix)}

    def fill_in(self, commands):
        """What a reader has to fill in: the paths that are his own."""
        for pattern, value in ((r"<this repository>", pages.ROOT), (r"/path/to/llama\.cpp", self.arguments.llama),
                               (r"(?<![\w/.-])model\.gguf\b", self.arguments.model)):
            if re.search(pattern, commands) and value is None:
                raise LookupError(f"{pattern} is not configured")
            commands = re.sub(pattern, str(value), commands)
        if re.search(r"\bllama-\w+", commands) and self.arguments.host is None:
            raise LookupError("llama.cpp is not built")
        return commands

    def run(self, blocks):
        """(exit status, output) of the blocks, one after the other."""
        script = "".join(f": {block}\n{self.fill_in(block.commands)}" for block in blocks)
        done = subprocess.run(["bash", "-euxo", "pipefail", "-c", script], env=self.environment(), cwd=self.checkout, text=True,
                              errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout


def installed(workshop, output):
    """Yields what docs/install.md promises and its commands did not do."""
    for part in ("lib/ggml-rknpu2/libggml-rknpu2.so", "bin/rknpu2-info", "lib/ggml-rknpu2/rknnsim/librknnrt.so"):
        if not (workshop.prefix / part).is_file():
            yield f"docs/install.md installs no {part}"
    plugin = f"{workshop.prefix}/lib/pkgconfig/../../lib/ggml-rknpu2/libggml-rknpu2.so"
    if "pkg-config" in output and plugin not in output:
        yield "pkg-config does not tell the plug-in's path"


# What is looked at besides the exit status.
PROMISES = {"docs/install.md": installed}


def run_page(page, text, group, arguments):
    """(number of blocks, failure or None) of one page; LookupError when something that they need is not there."""
    blocks = [block for block in pages.blocks_of(page, text) if block.kind == "run" and block.what == GROUPS[group]]
    if not blocks:
        return 0, None
    with tempfile.TemporaryDirectory(prefix="rknpu2-docs.") as folder:
        workshop = Workshop(folder, arguments)
        if group not in IN_THE_CHECKOUT:
            workshop.use_copy(with_build=not any("cmake --preset release" in block.commands for block in blocks))
        status, output = workshop.run(blocks)
        broken = list(PROMISES[page](workshop, output)) if status == 0 and page in PROMISES else []
    if status != 0:
        # `+ ` begins a command, `: page:line` the block that it is of.
        where = re.findall(r"^\+ : (\S+:\d+)$", output, re.M)
        broken = [f"{where[-1] if where else page}: exit status {status}\n{output[-6000:]}"]
    return len(blocks), "\n".join(broken) or None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    for name in ("--llama", "--host", "--model"):
        parser.add_argument(name, type=lambda text: pathlib.Path(text) if text else None)
    parser.add_argument("pages", nargs="*")
    arguments = parser.parse_intermixed_args()
    run, failures, missing = 0, [], []
    for page in arguments.pages or pages.all_pages():
        try:
            count, failure = run_page(page, (pages.ROOT / page).read_text(), arguments.group, arguments)
        except LookupError as error:
            missing.append(f"{page}: {error.args[0]}")
            continue
        run += count
        if failure:
            failures.append(failure)
        elif count:
            print(f"{page}: {count} blocks", flush=True)
    print(f"{run} blocks of commands were run, {len(failures)} pages failed")
    for line in [*failures, *(f"skipped: {what}" for what in missing)]:
        print(line)
    if failures or run == 0 and not missing:
        sys.exit(1)
    sys.exit(77 if missing else 0)


if __name__ == "__main__":
    main()
