#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Obtains hosts of the Python index: packages with a ggml in them, pinned by hash.

    scripts/python_hosts.py [VERSION...]    all of tests/e2e/prebuilt_hosts.csv, or these versions

pip fetches a package by its name, verifies it, and installs it to a folder of hosts/ in the cache (prebuilt_hosts.py); what is there
costs nothing. llama-cpp-python is built from its source: five minutes of a core for each. Prints one line for each: the version,
ggml's, the folder.
"""

import argparse
import base64
import csv
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

import prebuilt_hosts

PINS = prebuilt_hosts.TABLE.with_name("python_hosts.txt")  # what they need, to be built and to run
# As pip builds it by default, but for every x86-64 with AVX2, and without programs that nobody starts.
BUILD = {"CMAKE_GENERATOR": "Ninja",
         "CMAKE_ARGS": "-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DLLAMA_OPENSSL=OFF "
                       + " ".join(f"-DLLAMA_BUILD_{part}=OFF" for part in ("TESTS", "TOOLS", "EXAMPLES", "SERVER"))}


def packages():
    """The table's rows, in its order; those of npm have a scope."""
    with prebuilt_hosts.TABLE.open(newline="") as file:
        return [row for row in csv.DictReader(file) if not row["package"].startswith("@")]


def folder(row):
    """Where a package is installed, or will be; for one version of Python."""
    return prebuilt_hosts.cache() / "hosts" / f"{row['package']}-{row['version']}-{sys.implementation.cache_tag}"


def needs():
    """Where that is installed which all of them need."""
    return folder({"package": "needs", "version": hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]})


def python_path(row):
    return f"{folder(row)}{os.pathsep}{needs()}"


def install(pins, target):
    """Installs what a file of pins names. pip takes no file whose hash is not there, and nothing that is not named."""
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-deps", "--no-build-isolation",
                   "--require-hashes", "--target", pathlib.Path(made, "whole"), "-r", pins]
        run = subprocess.run(command, env={**os.environ, **BUILD, "PYTHONPATH": str(needs())}, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"python_hosts.py: pip cannot install {target.name}: {run.stderr.strip()[-2000:]}")
        pathlib.Path(made, "whole").rename(target)


def is_here(row):
    return folder(row).is_dir() and needs().is_dir()


def obtain(row):
    if not is_here(row):
        print(f"installing {row['package']} {row['version']} (ggml {row['ggml']}) ...", file=sys.stderr)
        install(PINS, needs())
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
            hashes = " ".join("--hash=sha512:" + base64.b64decode(pin).hex() for pin in row["sha512"].split())
            pins.write(f"{row['package']}=={row['version']} {hashes}\n")
            pins.flush()
            install(pins.name, folder(row))
    return folder(row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("versions", nargs="*", metavar="VERSION")
    options = parser.parse_args()
    rows = [row for row in packages() if not options.versions or row["version"] in options.versions]
    if len(rows) < len(options.versions):
        parser.error("no such version; tests/e2e/prebuilt_hosts.csv has: " + ", ".join(row["version"] for row in packages()))
    for row in rows:
        print(row["version"], row["ggml"], obtain(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
