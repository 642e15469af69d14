#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The plug-in in a real ggml for AArch64, on CPUs that have what it was compiled for and on CPUs that lack it.

    test_host.py LLAMA_DIRECTORY BUILD_DIRECTORY QEMU SYSROOT

ggml (without its CPU backend, which takes minutes to build) is compiled for any ARMv8-A CPU into BUILD_DIRECTORY/host and stays
there. ggml asks the plug-in for its score when it loads it: on a Cortex-A53 or A72 it must go on without the plug-in, and
the program must end as usual.
"""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPTIONS = ["CMAKE_BUILD_TYPE=Release", "CMAKE_C_COMPILER=aarch64-linux-gnu-gcc", "CMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
           "CMAKE_SYSTEM_NAME=Linux", "CMAKE_SYSTEM_PROCESSOR=aarch64", "BUILD_SHARED_LIBS=ON", "GGML_BACKEND_DL=ON",
           "GGML_CPU=OFF", "GGML_CCACHE=OFF", "LLAMA_BUILD_COMMON=OFF", "LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_TOOLS=OFF",
           "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_BUILD_SERVER=OFF", "LLAMA_BUILD_APP=OFF", "LLAMA_BUILD_NUMBER=0", "LLAMA_OPENSSL=OFF"]
HAVE, LACK = ("cortex-a76", "neoverse-n1"), ("cortex-a53", "cortex-a72")


def run(*command, env=None):
    done = subprocess.run([str(c) for c in command], env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(c) for c in command)}: exit status {done.returncode}\n{done.stdout[-6000:]}")
    return done.stdout


def build_host(llama, folder):
    if not (folder / "build.ninja").exists():
        run("cmake", "-G", "Ninja", "-S", llama, "-B", folder, *(f"-D{option}" for option in OPTIONS))
    run("cmake", "--build", folder, "--target", "ggml")
    [ggml] = folder.rglob("libggml.so")
    [base] = folder.rglob("libggml-base.so")
    tool = folder / "list_devices"
    run("aarch64-linux-gnu-gcc", ROOT / "tests/package/in_tree/list_devices.c", f"-I{llama}/ggml/include", ggml, base, "-o", tool)
    return tool, f"{ggml.parent}:{base.parent}"


def main():
    llama, build = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    qemu, sysroot = sys.argv[3:]
    tool, libraries = build_host(llama, build / "host")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GGML_")}
    environment |= {"GGML_BACKEND_PATH": str(build / "bin/libggml-rknpu2.so"), "GGML_RKNPU2_RUNTIME": "sim"}
    for cpu in HAVE + LACK:
        text = run(qemu, "-cpu", cpu, "-L", sysroot, "-E", f"LD_LIBRARY_PATH={libraries}", tool, env=environment)
        if ("RKNPU0: Rockchip RK3588 NPU (simulated)" in text) != (cpu in HAVE):
            sys.exit(f"{cpu}: the device should {'' if cpu in HAVE else 'not '}be there\n{text}")
        print(f"{cpu}: {text.strip().splitlines()[-1] if text.strip() else 'no device'}")


if __name__ == "__main__":
    main()
