# SPDX-License-Identifier: MIT
"""The blocks of commands that no test can run, each with its reason; a new one has to be entered here, for a reviewer to see.

The reasons stand above the blocks, too (`<!-- not run: REASON -->`). Such blocks are checked all the same for syntax, for
programs and for options (commands.py).
"""

# (page, reason) -> how many blocks
REVIEWED = {
    ("CONTRIBUTING.md", "an hour or more, and it is what runs these tests"): 1,
    ("docs/fuzzing.md", "needs clang, which nothing else here does, and minutes"): 1,
    ("docs/install.md", "starts a service of a board"): 1,
    ("docs/measurements/architectures.md", "it is what runs these tests; with the long ones, hours"): 1,
    ("docs/measurements/host-speed.md", "half an hour on an idle machine, which is the point of it"): 1,
    ("docs/measurements/instructions.md", "builds for AArch64 once more; the test it names runs in every whole test"): 1,
    ("docs/quality.md", "an hour and more with the simulator"): 2,
    ("docs/user-guide.md", "a server runs until it is stopped; tests/e2e/test_soak.py has one answer requests"): 1,
    ("docs/user-guide.md", "changes the groups of a user, on a board"): 1,
    ("docs/user-guide.md", "names the fast cores of a board"): 1,
}
