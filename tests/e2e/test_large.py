# SPDX-License-Identifier: MIT
"""A whole model whose packed weights do not fit into one address space of the NPU, which has 4 GiB."""

import harness
import made_models
from test_features import Close

# Twelve layers of Llama-2-7B: 2.4 billion weights, 4.9 GB as fp16. A file of 1.4 GB.
SIZES = made_models.Sizes(4096, 32, 11008, layers=12, type="q4_0")
ADDRESS_SPACE = 4 << 30


class Large(Close):
    def test_more_than_one_address_space(self):
        model = self.folder / "large.gguf"
        matrices, _ = made_models.write_model(model, SIZES)
        cpu = self.logits("cpu", "-m", model, precision=None)
        run, (divergence, same_top) = self.logits("", "-m", model, precision="exact", base=cpu)
        packed = sum(weight["packed_bytes"] for weight in run.stats.weights)
        print(f"{packed / 1e9:.2f} GB packed, KLD {divergence}, same top {same_top} %")
        self.assertEqual(run.stats.names(), matrices)
        self.assertGreater(packed, ADDRESS_SPACE)
        self.assert_ran_on_npu(run, len(matrices))
        self.assertEqual(run.stats.refused, {})
        self.assertGreaterEqual(same_top, 95)


if __name__ == "__main__":
    harness.main()
