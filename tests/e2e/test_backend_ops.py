# SPDX-License-Identifier: MIT
"""ggml's own test-backend-ops on our device: it compares each operation with the CPU backend.

That program ignores the status of a graph, seeds itself at random and is content when the device is missing; so the device's
own lines and the number of cases that went through the NPU are required here.
"""

import re

import harness
from harness import HostTest

DEVICE = "RKNPU0"
# A few cases have 128 experts, up to 8192 x 5120 each: 12 GB, and ten minutes of random numbers. So have those of IQ3_S with 512
# and more, which ggml makes slowly. AllOperations runs them.
NO_GIANTS = "^(?!.*n_mats=128|.*iq3_s.*n_mats=(512|1024)"
# Most cases of MUL_MAT_ID are one product of 11 types, experts, uses and rows n. By default each of the three tests has two of
# the six n, so that together they have all, and one has all types. AllMultiplications has each with all, and the 32 experts of
# 2880 x 2880.
ROWS = {"exact": (1, 32), "default": (4, 17), "cpu": (5, 129)}
FEW_TYPES = "^(?=.*type_a=(f32|f16|bf16|q4_0|q4_K|mxfp4))"


def part(name):
    """A pattern for the cases of MUL_MAT_ID that the test of this name has by default."""
    others = "|".join(str(n) for rows in ROWS.values() for n in rows if n not in ROWS[name])
    return f"{'' if name == 'default' else FEW_TYPES}{NO_GIANTS}|.*m=512,n=({others}),k=256|.*k=2880)"


# All but those whose numbers take ggml longest to make; "balanced" has each.
EXACT = "type_a=(f32|f16|bf16|q4_0|q8_0|q4_K|q6_K|mxfp4)"
# As "balanced" but for the second plane of activations.
FAST = "type_a=(f16|q4_0|q6_K|mxfp4)"


class BackendOps(HostTest):
    """Every case that our device accepts has the right result, and many cases were really multiplied by the NPU."""

    def run_ops(self, precision, *arguments, timeout=1800, extra=None):
        """Runs the program; checks the device's lines and that N of N passed. Returns (stats, N)."""
        # Its data are random, and a single result near zero has a large relative error by chance: what is wrong fails again.
        still = None
        for _ in range(4):
            run = self.host("test-backend-ops", "test", "-b", DEVICE, *arguments, precision=precision, timeout=timeout, code=None,
                            extra=extra)
            text = re.sub(r"\x1b\[[0-9;]*m", "", run.out)
            failed = set(re.findall(r"(\w+\(type.*\)): .*FAIL", text))
            still = failed if still is None else still & failed
            if not still or len(failed) > 5:
                break
        if still or (run.code != 0 and not failed):
            shown = "\n".join(sorted(still)[:20]) or harness.tail(text + run.log)
            self.fail(f"test-backend-ops ended with {run.code}, {len(still)} cases failed each time:\n{shown}")
        self.assert_says(r"Device description: Rockchip RK3588 NPU", text)
        part = text[text.index(f": {DEVICE}\n"):]
        passed, total = map(int, self.assert_says(r"(\d+)/(\d+) tests passed", part).groups())
        self.assertEqual(passed + len(failed), total)
        self.assertGreater(total, 0, "no case ran")
        if not failed:
            self.assert_says(rf"Backend {DEVICE}: OK", part)
        self.assertEqual(run.stats.failures, 0)
        print(f"{precision} {' '.join(arguments)}: {passed}/{total} passed, {run.stats.npu} multiplied by the NPU; the CPU:",
              ", ".join(f"{count} ({reason})" for reason, count in run.stats.refused.items()) or "no matmul")
        return run.stats, total

    everything = False

    def check_mul_mat(self, precision, counter, pattern=""):
        pattern = "" if self.everything else pattern
        stats, total = self.run_ops(precision, "-o", "MUL_MAT", "-p", pattern)
        self.assertGreater(stats.npu, 60 if pattern else 300, "cases multiplied by the NPU")
        self.assertEqual(getattr(stats, counter), stats.npu)
        self.assertGreater(total, 300 if pattern else 1000)

    def check_mul_mat_id(self, precision, counter):
        """Experts by the NPU, whatever the cost model says; with "cpu", from copies for the CPU."""
        place = "npu" if counter else "cpu"
        name = precision if counter else "cpu"
        pattern = NO_GIANTS + ")" if self.everything else part(name)
        stats, total = self.run_ops(precision, "-o", "MUL_MAT_ID", "-p", pattern, extra={"GGML_RKNPU2_EXPERTS": place})
        least = 300 if self.everything else 190 if name == "default" else 150
        self.assertGreater(total, least)
        self.assertGreater(stats.experts[place], least, stats.experts)
        self.assertEqual(stats.experts["cpu" if counter else "npu"], 0)
        if counter:
            # A case of which the host wants the activations as floats is fp16 in every precision.
            self.assertEqual(stats.int8 + stats.fp16, stats.npu)
            self.assertGreater(getattr(stats, counter), 0.99 * stats.npu)
        else:
            self.assertGreater(stats.experts["cpu_copies"], 10)

    def test_mul_mat_exact(self):
        self.check_mul_mat("exact", "fp16", EXACT)

    def test_mul_mat_fast(self):
        self.check_mul_mat("fast", "int8", FAST)

    def test_mul_mat_compact(self):
        """These weights are no model's, and keep eight bits: random numbers in four are twenty times further off than a case may be."""
        self.check_mul_mat("compact", "int8", FAST)

    def test_mul_mat_balanced(self):
        self.check_mul_mat("default", "int8")

    def test_mul_mat_id_exact(self):
        self.check_mul_mat_id("exact", "fp16")

    def test_mul_mat_id_balanced(self):
        self.check_mul_mat_id("default", "int8")

    def test_mul_mat_id_on_the_cpu(self):
        self.check_mul_mat_id("default", None)


class AllMultiplications(BackendOps):
    """No case left out but the giants."""

    everything = True


class AllOperations(BackendOps):
    """All operations of ggml, those that the inner CPU backend computes for us too: half an hour on two cores."""

    test_mul_mat_exact = test_mul_mat_fast = test_mul_mat_compact = test_mul_mat_balanced = None
    test_mul_mat_id_exact = test_mul_mat_id_balanced = test_mul_mat_id_on_the_cpu = None

    def test_all(self):
        stats, total = self.run_ops("default", timeout=3900)
        self.assertGreater(total, 5000)
        self.assertGreater(stats.npu, 300)


if __name__ == "__main__":
    harness.main()
