# SPDX-License-Identifier: MIT
"""Checksums of multiplications: the same with and without fusion, and a wrong result shows."""

import checksums
import harness
from harness import HostTest


class Checksums(HostTest):
    """GGML_RKNPU2_CHECKSUMS."""

    def record(self, name, **extra):
        path = self.folder / f"{name}.txt"
        # A repeated run would add to the file.
        run = self.complete(count=3, extra={"GGML_RKNPU2_CHECKSUMS": str(path), **extra}, says=harness.WHOLE_TEXT,
                            before=lambda: path.unlink(missing_ok=True))
        return run, path

    def test_every_row_of_every_multiplication(self):
        plain = self.complete(count=3, says=harness.WHOLE_TEXT)
        (apart, one), (together, other) = (self.record(str(fuse), GGML_RKNPU2_FUSE=str(fuse)) for fuse in (0, 1))
        self.assertEqual(apart.out, plain.out)
        self.assert_ran_on_npu(together)
        one, other = checksums.read(one), checksums.read(other)
        self.assertEqual({key.weight for key in one}, set(plain.stats.names()))
        self.assertEqual({key.precision for key in one}, {"balanced"})
        gates = {key.weight for key in other} - {key.weight for key in one}
        self.assertEqual(gates, {f"blk.{i}.ffn_gate.weight & blk.{i}.ffn_up.weight" for i in range(30)})
        keys = checksums.common(one, other)
        self.assertEqual(keys, {key for key in other if key.weight not in gates}, "fusion gave a multiplication other input")
        # The warm-up has two tokens, the prompt five, and two follow.
        rows = [key for key in keys if key.weight == "blk.0.attn_q.weight"]
        self.assertGreaterEqual(len(rows), 7)
        self.assertLess(len(rows), 12)
        print(f"{len(one)} rows, {len(keys)} of them in both files, {len(other) - len(keys)} of gates")

    def test_a_wrong_result_shows(self):
        """A run that the simulator answers with success and never does; its checker would give it away."""
        right, wrong = (checksums.read(self.record(name, RKNNSIM_CHECK="off", **faults)[1])
                        for name, faults in (("right", {}), ("wrong", {"RKNNSIM_FAULTS": "lost:nth=700:code=0"})))
        with self.assertRaises(checksums.TwoOutputs) as caught:
            checksums.common(right, wrong)
        print(caught.exception)

    def test_two_results_in_one_file_show(self):
        path = self.record("one")[1]
        first = path.read_text(encoding="utf-8").splitlines()[0].split(" ")
        path.write_text(path.read_text(encoding="utf-8") + " ".join([first[0], "0" * 32, *first[2:]]) + "\n", encoding="utf-8")
        with self.assertRaises(checksums.TwoOutputs):
            checksums.read(path)

    def test_a_file_that_cannot_be_written_is_an_error(self):
        path = self.folder / "nowhere/at/all"
        run = self.complete(count=1, extra={"GGML_RKNPU2_CHECKSUMS": str(path)})
        self.assert_says(rf"no NPU: GGML_RKNPU2_CHECKSUMS: cannot write {path}: No such file", run.log)


if __name__ == "__main__":
    harness.main()
