#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/release.sh for one architecture: the files, their checksums, the same bytes when made again, what is in them.

    test_release.py ARCHITECTURE [EMULATOR]

Exits with 77 (skipped) where there is no git checkout or no dpkg. The folder build/ must be built already.
"""
import hashlib
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["ggml-rknpu2", "rknnsim", "rknpu2-tools"]


def script(*options):
    return subprocess.run([ROOT / "scripts/release.sh", *options], text=True, stdin=subprocess.DEVNULL, capture_output=True)


def make(architecture, out):
    done = script("--arch", architecture, "--dirty", "--out", out)
    if done.returncode != 0:
        sys.exit(f"release.sh: exit status {done.returncode}\n{done.stderr}")
    sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    for name, wanted in sums.items():
        if hashlib.sha256((out / name).read_bytes()).hexdigest() != wanted:
            sys.exit(f"{name}: the checksum is wrong")
    if set(sums) | {"SHA256SUMS"} != {path.name for path in out.iterdir()}:
        sys.exit(f"SHA256SUMS does not list what is there: {sums}")
    return sums


def check_names(names, architecture, version):
    wanted = {f"ggml-rknpu2-{version}.tar.gz", f"ggml-rknpu2-{version}-linux-{architecture}.tar.gz"}
    wanted |= {f"{package}_{version}_{architecture}.deb" for package in PACKAGES}
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[architecture]
    wanted |= {name for name in names if re.fullmatch(rf"ggml_rknpu2-{version}-py3-none-manylinux_2_\d+_{machine}\.whl", name)}
    if set(names) != wanted or len(wanted) != 6:
        sys.exit(f"the release is {sorted(names)}, not {sorted(wanted)}")


def check_source(archive):
    listed = subprocess.run(["git", "-C", ROOT, "ls-tree", "-r", "--name-only", "HEAD"], text=True, capture_output=True, check=True)
    with tarfile.open(archive) as tar:
        files = {member.name.split("/", 1)[1] for member in tar if member.isfile()}
    if files != set(listed.stdout.splitlines()):
        sys.exit(f"the source archive differs from the commit: {sorted(files ^ set(listed.stdout.splitlines()))[:10]}")


def check_binaries(archive, folder, emulator):
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
    [prefix] = folder.iterdir()
    command = [*emulator, prefix / "bin/rknpu2-info"]
    done = subprocess.run(command, env={"GGML_RKNPU2_RUNTIME": "sim"}, text=True, capture_output=True)
    if str(prefix / "lib/ggml-rknpu2/rknnsim/librknnrt.so") not in done.stdout:
        sys.exit(f"rknpu2-info of the archive does not find the archive's simulator\n{done.stdout}{done.stderr}")
    if not (prefix / "lib/ggml-rknpu2/libggml-rknpu2.so").is_file():
        sys.exit("the archive has no plug-in")


def check_refusals(folder):
    """Nothing of a user's is removed, and what cannot be built is said in a line."""
    (folder / "mine").mkdir()
    for name in ("letter", "SHA256SUMS"):
        (folder / "mine" / name).touch()
    for options, what in ((["--dirty", "--out", folder / "mine"], "holds other things"), (["--arch", "m68k"], "no way to build for m68k")):
        done = script(*options)
        if done.returncode != 1 or done.stderr.count("error:") != 1 or what not in done.stderr:
            sys.exit(f"{options}: exit status {done.returncode}\n{done.stderr}")
    if not (folder / "mine/letter").exists():
        sys.exit("release.sh removed a file that it did not make")


def main():
    architecture, emulator = sys.argv[1], shlex.split(sys.argv[2]) if len(sys.argv) > 2 else []
    if shutil.which("dpkg") is None or subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode != 0:
        print("skipped: a release is made of a git checkout, with Debian's dpkg")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="rknpu2-release.") as name:
        folder = pathlib.Path(name).resolve()
        check_refusals(folder)
        first, second = make(architecture, folder / "first"), make(architecture, folder / "second")
        if first != second:
            sys.exit(f"made again, other bytes: {[n for n in first if first[n] != second.get(n)]}")
        [source] = [n for n in first if n.count("-") == 2 and n.endswith(".tar.gz")]
        version = source.removeprefix("ggml-rknpu2-").removesuffix(".tar.gz")
        check_names(first, architecture, version)
        check_source(folder / "first" / source)
        (folder / "unpacked").mkdir()
        check_binaries(folder / "first" / f"ggml-rknpu2-{version}-linux-{architecture}.tar.gz", folder / "unpacked", emulator)
    print("release: all checks passed")


if __name__ == "__main__":
    main()
