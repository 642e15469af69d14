#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A Debian 12 without a compiler and without a network: first with the Debian packages, then with the wheel, a prebuilt host generates
text within a minute, the installation included.

    test_clean_root.py BUILD_DIRECTORY MODEL

mmdebstrap makes the root file system, by the machine's own sources of packages where they have Debian 12; that takes minutes.
Exits with 77 (skipped) for another user than root, or where mmdebstrap, a model or a host is missing.
"""
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

from test_debian import PACKAGES, ROOT, make_packages, run
from test_wheel import PROMPT, check_made, make_wheel

import prebuilt_hosts  # of scripts/, which test_wheel makes known

SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources")
LIMIT = 60  # seconds
TEXT = "GGML_RKNPU2_RUNTIME=sim RKNNSIM_CHECK=strict GGML_RKNPU2_STATS=/work/stats.json exec node /work/node_host.cjs /work/host/llama-addon.node"
INSTALLS = {
    "the packages": "dpkg --install /work/*.deb >&2; export GGML_BACKEND_PATH=/usr/lib/ggml-rknpu2/libggml-rknpu2.so",
    "the wheel": "python3 -m venv /work/venv; . /work/venv/bin/activate; pip install --no-index /work/*.whl >&2;"
                 "export GGML_BACKEND_PATH=$(python -m ggml_rknpu2)",
}


def make_root(root):
    own = [path for path in SOURCES if os.path.isfile(path) and "bookworm" in pathlib.Path(path).read_text()]
    run("mmdebstrap", "--quiet", "--variant=minbase", "--include=nodejs,python3-venv", "bookworm", root, *own[:1])


def inside(root, commands):
    """What they print in the root; there is no network."""
    return run("unshare", "--net", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc", "chroot", root, "sh", "-ec", commands,
               env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"})


def why_not_here(model, hosts):
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None or shutil.which("unshare") is None:
        return "only root makes a root file system, with mmdebstrap and unshare"
    return "there is no model, or no host (scripts/prebuilt_hosts.py)" if not model or not hosts else None


def main():
    build, model = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    hosts = [row for row in prebuilt_hosts.packages() if prebuilt_hosts.folder(row).is_dir()]
    if why := why_not_here(model, hosts):
        print(f"skipped: {why}")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="rknpu2-root.") as name:
        folder = pathlib.Path(name).resolve()
        folder.chmod(0o755)
        root, work = folder / "root", folder / "root/work"
        make_root(root)
        if there := inside(root, "for program in cc gcc g++ clang cmake make; do command -v $program || true; done"):
            sys.exit(f"the root is to have no compiler: {there}")
        shutil.copytree(prebuilt_hosts.folder(hosts[-1]), work / "host")
        shutil.copy(ROOT / "tests/e2e/node_host.cjs", work)
        shutil.copy(model, work / "model.gguf")
        for made in (*make_packages(build, folder / "packages").values(), make_wheel(build, folder / "wheel")):
            shutil.copy(made, work)
        wanted = json.dumps({"model": "/work/model.gguf", **PROMPT})
        for what, install in INSTALLS.items():
            started = time.monotonic()
            said = inside(root, f"{install}\n{TEXT} '{wanted}'")
            took = time.monotonic() - started
            check_made(said, work / "stats.json", f"node-llama-cpp {hosts[-1]['version']} in a clean root with {what}")
            print(f"{what}: installed and text generated in {took:.1f} s")
            if took > LIMIT:
                sys.exit(f"that is more than {LIMIT} s")
            (work / "stats.json").unlink()
            if what == "the packages":
                inside(root, f"dpkg --purge {' '.join(PACKAGES)} >&2")
    print("clean root: all checks passed")


if __name__ == "__main__":
    main()
