#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dpkg-buildpackage on a copy of the sources: the packages, and in them the files that cpack's packages have.

    test_dpkg.py BUILD_DIRECTORY

Builds the project once more (some minutes). Exits with 77 (skipped) where Debian's tools are missing.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from test_debian import PACKAGES, ROOT, make_packages, run

# What debhelper adds.
ADDED = {"changelog.gz", "changelog.Debian.gz"}


def copy_sources(to):
    """What git knows or would add; without git, all but what was built."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True)
    if listed.returncode != 0:
        shutil.copytree(ROOT, to, symlinks=True, ignore=shutil.ignore_patterns("build", "dist", ".cache"))
        return
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name)


def files_of(deb):
    listed = run("dpkg-deb", "--contents", deb).splitlines()
    paths = [line.split(maxsplit=5)[5].split(" -> ")[0] for line in listed if not line.startswith("d")]
    return {path for path in paths if pathlib.PurePath(path).name not in ADDED}


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    for tool, package in (("dpkg-buildpackage", "dpkg-dev"), ("dh", "debhelper"), ("cpack", "cmake")):
        if shutil.which(tool) is None:
            print(f"skipped: there is no {tool} here (Debian's package {package})")
            sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="rknpu2-dpkg.") as name:
        folder = pathlib.Path(name).resolve()
        source = folder / "ggml-rknpu2"
        source.mkdir()
        copy_sources(source)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("DEB_", "RKNPU2_"))}
        run("dpkg-buildpackage", "-us", "-uc", "-b", f"-j{os.cpu_count()}", cwd=source, env=environment)
        made = {file.name.split("_")[0]: file for file in folder.glob("*.deb") if "-dbgsym" not in file.name}
        if sorted(made) != PACKAGES:
            sys.exit(f"dpkg-buildpackage made {sorted(made)}, not {PACKAGES}")
        cpacks = make_packages(build, folder / "cpack")
        for package in PACKAGES:
            differ = files_of(made[package]) ^ files_of(cpacks[package])
            if differ:
                sys.exit(f"{package}: only one of dpkg-buildpackage's and cpack's has {sorted(differ)}")
            if "libc6 (>=" not in run("dpkg-deb", "--field", made[package], "Depends"):
                sys.exit(f"{package}: what its binaries depend on was not found out")
        # They work: the tool finds the simulator of the other package, and multiplies.
        root = folder / "root"
        for deb in made.values():
            run("dpkg-deb", "--extract", deb, root)
        diagnosis = run(root / "usr/bin/rknpu2-doctor", "--runtime", "sim", "--quick")
        if "every bit right" not in diagnosis or " 0 problems" not in diagnosis:
            sys.exit(f"rknpu2-doctor does not find the packaged simulator well\n{diagnosis}")
    print("dpkg-buildpackage: all checks passed")


if __name__ == "__main__":
    main()
