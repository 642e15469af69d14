# SPDX-License-Identifier: MIT
"""What can be told about a page's commands without running them: syntax, programs, options, presets, variables."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pages
from pages import ROOT

# Programs of a board's or a PC's system that commands may name; whether they are installed is not asked.
SYSTEM = set("apt apt-get cat cc chmod cmake cp ctest cut dpkg echo g++ getent git grep groups id install ls mkdir ninja perf pip pkg-config "
             "python3 rm scp sha256sum ssh stat sudo sysctl systemctl tee uname usermod".split())
BUILTINS = set("cd export exit set source test true false ulimit unset".split())
# A user's own: the page says "your program".
USERS = {"./program"}
# They run the command behind them.
WRAPPERS = {"sudo", "env", "time", "nice"}
OURS = {"rknpu2-info", "rknpu2-bench", "rknpu2-doctor", "rknnsim-run", "test_sim_random", "test_ggml_random"}
# Options that prose names without their programs: of compilers, cmake, libFuzzer, containers.
OTHERS_OPTIONS = re.compile(r"-[DWOl]\w+|-march|-minimize_crash|-max_total_time|-timeout|-max_len|--preset|--pids-limit")
OPERATORS = {";", "&&", "||", "|", "(", ")", "&", ";;"}


def substitutions(line):
    """The line with every $(...) replaced, and what stood inside them."""
    inner = []
    while (start := line.find("$(")) >= 0:
        depth, end = 0, start + 1
        while end < len(line):
            depth += {"(": 1, ")": -1}.get(line[end], 0)
            if depth == 0:
                break
            end += 1
        inner.append(line[start + 2:end])
        line = f"{line[:start]}SUBSTITUTED{line[end + 1:]}"
    return line, inner


def simple_commands(text):
    """Yields the words of every simple command, redirections left out. ValueError when a quote is open."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line, inner = substitutions(line)
        for part in inner:
            yield from simple_commands(part)
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        words, skip = [], False
        for word in lexer:
            if word in OPERATORS:
                if words:
                    yield words
                words = []
            elif re.fullmatch(r"\d*[<>]+&?\d*", word):
                skip = True
            elif skip:
                skip = False
            else:
                words.append(word)
        if words:
            yield words


class Checker:
    """Findings on blocks. `build` is a build folder, `host` the programs of llama.cpp; what they lack is not asked about."""

    def __init__(self, root=ROOT, build=None, host=None):
        self.root, self.build, self.host = root, build, host
        self.helps = {}
        self.asked = 0  # options that a program's --help was asked about
        cmake = [root / "CMakeLists.txt", *(root / "cmake").glob("*.cmake"),
                 *(path for folder in ("src", "sim", "tools", "bench", "tests", "packaging") if (root / folder).is_dir()
                   for path in (root / folder).rglob("CMakeLists.txt"))]
        self.cmake = "\n".join(path.read_text() for path in cmake if path.is_file())
        self.presets = (root / "CMakePresets.json").read_text() if (root / "CMakePresets.json").is_file() else ""

    def text(self, *names):
        return "".join((self.root / name).read_text() for name in names if (self.root / name).is_file())

    def knows_variable(self, name):
        """Is this one of ours a setting, and of what?"""
        if name.startswith("GGML_RKNPU2_"):
            return f'"{name}"' in self.text("src/config/config.cpp")
        if name.startswith("RKNNSIM_"):
            return f'"{name}"' in self.text("sim/core/settings.cpp")
        if name.startswith("RKNPU2_"):
            where = [*(self.root / "scripts").glob("*"), *(self.root / "tests").rglob("*.py"), *(self.root / "tests").rglob("*.hpp"),
                     *(self.root / "bench").rglob("*.py")]
            return name in self.cmake or any(name in path.read_text() for path in where if path.is_file())
        return True

    def is_target(self, name):
        fuzz = re.fullmatch(r"fuzz_(?:replay_)?(\w+)", name)
        if fuzz:
            return f"rknpu2_fuzz(NAME {fuzz[1]} " in self.cmake or re.search(rf"\b{name}\b", self.cmake) is not None
        return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", self.cmake) is not None

    def help_of(self, command):
        """What `command --help` prints; None when there is nothing to ask."""
        if command not in self.helps:
            try:
                done = subprocess.run([*command, "--help"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, cwd=self.root)
                self.helps[command] = done.stdout + done.stderr
            except OSError:
                self.helps[command] = None
        return self.helps[command]

    def built(self, name):
        return next((path for path in (self.build / "bin" / name, self.build / "tests" / name) if path.is_file()), None) if self.build else None

    def program(self, word):
        """(finding or None, path of what can be asked for --help or None) of a command's first word."""
        name = word.rsplit("/", 1)[-1]
        in_build = re.fullmatch(r"(?:\./)?build/(\w+)/(?:bin|sim)/([\w.-]+)", word)
        if in_build:
            if f'"name": "{in_build[1]}"' not in self.presets:
                return f"there is no preset {in_build[1]}", None
            return (None, self.built(name)) if self.is_target(name) else (f"nothing builds {word}", None)
        if name in OURS:
            return None, self.built(name)
        if name.startswith("llama-") or name == "ggml-rpc-server":
            path = self.host / name if self.host else None
            if path is not None and not path.is_file():
                return f"llama.cpp has no program {name}", None
            return None, path
        if word in BUILTINS | USERS or name in SYSTEM and "/" not in word or "$" in word or word.startswith(("~", "/")):
            return None, None
        if "/" in word:
            path = self.root / word
            if not path.is_file():
                return f"{word} is not there", None
            return (None, path) if os.access(path, os.X_OK) else (f"{word} cannot be executed", None)
        return (None, None) if shutil.which(word) else (f"{word} is no program that is known", None)

    def options(self, path, words):
        """Yields the options among the words that the program does not list."""
        words = list(words)
        command = (str(path),)
        text = self.help_of(command) or ""
        if words and re.match(r"[a-z]", words[0]) and re.search(rf"^ +{re.escape(words[0])}\b", text, re.M):
            text += self.help_of((*command, words[0])) or ""
        for word in words:
            option = word.split("=", 1)[0]
            if not re.match(r"--?[A-Za-z]", option):
                continue
            self.asked += 1
            if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text):
                yield f"{path.name} does not list {option}"

    def host_programs(self):
        return sorted(path for path in self.host.iterdir() if path.name.startswith(("llama-", "ggml-rpc-")) and os.access(path, os.X_OK)) if self.host else []

    def is_listed(self, option):
        """Does a program of llama.cpp or of ours have this option? Ours by their sources, since not all are built."""
        ours = [*(self.root / "scripts").glob("*"), *(self.root / "tests/docs").glob("test_commands.py"), *(self.root / "packaging").rglob("*"), *(self.root / "sim/launcher").glob("*"),
                *(path for folder in ("tools", "bench", "tests/sim") for path in (self.root / folder).rglob("*.cpp"))]
        named = re.compile(rf"(?<![\w-]){re.escape(option)}(?![\w-])")
        self.asked += 1
        return (any(named.search(self.help_of((str(path),)) or "") for path in self.host_programs()) or
                any(named.search(path.read_text(errors="replace")) for path in ours if path.is_file()))

    def span(self, text):
        """Yields what is wrong with a code span in prose: a command of llama.cpp, or an option by itself, which must be one of the host's or ours."""
        words = text.split()
        if words and re.match(r"llama-|ggml-rpc-server$", words[0]) and len(words) > 1:
            yield from self.command(words)
        if self.host is None or not words or not re.match(r"--?[A-Za-z]", words[0]):
            return
        for word in words:
            option = word.split("=", 1)[0]
            if re.match(r"--?[A-Za-z]", option) and not OTHERS_OPTIONS.match(option) and not self.is_listed(option):
                yield f"no program lists {option}"

    def cmake_words(self, words):
        for at, word in enumerate(words):
            following = words[at + 1] if at + 1 < len(words) else ""
            if word == "--preset" and f'"name": "{following}"' not in self.presets:
                yield f"there is no preset {following}"
            if word == "--target":
                yield from (f"nothing builds {name}" for name in words[at + 1:] if not name.startswith("-") and not self.is_target(name))
            defined = re.match(r"-D(\w+)", word)
            if defined and not defined[1].startswith(("CMAKE_", "BUILD_", "GGML_", "LLAMA_")) and defined[1] not in self.cmake:
                yield f"{defined[1]} is no option of the build"

    def command(self, words):
        """Yields what is wrong with one simple command."""
        words = list(words)
        while words and re.match(r"\w+=", words[0]):
            name = words.pop(0).split("=", 1)[0]
            if not self.knows_variable(name):
                yield f"{name} is no setting"
        if words and words[0] == "export":
            yield from self.command([word for word in words[1:] if "=" in word])
            return
        if words and words[0] in WRAPPERS:
            yield from self.command(words[1:])
            return
        if not words:
            return
        if words[0] == "python3" and len(words) > 1 and words[1].endswith(".py"):
            words = words[1:]
            finding, path = (None, self.root / words[0]) if (self.root / words[0]).is_file() else (f"{words[0]} is not there", None)
            if path is not None and not os.access(path, os.X_OK):
                path = None
        else:
            finding, path = self.program(words[0])
        if finding:
            yield finding
        if words[0] in ("cmake", "ctest"):
            yield from self.cmake_words(words)
        elif path is not None and words[0].rsplit("/", 1)[-1] != "rknnsim-run":
            yield from self.options(path, words[1:])

    def block(self, block):
        """Yields `page:line: what is wrong` for one block."""
        syntax = subprocess.run(["bash", "-n"], input=block.commands, capture_output=True, text=True)
        if syntax.returncode != 0:
            yield f"{block}: {syntax.stderr.strip().splitlines()[0]}"
            return
        try:
            for words in simple_commands(block.commands):
                for finding in self.command(words):
                    yield f"{block}: {finding}"
        except ValueError as error:
            yield f"{block}: {error}"

    def prose(self, page, text):
        """Yields `page:line: what is wrong` for the code spans of a page."""
        for line, span in pages.spans_of(text):
            for finding in self.span(span):
                yield f"{page}:{line}: {finding}"

    def variables(self, page, text):
        """Yields the settings that a page names and that do not exist."""
        for found in re.finditer(r"\b(GGML_RKNPU2_[A-Z_]*[A-Z]|RKNNSIM_[A-Z0-9_]*[A-Z0-9])\b(?![_*])", text):
            if not self.knows_variable(found[1]) and found[1] not in self.cmake:
                yield f"{page}:{text.count(chr(10), 0, found.start()) + 1}: {found[1]} is no setting"
