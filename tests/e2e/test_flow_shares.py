# SPDX-License-Identifier: MIT
"""How many of the multiplications of a 512-token prompt flow, for each family of the real-width tests, and what ends the others' stretches.

The counters `prompt_matmuls`, `flow_matmuls` and `flow_stops` tell. A graph's shape does not depend on widths, so the models are narrow; they
have twelve layers (lfm2 two, as its generator knows them). The table is docs/measurements/flows.csv.
"""

import csv

import harness
import real_widths
from harness import HostTest

PROGRAM = harness.BUILD_DIR / "bin" / "logits_of_model"
TABLE = harness.ROOT / "docs" / "measurements" / "flows.csv"
LEAST = 0.9
# Below LEAST, and why.
FEWER = {
    "lfm2": "its convolutions go from token to token",
    "mamba": "its states go from token to token",
    "t5": "its attention is no FLASH_ATTN_EXT: positions are added to the scores",
    **dict.fromkeys(("llama with experts", "gpt-oss with experts", "deepseek2 with experts"), "each expert has other rows"),
}


def families():
    """{name: a narrow model} of each architecture, with and without experts."""
    found = {}
    for w in real_widths.MODELS.values():
        name = w.arch + (" with experts" if w.experts else "")
        kv_heads = 4 if w.kv_heads == w.heads else min(w.kv_heads, 2)
        found.setdefault(name, w._replace(type="q8_0", head="q8_0", embedding=256, feed_forward=512 if w.feed_forward else 0, heads=4,
                                          kv_heads=kv_heads, head_size=64, layers=w.layers if w.arch == "lfm2" else 12))
    return found


class FlowShares(HostTest):
    def share(self, name, w):
        """A row of the table."""
        real_widths.MODELS[name] = w
        try:
            model = self.folder / "model.gguf"
            real_widths.write_model(name, model)
        finally:
            del real_widths.MODELS[name]
        options = ["--encoder"] if w.arch == "bert" else []
        run = self.host(PROGRAM, model, self.folder / "logits", "--lengths", "512", *options, precision="default",
                        extra={"GGML_RKNPU2_EXPERTS": "npu"})
        counts = run.stats.document
        self.assertGreater(counts["prompt_matmuls"], 4, name)
        stops = "; ".join(f"{what} ({count})" for what, count in sorted(counts["flow_stops"].items()))
        return {"family": name, "multiplications": counts["prompt_matmuls"], "flow": counts["flow_matmuls"],
                "share": f"{counts['flow_matmuls'] / counts['prompt_matmuls']:.2f}", "stretches end before": stops, "why fewer": FEWER.get(name, "")}

    def test_at_least_nine_of_ten(self):
        rows = [self.share(name, w) for name, w in families().items()]
        for row in rows:
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        out = harness.OUT_DIR / "flows.csv"
        with open(out, "w", newline="", encoding="utf-8") as target:
            writer = csv.DictWriter(target, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        fewer = [row["family"] for row in rows if float(row["share"]) < LEAST]
        self.assertEqual(sorted(fewer), sorted(FEWER))
        self.assertEqual(out.read_text(encoding="utf-8"), TABLE.read_text(encoding="utf-8"), f"copy {out} to {TABLE}")


if __name__ == "__main__":
    harness.main()
