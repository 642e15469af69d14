#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Python wheel of a build: made twice, compared, looked into, installed into a clean virtual environment, used from there.

    test_wheel.py BUILD_DIRECTORY [--emulator COMMAND] [--model FILE]

--emulator: the wheel is for another architecture, whose programs run by that command; it is unpacked, not installed. --model: a
prebuilt host (scripts/prebuilt_hosts.py) generates text with it and the wheel's plug-in. Exits with 77 (skipped) where the tools
that make a wheel are missing.
"""
import argparse
import base64
import csv
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile

from test_debian import EPOCH, ROOT, clean_environment, needed_version, run

sys.path.insert(0, str(ROOT / "scripts"))
import prebuilt_hosts

TOOLS = ["rknpu2-bench", "rknpu2-doctor", "rknpu2-info"]
SCRIPTS = ["rknnsim-run", *TOOLS]
LIBRARIES = ["libggml-rknpu2.so", "rknnsim/librknnrt.so", "rknnsim/librknnsim-dma-heap.so"]
PROMPT = {"prompt": "The capital of France is", "tokens": 8}
WEIGHTS = 211  # matrices of SmolLM2-135M


def make_wheel(build, folder):
    run(ROOT / "packaging/wheel.sh", build, folder, env=clean_environment(SOURCE_DATE_EPOCH=EPOCH))
    [wheel] = folder.iterdir()
    return wheel


def check_record(wheel, info):
    """RECORD has each file with its hash and size; pip does not ask."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        record = {name: (code, size) for name, code, size in csv.reader(archive.read(f"{info}/RECORD").decode().splitlines())}
        if set(record) != names:
            sys.exit(f"RECORD and the wheel differ in {sorted(set(record) ^ names)}")
        for name in names - {f"{info}/RECORD"}:
            code = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).rstrip(b"=").decode()
            if record[name] != (f"sha256={code}", str(archive.getinfo(name).file_size)):
                sys.exit(f"RECORD is wrong about {name}: {record[name]}")
    wanted = {f"ggml_rknpu2/{name}" for name in ("__init__.py", "__main__.py", *(f"bin/{script}" for script in SCRIPTS),
                                                 *(f"lib/ggml-rknpu2/{library}" for library in LIBRARIES))}
    wanted |= {f"{info}/{name}" for name in ("LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    if names != wanted:
        sys.exit(f"the wheel has {sorted(names)}, not {sorted(wanted)}")


def check_binaries(package, glibc, machine):
    """Every binary is of the tag's machine, and runs on every system with the tag's glibc; those have GLIBCXX_3.4.30 from 2.35 on."""
    name = {"x86_64": "X86-64", "aarch64": "AArch64"}[machine]
    for file in [*(package / "bin" / tool for tool in TOOLS), *(package / "lib/ggml-rknpu2" / library for library in LIBRARIES)]:
        if not re.search(rf"Machine: .*\b{name}$", run("readelf", "--file-header", file), re.M):
            sys.exit(f"{file.name} is not for {machine}")
        cxx = needed_version(file, "GLIBCXX")
        if needed_version(file, "GLIBC") > (2, glibc) or cxx > ((3, 4, 30) if glibc >= 35 else (3, 4, 29)):
            sys.exit(f"{file.name} needs more than the tag manylinux_2_{glibc} says")


def check_paths(python, package, env):
    for options, wanted in (([], LIBRARIES[0]), (["--simulator"], LIBRARIES[1])):
        said = run(python, "-m", "ggml_rknpu2", *options, env=env).strip()
        if pathlib.Path(said) != package / "lib/ggml-rknpu2" / wanted:
            sys.exit(f"python -m ggml_rknpu2 {' '.join(options)} says {said}, and the package is in {package}")


def check_foreign(wheel, folder, emulator, version):
    """Returns the package's folder. pip unpacks it as for the other machine."""
    tag = wheel.stem.split("-")[-1]
    run(sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", folder, "--platform", tag, "--only-binary=:all:", wheel)
    package = folder / "ggml_rknpu2"
    check_paths(sys.executable, package, clean_environment(PYTHONPATH=str(folder)))
    for tool in TOOLS:
        if run(*emulator, package / "bin" / tool, "--version").strip() != f"ggml-rknpu2 {version}":
            sys.exit(f"{tool} of the wheel is not of version {version}")
    return package


def make_environment(wheel, folder):
    """Returns (the package's folder, the environment of somebody who has activated the virtual environment in `folder`)."""
    # Debian's Python has no pip to copy.
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    run(sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--no-index", wheel)
    env = clean_environment(PATH=f"{folder / 'bin'}:{os.environ['PATH']}")
    [package] = folder.glob("lib/python*/site-packages/ggml_rknpu2")
    return package, env


def check_scripts(package, env, version):
    check_paths("python", package, env)
    for tool in TOOLS:
        if run(tool, "--version", env=env).strip() != f"ggml-rknpu2 {version}":
            sys.exit(f"{tool} of the virtual environment is not of version {version}")
    if "PROGRAM" not in run("rknnsim-run", "--help", env=env):
        sys.exit("rknnsim-run --help says nothing")
    report = run("rknpu2-info", env=env | {"GGML_RKNPU2_RUNTIME": "sim"})
    if str(package / "lib/ggml-rknpu2" / LIBRARIES[1]) not in report:
        sys.exit(f"rknpu2-info does not find the wheel's simulator\n{report}")


def check_made(said, stats, who):
    """`said` is the output of tests/e2e/node_host.cjs, `stats` the file of GGML_RKNPU2_STATS."""
    made = json.loads(said.splitlines()[-1])
    if made["devices"] != ["Rockchip RK3588 NPU (simulated)"] or "Paris" not in made["text"]:
        sys.exit(f"{who}: {said}")
    if (weights := len(json.loads(stats.read_text())["weights"])) != WEIGHTS:
        sys.exit(f"{who}: {weights} matrices are on the NPU, not {WEIGHTS}")


def check_text(env, model, folder):
    """The oldest and the newest prebuilt host that is here write text, with all matrices on the simulated NPU."""
    hosts = [row for row in prebuilt_hosts.packages() if prebuilt_hosts.folder(row).is_dir()]
    if not model or not hosts or shutil.which("node") is None:
        print("no text: there is no model, no node, or no host (scripts/prebuilt_hosts.py)")
        return
    wanted = json.dumps({"model": str(model), **PROMPT})
    for row in {host["version"]: host for host in (hosts[0], hosts[-1])}.values():
        stats = folder / f"stats-{row['version']}.json"
        said = run("sh", "-c", 'GGML_BACKEND_PATH=$(python -m ggml_rknpu2) exec node "$@"', "sh", ROOT / "tests/e2e/node_host.cjs",
                   prebuilt_hosts.folder(row) / "llama-addon.node", wanted,
                   env=env | {"GGML_RKNPU2_RUNTIME": "sim", "RKNNSIM_CHECK": "strict", "GGML_RKNPU2_STATS": str(stats)})
        check_made(said, stats, f"node-llama-cpp {row['version']} with the wheel's plug-in")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--emulator", type=shlex.split)
    parser.add_argument("--model", default="")
    options = parser.parse_args()
    if not pathlib.Path("/usr/lib/python3/dist-packages/wheel").is_dir() or shutil.which("readelf") is None:
        print("skipped: there is no readelf or no wheel here (Debian's packages binutils and python3-wheel)")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="rknpu2-wheel.") as name:
        folder = pathlib.Path(name).resolve()
        wheel = make_wheel(options.build, folder / "first")
        if make_wheel(options.build, folder / "second").read_bytes() != wheel.read_bytes():
            sys.exit("made again, the wheel has other bytes")
        version = re.search(r"^project\(ggml-rknpu2 VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.M)[1]
        named = re.fullmatch(rf"ggml_rknpu2-{re.escape(version)}-py3-none-manylinux_2_(\d+)_(\w+)\.whl", wheel.name)
        if not named or (named[2] == "aarch64") != (options.emulator is not None or os.uname().machine == "aarch64"):
            sys.exit(f"the wheel is called {wheel.name}")
        check_record(wheel, f"ggml_rknpu2-{version}.dist-info")
        if options.emulator:
            package = check_foreign(wheel, folder / "target", options.emulator, version)
        else:
            package, env = make_environment(wheel, folder / "venv")
            check_scripts(package, env, version)
            check_text(env, options.model, folder)
        check_binaries(package, int(named[1]), named[2])
    print("wheel: all checks passed")


if __name__ == "__main__":
    main()
