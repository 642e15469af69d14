# SPDX-License-Identifier: MIT
"""The cache of packed weights: the second start of a model reads what the first one packed, and says the same."""

import shutil

import harness
from harness import ALL_WEIGHTS, HostTest


class WeightCache(HostTest):
    def run_with(self, cache, before=None, **extra):
        run = self.complete(count=8, extra={"GGML_RKNPU2_WEIGHT_CACHE": str(cache), **extra}, says=harness.WHOLE_TEXT, before=before)
        self.assert_ran_on_npu(run)
        self.assertIn("Paris", run.out)
        return run, run.stats.document["weight_cache"], run.stats.document["time_us"]

    def test_the_second_start_loads_every_weight(self):
        cache = self.folder / "weights"
        plain, counts, time = self.run_with("off")
        self.assertEqual(set(counts.values()), {0})
        self.assertEqual(time["load"] + time["store"], 0)
        first, counts, time = self.run_with(cache, before=lambda: shutil.rmtree(cache, ignore_errors=True))
        self.assertEqual((counts["loaded"], counts["written"], counts["rejected"]), (0, ALL_WEIGHTS, 0))
        self.assertEqual(len(list(cache.glob("*.rknpuw"))), ALL_WEIGHTS)
        self.assertEqual(sum(path.stat().st_size for path in cache.iterdir()), counts["written_bytes"])
        second, counts, time = self.run_with(cache)
        self.assertEqual((counts["loaded"], counts["written"], counts["rejected"]), (ALL_WEIGHTS, 0, 0))
        self.assertEqual(counts["loaded_ahead"], ALL_WEIGHTS)
        self.assertEqual(time["pack"], 0)
        self.assertEqual(first.out, plain.out)
        self.assertEqual(second.out, plain.out)
        self.assertEqual(second.stats.weights, plain.stats.weights)

    def test_damaged_files_are_made_again(self):
        cache = self.folder / "weights"
        first = self.run_with(cache)[0]
        chosen = list(cache.iterdir())[:5]

        def damage():
            for path in chosen:
                path.write_bytes(path.read_bytes()[:-1])

        second, counts, _ = self.run_with(cache, before=damage)
        self.assertEqual((counts["loaded"], counts["written"], counts["rejected"]), (ALL_WEIGHTS - 5, 5, 5))
        self.assertEqual(second.log.count("cut short; the weight is packed again"), 5)
        self.assertEqual(second.out, first.out)

    def test_auto_is_in_the_cache_directory(self):
        cache = self.folder / "cache"
        self.run_with("auto", before=lambda: shutil.rmtree(cache, ignore_errors=True), RKNPU2_CACHE=str(cache))
        self.assertEqual(len(list((cache / "weights").iterdir())), ALL_WEIGHTS)


if __name__ == "__main__":
    harness.main()
