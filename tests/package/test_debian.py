#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Debian packages of a build: made twice, compared, looked into, installed into a tree of their own, used from there.

    test_debian.py BUILD_DIRECTORY [--foreign TOOLCHAIN EMULATOR] [--host BIN_DIRECTORY]

--foreign: the packages are for another architecture; what is compiled against them uses that CMake toolchain and runs by
the emulator's command. --host: programs of a built llama.cpp, one of which lists the installed plug-in's device. Exits with
77 (skipped) where Debian's tools are missing.
"""
import argparse
import configparser
import gzip
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import string
import subprocess
import sys
import tempfile

PACKAGES = ["ggml-rknpu2", "rknnsim", "rknpu2-tools"]
PAGES = {"rknpu2-tools": ["rknpu2-info", "rknpu2-bench", "rknpu2-doctor"], "rknnsim": ["rknnsim-run"]}
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# A date of the past: what lands in a package must come from it and not from the clock.
EPOCH = "1700000000"
STATUS_FIELDS = ("Package", "Status", "Architecture", "Multi-Arch", "Version", "Maintainer", "Description", "Provides")


def run(*command, env=None, cwd=None):
    done = subprocess.run([str(c) for c in command], env=env, cwd=cwd, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(str(c) for c in command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def clean_environment(**more):
    dropped = ("RKNNSIM_", "GGML_", "LD_LIBRARY_PATH", "PKG_CONFIG")
    return {k: v for k, v in os.environ.items() if not k.startswith(dropped)} | more


def make_packages(build, folder):
    """Returns {package: file}."""
    run("cpack", "-G", "DEB", "--config", build / "CPackConfig.cmake", "-B", folder,
        env=clean_environment(SOURCE_DATE_EPOCH=EPOCH), cwd=build)
    return {file.name.split("_")[0]: file for file in folder.glob("*.deb")}


def check_reproducible(first, second):
    for package in PACKAGES:
        hashes = {hashlib.sha256(made[package].read_bytes()).hexdigest() for made in (first, second)}
        if len(hashes) != 1:
            sys.exit(f"{package}: the package is another one when it is made again")


def version_tuple(text):
    return tuple(int(number) for number in text.split("."))


def needed_version(file, family):
    """The newest version of a symbol that a binary takes from glibc or libstdc++."""
    found = re.findall(rf"Name: {family}_([0-9.]+)", run("readelf", "--version-info", "--wide", file))
    return max(map(version_tuple, found), default=(0,))


def check_control(package, deb, binaries, architecture):
    fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "--field", deb).splitlines() if re.match(r"\S+: ", line))
    expected = {"Package": package, "Architecture": architecture, "Section": "misc"}
    for name, value in expected.items():
        if fields.get(name) != value:
            sys.exit(f"{deb.name}: {name} is {fields.get(name)}, not {value}")
    if not re.fullmatch(r".+ <[^@\s]+@(?!localhost)[\w-]+(\.[\w-]+)+>", fields["Maintainer"]):
        sys.exit(f"{deb.name}: {fields['Maintainer']} is no name with an address")
    declared = dict(re.findall(r"([\w+-]+) \(>= ([0-9.]+)\)", fields["Depends"]))
    # GLIBCXX_3.4.30 is g++ 12's, 3.4.29 is g++ 11's.
    newest_cxx = {30: 12, 29: 11, 28: 9}
    for file in binaries:
        libc, cxx = needed_version(file, "GLIBC"), needed_version(file, "GLIBCXX")
        if libc > version_tuple(declared["libc6"]):
            sys.exit(f"{file.name} needs glibc {libc}, and {package} depends on {declared['libc6']} only")
        if cxx[:2] == (3, 4) and newest_cxx.get(cxx[2] if len(cxx) > 2 else 0, 9) > int(declared["libstdc++6"]):
            sys.exit(f"{file.name} needs libstdc++ {cxx}, and {package} depends on {declared['libstdc++6']} only")


def stanzas(path):
    """[{field: value, with its white space made single}] of a file like debian/control."""
    found = []
    for text in path.read_text(encoding="utf-8").strip().split("\n\n"):
        fields = re.findall(r"^([\w-]+):(.*(?:\n .*)*)", text, re.M)
        found.append({name: " ".join(value.split()) for name, value in fields})
    return found


def check_debian_folder(packages):
    """debian/, for dpkg-buildpackage, says of each package what cpack's has."""
    source, *binary = stanzas(ROOT / "debian/control")
    if sorted(stanza["Package"] for stanza in binary) != PACKAGES:
        sys.exit(f"debian/control describes {[stanza['Package'] for stanza in binary]}, not {PACKAGES}")
    version = re.match(r"ggml-rknpu2 \((.*?)\)", (ROOT / "debian/changelog").read_text(encoding="utf-8"))[1]
    for stanza in binary:
        package = stanza["Package"]
        wanted = {name: stanza.get(name, "") for name in ("Recommends", "Suggests", "Description")}
        wanted |= {"Maintainer": source["Maintainer"], "Section": source["Section"], "Priority": source["Priority"], "Version": version}
        for name, value in wanted.items():
            made = " ".join(run("dpkg-deb", "--field", packages[package], name).split())
            if made != value:
                sys.exit(f"{package}: {name} is '{made}', and the folder debian says '{value}'")
        if run("dpkg-deb", "--field", packages[package], "Architecture").strip() not in stanza["Architecture"].split():
            sys.exit(f"debian/control does not build {package} for this architecture")


def options_of(text):
    return re.findall(r"^  (?:-\w,)?(--?[A-Za-z][\w-]*)", text, re.M)


class Tree:
    """A root file system with nothing but our packages and dpkg's record of what they depend on."""

    def __init__(self, root, foreign):
        self.root, self.foreign = root, foreign
        self.with_dpkg = not foreign and os.geteuid() == 0
        self.dpkg = ["dpkg", f"--root={root}", "--log=/dev/null"]
        if self.with_dpkg:
            admin = root / "var/lib/dpkg"
            for name in ("info", "updates", "triggers"):
                (admin / name).mkdir(parents=True)
            (admin / "status").write_text(self.own_libraries())
            (admin / "available").touch()

    @staticmethod
    def own_libraries():
        """This machine's entries for what the packages depend on, without their own dependencies."""
        text = ""
        for package in ("libc6", "libgcc-s1", "libstdc++6"):
            lines = run("dpkg-query", "--status", package).splitlines()
            text += "".join(f"{line}\n" for line in lines if line.split(":")[0] in STATUS_FIELDS) + "\n"
        return text

    def install(self, packages):
        if self.with_dpkg:
            run(*self.dpkg, "--install", *packages.values())
            return
        print("dpkg-deb -x instead of dpkg -i:", "another architecture" if self.foreign else "not root")
        for deb in packages.values():
            run("dpkg-deb", "--extract", deb, self.root)

    def check_removal(self):
        if not self.with_dpkg:
            return
        run(*self.dpkg, "--purge", *PACKAGES)
        left = [path for path in (self.root / "usr").rglob("*") if not path.is_dir()]
        if left:
            sys.exit(f"left behind after removal: {left}")


class User:
    """Somebody who works with the installed packages."""

    def __init__(self, usr, work, options):
        self.usr, self.work = usr, work
        toolchain, emulator = options.foreign or (None, "")
        self.toolchain = [f"-DCMAKE_TOOLCHAIN_FILE={toolchain}"] if toolchain else []
        self.compiler = "aarch64-linux-gnu-gcc" if toolchain else os.environ.get("CC", "cc")
        self.emulator = shlex.split(emulator)
        self.env = clean_environment(PKG_CONFIG_PATH=str(usr / "lib/pkgconfig"), RKNNSIM_CHECK="strict")
        self.plugin = usr / "lib/ggml-rknpu2/libggml-rknpu2.so"
        self.simulator = usr / "lib/ggml-rknpu2/rknnsim/librknnrt.so"

    def run(self, *command, **environment):
        return run(*self.emulator, *command, env=self.env | environment)

    def check_tools(self):
        report = self.run(self.usr / "bin/rknpu2-info", GGML_RKNPU2_RUNTIME="sim")
        if str(self.simulator) not in report or "simulat" not in report:
            sys.exit(f"rknpu2-info does not find the installed simulator {self.simulator}\n{report}")
        numbers = self.run(self.usr / "bin/rknpu2-bench", "matmul", "--runtime", "sim", "--shape", "2x64x32", "--rounds", "1",
                           "--format", "csv")
        if not re.search(r"\b2,64,32\b|2x64x32", numbers):
            sys.exit(f"rknpu2-bench multiplies nothing\n{numbers}")
        diagnosis = self.run(self.usr / "bin/rknpu2-doctor", "--runtime", "sim", "--quick")
        if "every bit right" not in diagnosis or " 0 problems" not in diagnosis:
            sys.exit(f"rknpu2-doctor does not find the installed simulator well\n{diagnosis}")

    def check_manual_pages(self):
        """A page for each program, which has every option and subcommand of its --help."""
        for program in [name for names in PAGES.values() for name in names]:
            page = self.usr / f"share/man/man1/{program}.1.gz"
            if not page.is_file():
                sys.exit(f"there is no manual page {page.relative_to(self.usr)}")
            text = gzip.decompress(page.read_bytes()).decode().replace("\\-", "-")
            if not text.startswith(f".TH {program.upper()} 1 ") or f"\n{program} - " not in text:
                sys.exit(f"{page.name} does not begin as a manual page does\n{text[:400]}")
            # A script is called without the emulator.
            script = (self.usr / "bin" / program).read_bytes().startswith(b"#!")
            ask = (lambda *words: run(*words, env=self.env)) if script else self.run
            helps = [ask(self.usr / "bin" / program, "--help")]
            subcommands = re.findall(r"^  (\w+) ", helps[0].partition("Subcommands:\n")[2], re.M)
            helps += [ask(self.usr / "bin" / program, name, "--help") for name in subcommands]
            if script and helps[0].splitlines()[-1] not in text:
                sys.exit(f"{page.name} does not say what {program} --help says\n{text}")
            options = [option for said in helps for option in options_of(said)]
            if not script and len(options) < 3:
                sys.exit(f"{program} --help names the options {options} only\n{helps}")
            for option in options:
                if not re.search(rf"^\\fB.*{re.escape(option)}\b", text, re.M):
                    sys.exit(f"{page.name} lacks {option}\n{text}")
            for name in subcommands:
                if f'.SH SUBCOMMAND {name.upper()}\n' not in text:
                    sys.exit(f"{page.name} lacks the subcommand {name}\n{text}")

    def check_consumers(self):
        """The plug-in by CMake and by pkg-config, and an example of the simulator by both."""
        plugin = run("pkg-config", "--variable=plugin", "ggml-rknpu2", env=self.env).strip()
        if pathlib.Path(plugin).resolve() != self.plugin.resolve():
            sys.exit(f"pkg-config says that the plug-in is {plugin}")
        program = self.work / "consumer-pc"
        run(self.compiler, "-std=c99", "-Wall", "-Werror", f'-DPLUGIN="{plugin}"', HERE / "consumer/consumer.c", "-o", program, "-ldl")
        flags = run("pkg-config", "--cflags", "--libs", "rknnsim", env=self.env).split()
        example = self.work / "example-pc"
        run(self.compiler, "-std=c99", self.usr / "share/rknnsim/examples/matmul_normal.c", *flags, "-lm", "-o", example)
        consumer = self.build(HERE / "consumer", "consumer-cmake") / "consumer"
        cmake_example = self.build(self.usr / "share/rknnsim/examples", "example-cmake") / "matmul_normal"
        for opener in (program, consumer):
            text = self.run(opener)
            if "opened" not in text or "ggml-rknpu2: not loaded" not in text:
                sys.exit(f"{opener}: unexpected output\n{text}")
        for multiplication in (example, cmake_example):
            if self.run(multiplication).count(": correct\n") != 1:
                sys.exit(f"{multiplication}: the result is not correct")

    def build(self, source, name):
        folder = self.work / name
        run("cmake", "-S", source, "-B", folder, f"-DCMAKE_PREFIX_PATH={self.usr}", f"-DCMAKE_FIND_ROOT_PATH={self.usr}",
            *self.toolchain, env=self.env)
        run("cmake", "--build", folder, env=self.env)
        return folder

    def check_service(self, directory):
        """The systemd unit is well-formed and no root's; its environment's names are known, and make a server show the device."""
        folder = self.usr / "share/ggml-rknpu2/systemd"
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str
        unit.read(folder / "llama-server-rknpu2.service")
        service = unit["Service"]
        if service["DynamicUser"] != "yes" or "User" in service or service["SupplementaryGroups"].split() != ["video", "render"]:
            sys.exit(f"the unit's user is none of its own with the device's groups: {dict(service)}")
        if shutil.which("systemd-analyze") and (said := run("systemd-analyze", "verify", "--recursive-errors=no",
                                                            folder / "llama-server-rknpu2.service")):
            sys.exit(f"systemd-analyze has something to say about the unit\n{said}")
        variables = dict(line.split("=", 1) for line in (folder / "llama-server.env").read_text().splitlines() if not line.startswith("#"))
        if pathlib.Path(variables["GGML_BACKEND_PATH"]) != pathlib.Path("/usr") / self.plugin.relative_to(self.usr):
            sys.exit(f"the unit's plug-in is {variables['GGML_BACKEND_PATH']}")
        if unknown := [name for name in variables if name.startswith("GGML_RKNPU2_") and name not in (ROOT / "docs/settings.md").read_text()]:
            sys.exit(f"no settings: {unknown}")
        if not directory:
            return
        server = pathlib.Path(directory) / "llama-server"
        variables |= {"LLAMA_SERVER": str(server), "GGML_BACKEND_PATH": str(self.plugin), "GGML_RKNPU2_RUNTIME": "sim"}
        text = run(server, "--help")
        if unknown := [name for name in variables if name.startswith("LLAMA_ARG_") and not re.search(rf"env: {name}\b", text)]:
            sys.exit(f"llama-server knows no {unknown}")
        command = [string.Template(word).substitute(variables) for word in service["ExecStart"].split()]
        if "RKNPU0" not in (text := run(*command, "--list-devices", env=clean_environment() | variables)):
            sys.exit(f"the unit's server does not show the device\n{text}")

    def check_host(self, directory):
        text = self.run(pathlib.Path(directory) / "llama-bench", "--list-devices", GGML_BACKEND_PATH=str(self.plugin),
                        GGML_RKNPU2_RUNTIME="sim")
        if "RKNPU0" not in text:
            sys.exit(f"llama.cpp does not show the installed plug-in's device\n{text}")


def check_no_paths_of_the_build(root, build):
    """A package says nothing of where it was built, or it would be another one elsewhere."""
    source = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", (build / "CMakeCache.txt").read_text(), re.M)[1]
    for file in root.rglob("*"):
        if file.is_file() and not file.is_symlink() and source.encode() in file.read_bytes():
            sys.exit(f"{file.relative_to(root)} contains the path of its source, {source}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--foreign", nargs=2)
    parser.add_argument("--host", default="")
    options = parser.parse_args()
    for tool in ("cpack", "dpkg", "dpkg-deb", "pkg-config", "readelf"):
        if shutil.which(tool) is None:
            print(f"skipped: there is no {tool} here")
            sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="rknpu2-debian.") as name:
        folder = pathlib.Path(name).resolve()
        folder.chmod(0o755)
        packages = make_packages(options.build, folder / "first")
        if sorted(packages) != PACKAGES:
            sys.exit(f"the packages are {sorted(packages)}, not {PACKAGES}")
        check_reproducible(packages, make_packages(options.build, folder / "second"))
        tree = Tree(folder / "root", options.foreign)
        tree.install(packages)
        usr = folder / "root/usr"
        binaries = {"ggml-rknpu2": [usr / "lib/ggml-rknpu2/libggml-rknpu2.so"],
                    "rknnsim": [usr / "lib/ggml-rknpu2/rknnsim/librknnrt.so", usr / "lib/ggml-rknpu2/rknnsim/librknnsim-dma-heap.so"],
                    "rknpu2-tools": [usr / "bin/rknpu2-info", usr / "bin/rknpu2-bench", usr / "bin/rknpu2-doctor"]}
        architecture = "arm64" if options.foreign else run("dpkg", "--print-architecture").strip()
        for package in PACKAGES:
            check_control(package, packages[package], binaries[package], architecture)
        check_debian_folder(packages)
        check_no_paths_of_the_build(folder / "root/usr", options.build)
        (folder / "work").mkdir()
        user = User(usr, folder / "work", options)
        user.check_tools()
        user.check_manual_pages()
        user.check_consumers()
        user.check_service(options.host)
        if options.host:
            user.check_host(options.host)
        tree.check_removal()
    print("Debian packages: all checks passed")


if __name__ == "__main__":
    main()
