#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The installed package of the simulator, as a user meets it: both examples are built from it with pkg-config and with
CMake, run, and run again after the package was moved.

    test_package.py BUILD_DIRECTORY [--flags COMPILER_FLAGS]

Needs cmake, a C compiler and pkg-config; exits with 77 (skipped) where there is none.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

EXAMPLES = ["matmul_normal", "matmul_native"]
EXTRA = {"matmul_normal": ["-lm"], "matmul_native": ["-pthread"]}
CORRECT = {"matmul_normal": 1, "matmul_native": 4}  # lines of output that say so


def run(*command, env=None, cwd=None):
    done = subprocess.run([str(c) for c in command], env=env, cwd=cwd, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(c) for c in command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


class Package:
    def __init__(self, prefix, work, flags):
        self.prefix, self.work, self.flags = prefix, work, flags
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("RKNNSIM_", "LD_LIBRARY_PATH", "PKG_CONFIG"))}
        [pc] = prefix.glob("**/pkgconfig/rknnsim.pc")
        self.env = dict(keep, PKG_CONFIG_PATH=str(pc.parent), RKNNSIM_CHECK="strict")

    def source(self, example):
        return self.prefix / "share" / "rknnsim" / "examples" / f"{example}.c"

    def pkg_config(self, *options):
        return run("pkg-config", *options, "rknnsim", env=self.env).split()

    def build_with_pkg_config(self, example, extra=()):
        program = self.work / f"{example}-pc"
        run(os.environ.get("CC", "cc"), "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *self.flags,
            self.source(example), *self.pkg_config("--cflags", "--libs"), *extra, *EXTRA[example], "-o", program)
        return program

    def build_with_cmake(self):
        build = self.work / "cmake"
        run("cmake", "-S", self.prefix / "share" / "rknnsim" / "examples", "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}",
            f"-DCMAKE_C_FLAGS={' '.join(self.flags)}", env=self.env)
        run("cmake", "--build", build, env=self.env)
        return [build / example for example in EXAMPLES]

    def check_run(self, *command):
        text = run(*command, env=self.env)
        example = next(e for e in EXAMPLES if pathlib.Path(command[-1]).name.startswith(e))
        if text.count(": correct\n") != CORRECT[example]:
            sys.exit(f"{command}: unexpected output\n{text}")
        if "rknnsim: " in text:
            sys.exit(f"{command}: the simulator has something to say about an example\n{text}")
        return text

    def check_all(self):
        for example in EXAMPLES:
            self.check_run(self.build_with_pkg_config(example))
        for program in self.build_with_cmake():
            self.check_run(program)

    def check_nothing_in_linker_path(self):
        """The vendor's library must never be shadowed: ours is in no directory that a linker searches."""
        found = [p.relative_to(self.prefix) for p in self.prefix.glob("**/librknnrt.so*")]
        if len(found) != 1 or found[0].parent.name != "rknnsim" or found[0].parent.parent.name != "ggml-rknpu2":
            sys.exit(f"librknnrt.so is installed as {found}")

    def check_run_script(self):
        """A program without RPATH finds no librknnrt.so by itself (unless the machine has the vendor's), but with rknnsim-run."""
        program = self.work / "matmul_normal-plain"
        libs = [option for option in self.pkg_config("--cflags", "--libs") if not option.startswith("-Wl,")]
        run(os.environ.get("CC", "cc"), *self.flags, self.source("matmul_normal"), *libs, "-lm", "-o", program)
        script = self.prefix / "bin" / "rknnsim-run"
        if "rknnsim" not in self.check_run(script, program):
            sys.exit("rknnsim-run: not the simulator's version")
        link = self.work / "link-to-rknnsim-run"
        link.symlink_to(script)
        self.check_run(link, program)
        link.unlink()
        if "PROGRAM" not in run(script, "--help"):
            sys.exit("rknnsim-run --help says nothing")


def check_dma_heap(package):
    """Operands from a dma-buf heap, as backends for a board have them. A program built without sanitizers."""
    if package.flags:
        print("programs with sanitizers cannot have a library preloaded: the heap was not looked at")
        return
    source = pathlib.Path(__file__).with_name("dma_heap.c")
    program = package.work / "dma_heap"
    cc = os.environ.get("CC", "cc")
    for flags in (["-std=gnu99"], ["-std=gnu99", "-O2", "-D_FORTIFY_SOURCE=2"]):
        run(cc, *flags, "-Wall", "-Wextra", "-Werror", source, *package.pkg_config("--cflags", "--libs"), "-ldl", "-o", program)
        text = run(package.prefix / "bin" / "rknnsim-run", "--dma-heap", program, env=package.env)
        if text != "heap: right\n":
            sys.exit(f"rknnsim-run --dma-heap: unexpected output\n{text}")
    # Another program does not notice.
    if "sum" not in run(package.prefix / "bin" / "rknnsim-run", "--dma-heap", "sh", "-c", "echo sum > x; cat x", cwd=package.work):
        sys.exit("rknnsim-run --dma-heap: files of others cannot be opened")


def check_wrong_result_is_seen(package):
    """The examples can fail: they notice a run that fails and a matrix that was packed in the wrong order."""
    program = package.build_with_pkg_config("matmul_native")
    env = dict(package.env, RKNNSIM_FAULTS="fail:rknn_matmul_run:nth=5:code=-2")
    done = subprocess.run([program], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0 or "rknn_matmul_run failed with -2" not in done.stdout:
        sys.exit(f"a failed run goes unnoticed\n{done.stdout}")
    wrong = package.work / "matmul_native-wrong"
    text = package.source("matmul_native").read_text()
    assert text.count("*to++ = a_matrix[m][i * atom + j];") == 1
    copy = package.work / "matmul_native-wrong.c"
    copy.write_text(text.replace("*to++ = a_matrix[m][i * atom + j];", "*to++ = a_matrix[m][j];"))
    run(os.environ.get("CC", "cc"), *package.flags, copy, *package.pkg_config("--cflags", "--libs"), "-pthread", "-o", wrong)
    done = subprocess.run([wrong], env=package.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0 or "WRONG" not in done.stdout:
        sys.exit(f"a wrong packing goes unnoticed\n{done.stdout}")


def check_plugin_finds_simulator(build, prefix):
    """With GGML_RKNPU2_RUNTIME=sim the plug-in looks for rknnsim/librknnrt.so beside itself (src/runtime/locate.cpp)."""
    if not (pathlib.Path(build) / "bin" / "libggml-rknpu2.so").exists():
        print("the plug-in is not built: its way to the simulator was not looked at")
        return
    run("cmake", "--install", build, "--component", "ggml-rknpu2", "--prefix", prefix)
    [plugin] = prefix.glob("**/libggml-rknpu2.so")
    if not (plugin.parent / "rknnsim" / "librknnrt.so").exists():
        sys.exit(f"no simulator beside {plugin}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--flags", default="")
    options = parser.parse_args()
    for tool in ("cmake", "pkg-config", os.environ.get("CC", "cc")):
        if shutil.which(tool) is None:
            print(f"skipped: there is no {tool} here")
            sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="rknnsim-package.") as name:
        root = pathlib.Path(name).resolve()
        first, second = root / "first", root / "second"
        for path in (root / "work1", root / "work2"):
            path.mkdir()
        run("cmake", "--install", options.build, "--component", "rknnsim", "--prefix", first)
        package = Package(first, root / "work1", options.flags.split())
        package.check_nothing_in_linker_path()
        package.check_all()
        package.check_run_script()
        check_wrong_result_is_seen(package)
        check_dma_heap(package)
        check_plugin_finds_simulator(options.build, first)
        # Moved: what was built before runs with rknnsim-run, and new programs are built as before.
        first.rename(second)
        moved = Package(second, root / "work2", options.flags.split())
        moved.check_all()
        moved.check_run_script()
        for example in EXAMPLES:
            moved.check_run(second / "bin" / "rknnsim-run", root / "work1" / f"{example}-pc")
    print("package: all checks passed")


if __name__ == "__main__":
    main()
