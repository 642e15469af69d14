#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the simulator does to the process that it lives in, and that process to it: closed descriptors, limits, signals,
cancelled threads, forked children, programs with more rights than their user. The processes are tests/sim/program.c.

    test_processes.py PROGRAM [--emulator COMMAND] [--sanitized]
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM, EMULATOR, SANITIZED = "", [], False


class Processes(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="rknnsim-processes.")
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def run_program(self, *arguments, shell="", status=0, program=None, user_settings=None, **settings):
        """stdout and stderr. `shell`: what a shell does before or with the program, $@."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RKNNSIM_")}
        environment |= {f"RKNNSIM_{name}": str(value) for name, value in settings.items()}
        command = [*EMULATOR, str(program or PROGRAM), *map(str, arguments)]
        if shell:
            command = ["sh", "-c", shell, "sh", *command]
        done = subprocess.run(command, env=environment, cwd=self.path, text=True, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, status, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout, done.stderr

    def test_closed_standard_descriptors(self):
        """A daemon has closed them: memory must not become descriptor 2, nor a message part of an operand."""
        for closed in ("2>&-", "0<&- 2>&-", "0<&- 1>&3 2>&- 3>&-"):
            with self.subTest(closed):
                shell = f'exec 3>&1; exec "$@" {closed}'
                out, _ = self.run_program("multiply", shell=shell)
                found = re.search(r"descriptors (\d+) (\d+) (\d+) wrong (\d+)", out)
                self.assertIsNotNone(found, out)
                self.assertTrue(all(int(number) >= 3 for number in found.groups()[:3]), out)
                self.assertEqual(found[4], "0", out)

    def test_files_are_whole_when_descriptors_are_closed(self):
        self.run_program("multiply", shell='exec "$@" 2>&-', REPORT="report", TRACE="trace")
        report = (self.path / "report").read_text()
        self.assertNotIn("error", report)
        self.assertIn("4 x 64 x 64", report)
        self.assertNotIn("error", (self.path / "trace").read_text())

    def test_refusals_are_limited(self):
        _, err = self.run_program("refuse", 5000)
        lines = err.splitlines()
        self.assertLessEqual(len(lines), 42, err)
        self.assertEqual(sum("must be a multiple of 32" in line for line in lines), 20)
        self.assertIn("rknnsim: error: exit: 5000 times rknn_matmul_create: K=# must be a multiple of #", lines)
        self.assertIn("rknnsim: error: exit: 5000 times rknn_matmul_run: # is not a context", lines)
        _, err = self.run_program("refuse", 19)
        self.assertEqual(len(err.splitlines()), 38, err)

    def test_a_cancelled_thread_ends_its_call_first(self):
        out, err = self.run_program("cancel", REALTIME=1, FAULTS="delay:nth=1:us=300000")
        self.assertEqual(out, "cancelled 1 ended 1 wrong 0\n", err)

    def test_a_forked_child_answers_for_itself_only(self):
        for mode in ("warn", "strict"):
            out, err = self.run_program("fork", "exits", CHECK=mode, status=0)
            self.assertEqual(out, "child 0\n")
            self.assertNotIn("[leak]", err)
            out, err = self.run_program("fork", "cleans", CHECK=mode)
            self.assertEqual(out, "child 0\n")
            self.assertNotIn("[leak]", err)
            out, err = self.run_program("fork", "leaks", CHECK=mode)
            self.assertEqual(out, "child 86\n" if mode == "strict" else "child 0\n")
            self.assertIn("[leak] 1 contexts are alive", err)
            self.assertIn("[leak] 3 memories", err)
            self.assertIn("[leak] 1 descriptors", err)
        _, err = self.run_program("leak", CHECK="strict", status=86)
        self.assertIn("[leak] 1 contexts are alive", err)

    def test_a_limit_of_file_sizes(self):
        out, err = self.run_program("big", shell='ulimit -f 1 && exec "$@"')
        self.assertEqual(out, "memory NULL\n")
        self.assertEqual(err, "rknnsim: error: rknn_create_mem: ftruncate for 1048576 bytes: File too large; memory of the "
                              "simulator is files: raise ulimit -f\n")
        # A report that does not fit is one line, too, and the program's status is its own.
        _, err = self.run_program("multiply", shell='ulimit -f 16 && exec "$@"', TRACE="trace")
        self.assertEqual(sorted(os.listdir(self.path)), ["trace"])
        _, err = self.run_program("leak", shell='ulimit -f 8 && exec "$@"', REPORT="a", CHECK="off")
        self.assertNotIn("too large", err)

    def test_a_program_with_more_rights_than_its_user(self):
        """Settings are the user's, and name files that are written: such a program does not look at them."""
        if os.geteuid() != 0 or EMULATOR:
            self.skipTest("needs root, to give a program another user's rights, and no emulator")
        if SANITIZED:
            self.skipTest("the leak sanitizer cannot look into a program with another user's rights")
        other = shutil.copy(PROGRAM, self.path / "program")
        os.chmod(self.path, 0o777)
        os.chown(other, 65534, 65534)
        os.chmod(other, 0o4755)
        if os.statvfs(self.path).f_flag & os.ST_NOSUID:
            self.skipTest("the file system ignores set-user-ID")
        settings = {"REPORT": self.path / "report", "TRACE": self.path / "trace", "N_MAX": 32, "NONSENSE": 1}
        _, err = self.run_program("multiply", program=other, **settings)
        self.assertEqual(sorted(os.listdir(self.path)), ["program"])
        self.assertNotIn("NONSENSE", err)
        # The same program without the rights does look.
        os.chmod(other, 0o755)
        del settings["N_MAX"]
        _, err = self.run_program("multiply", program=other, **settings)
        self.assertEqual(sorted(os.listdir(self.path)), ["program", "report", "trace"])
        self.assertIn("NONSENSE", err)


if __name__ == "__main__":
    PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
    if "--sanitized" in sys.argv:
        SANITIZED = True
        sys.argv.remove("--sanitized")
    if "--emulator" in sys.argv:
        at = sys.argv.index("--emulator")
        EMULATOR = [word for word in sys.argv[at + 1].split(";") if word]  # a list of CMake
        del sys.argv[at:at + 2]
    unittest.main()
