# SPDX-License-Identifier: MIT
"""Reading what llama-perplexity prints, the cases of a study, its cache and its drawings: scripts/quality*.py without a model.

The outputs are recorded from llama.cpp of ggml 0.25.3, cut short. Stand-ins for llama-perplexity and rknpu2-info are shell
scripts. One test: python3 test_quality.py Figures.test_all
"""

import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as tree

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import quality  # noqa: E402
import quality_figures  # noqa: E402
import quality_plots  # noqa: E402
import report  # noqa: E402
from quality_study import Case  # noqa: E402

BASE = """0.13 minutes
[1]18.1711,[2]20.0019,
"""

DIVERGENCE = """0.08 minutes

chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS            Same top p
   1      25.4647 ±    4.2958       0.33746 ±    0.04683       0.27646 ±    0.01509    13.442 ±  1.148 %    67.843 ±  2.931 %
   2      27.4997 ±    3.3352       0.31835 ±    0.03368       0.29697 ±    0.01524    13.248 ±  0.967 %    66.863 ±  2.086 %

====== Perplexity statistics ======
Mean PPL(Q)                   :  27.499668 ±   3.335217
Mean PPL(base)                :  20.001850 ±   2.402625
Cor(ln(PPL(Q)), ln(PPL(base))):  96.11%
Mean ln(PPL(Q)/PPL(base))     :   0.318349 ±   0.033680
Mean PPL(Q)/PPL(base)         :   1.374856 ±   0.046305
Mean PPL(Q)-PPL(base)         :   7.497818 ±   1.221846

====== KL divergence statistics ======
Mean    KLD:   0.296968 ±   0.015238
Maximum KLD:   3.046493
99.9%   KLD:   2.849332
99.0%   KLD:   1.965377
95.0%   KLD:   0.860033
90.0%   KLD:   0.529340
Median  KLD:   0.213187
10.0%   KLD:   0.050614
 5.0%   KLD:   0.030795
 1.0%   KLD:   0.002904
 0.1%   KLD:   0.000892
Minimum KLD:   0.000238

====== Token probability statistics ======
Mean    Δp: -5.107 ± 0.542 %
RMS Δp    : 13.248 ± 0.967 %
Same top p: 66.863 ± 2.086 %
"""

SHORT_TEXT = """0.01.655.819 I perplexity: tokenization took 2.264 ms
0.01.655.828 E perplexity: you need at least 1024 tokens to evaluate perplexity with a context of 512
0.01.655.829 E perplexity: the data file you provided tokenizes to only 198 tokens
"""


class Figures(unittest.TestCase):
    def test_all(self):
        self.assertEqual(quality_figures.figures(DIVERGENCE), {
            "kld": 0.296968, "kld_error": 0.015238, "kld_99": 1.965377, "ppl": 27.499668, "ppl_error": 3.335217,
            "base_ppl": 20.001850, "base_ppl_error": 2.402625, "same_top": 66.863, "same_top_error": 2.086})

    def test_each_one_is_needed(self):
        for line in ("Mean    KLD", "99.0%   KLD", "Mean PPL(Q)  ", "Mean PPL(base)  ", "Same top p"):
            with self.subTest(line=line), self.assertRaises(quality_figures.NoFigures):
                kept = [text for text in DIVERGENCE.splitlines() if not text.startswith(line)]
                self.assertEqual(len(kept), len(DIVERGENCE.splitlines()) - 1)
                quality_figures.figures("\n".join(kept))

    def test_tiny_and_negative_divergence(self):
        """A mode that equals the base is within rounding of zero, on either side."""
        text = DIVERGENCE.replace("0.296968 ±   0.015238", "-0.000003 ±   0.000001")
        self.assertEqual(quality_figures.figures(text)["kld"], -0.000003)

    def test_not_finite(self):
        for value in ("nan", "-nan", "inf"):
            with self.subTest(value=value), self.assertRaisesRegex(quality_figures.NoFigures, "not finite: kld"):
                quality_figures.figures(DIVERGENCE.replace("0.296968 ±", f"{value} ±"))

    def test_chunks(self):
        self.assertEqual(quality_figures.chunks_done(BASE), 2)
        self.assertEqual(quality_figures.chunks_done(DIVERGENCE), 2)
        self.assertEqual(quality_figures.chunks_done(BASE.partition("[2]")[0]), 1)
        self.assertEqual(quality_figures.chunks_done("0.13 minutes\n"), 0)

    def test_cause(self):
        self.assertEqual(quality_figures.cause(SHORT_TEXT),
                         "perplexity: you need at least 1024 tokens to evaluate perplexity with a context of 512")
        self.assertEqual(quality_figures.cause("0.01.655.819 I fine\n"), "no reason given")
        self.assertEqual(quality_figures.cause('error while handling argument "-f": error: no\n'),
                         'error while handling argument "-f": error: no')


class Cases(unittest.TestCase):
    def test_all_layers_is_one_case(self):
        found = quality.cases_of(["cpu", "fast"], ["0", "10", "30", "31", "all"], model_layers=30)
        self.assertEqual(found, [Case("cpu", 0), Case("fast", 0), Case("fast", 10), Case("fast", 99)])

    def test_layers_of_a_smaller_model(self):
        self.assertEqual(quality.cases_of(["naive"], ["10", "20"], model_layers=12), [Case("naive", 10), Case("naive", 99)])


def row(mode, ngl, matrices, kld, error=0.0001):
    return {"mode": mode, "ngl": ngl, "matrices": matrices, "chunks": 2, "kld": kld, "kld_error": error, "kld_99": 10 * kld,
            "ppl": 20.5, "ppl_error": 2.5, "base_ppl": 20.0, "same_top": 96.5, "same_top_error": 1.25, "simulated": None}


ROWS = [row("cpu", 0, 0, 0.0028), row("naive", 0, 0, 0.0028), row("naive", 10, 64, 0.09), row("naive", 99, 211, 0.24),
        row("balanced", 99, 211, 0.0026), row("exact", 99, 211, 0.000003, 0.000001)]
SVG = "{http://www.w3.org/2000/svg}"


class Drawing(unittest.TestCase):
    def setUp(self):
        self.root = tree.fromstring(quality_plots.draw(ROWS, 211, "A <model> & more"))

    def all(self, tag):
        return self.root.findall(SVG + tag)

    def texts(self):
        return ["".join(text.itertext()) for text in self.all("text")]

    def test_title_is_escaped(self):
        self.assertIn("A <model> & more", self.texts())

    def test_a_bar_for_each_mode_at_its_most_layers(self):
        bars = [bar for bar in self.all("rect") if bar.get("fill") != "white" and float(bar.get("width")) > 20]
        self.assertEqual(len(bars), 3)
        naive, balanced, exact = (float(bar.get("height")) for bar in bars)
        self.assertGreater(naive, balanced)
        self.assertGreater(balanced, exact)
        self.assertGreaterEqual(exact, 0)
        self.assertTrue({"naive", "balanced", "exact"} <= set(self.texts()))

    def test_logarithmic(self):
        """Equal ratios are equal distances: 0.24 is as far above 0.024 as that above 0.0024."""
        axis = report.LogAxis([0.0024, 0.24], 300, 100)
        low, middle, high = (axis.place(value) for value in (0.0024, 0.024, 0.24))
        self.assertAlmostEqual(low - middle, middle - high)
        self.assertEqual([axis.place(axis.decades()[0]), axis.place(axis.decades()[-1])], [300, 100])
        for value in (0, -1e-6):
            self.assertEqual(axis.place(value), 300)

    def test_a_point_for_each_number_of_matrices(self):
        points = [(float(point.get("cx")), float(point.get("cy"))) for point in self.all("circle")]
        self.assertEqual(len(points), 4)  # naive 0, 64, 211 and balanced 211
        naive = points[:3]
        self.assertEqual(naive, sorted(naive))
        self.assertEqual([y for _, y in naive], sorted((y for _, y in naive), reverse=True))

    def test_inside(self):
        width, height = float(self.root.get("width")), float(self.root.get("height"))
        for point in self.all("circle"):
            self.assertTrue(0 < float(point.get("cx")) < width and 0 < float(point.get("cy")) < height)
        for text in self.all("text"):
            self.assertTrue(0 <= float(text.get("x")) <= width and 0 < float(text.get("y")) <= height)

    def test_nothing_but_zeros_or_nothing_at_all(self):
        for rows in ([], [row("cpu", 0, 0, 0.0)], [row("reference", 99, 211, -0.000001)]):
            tree.fromstring(quality_plots.draw(rows, 0, "empty"))


HOST = """#!/bin/sh
# Writes the base or compares with it, as llama-perplexity would, and counts its runs.
echo "$GGML_RKNPU2_PRECISION $*" >>{folder}/runs
base=
while [ $# -gt 0 ]; do
    [ "$1" = --kl-divergence-base ] && base=$2
    [ "$1" = --kl-divergence ] && compare=1
    [ "$1" = -ngl ] && ngl=$2
    shift
done
{extra}
if [ -n "$GGML_RKNPU2_STATS" ]; then
    npu=7; reference=0
    [ "$GGML_RKNPU2_PRECISION" = reference ] && {{ npu=0; reference=7; }}
    printf '{{"precision": "%s", "failures": 0, "weights": [{{"name": "a", "K": 4, "N": 5, "planes": 1, "activation_statistics": false}}], "matmuls": {{"npu": %d, "cpu_reference": %d}}, %s}}' \\
        "{precision}" $npu $reference '"runtime": {{"simulated": true}}' >"$GGML_RKNPU2_STATS"
fi
if [ -n "$compare" ]; then cat {folder}/divergence; else echo base >"$base"; cat {folder}/base; fi
"""


class Program(unittest.TestCase):
    """quality.py itself with a stand-in for llama.cpp."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="rknpu2-quality-")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        for name in ("build/bin", "build/sim", "host"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "build/bin/libggml-rknpu2.so").write_text("plug-in")
        (self.folder / "build/sim/librknnrt.so").write_text("simulator")
        self.model, self.text = self.folder / "m.gguf", self.folder / "text"
        self.model.write_bytes(b"GGUF and more")
        self.text.write_text("prose")
        (self.folder / "base").write_text(BASE)
        (self.folder / "divergence").write_text(DIVERGENCE)
        self.tool("build/bin/rknpu2-info", "#!/bin/sh\necho '" + json.dumps({
            "layers": 30, "weight_matrices": 1, "tensors": [{"name": "token_embd.weight", "shape": [576, 1000]}]}) + "'\n")
        self.host()

    def tool(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def host(self, extra="", precision="$GGML_RKNPU2_PRECISION"):
        self.tool("host/llama-perplexity", HOST.format(folder=self.folder, extra=extra, precision=precision))

    def run_program(self, *options):
        command = [sys.executable, str(SCRIPTS / "quality.py"), "--modes", "cpu fast", "--layers", "10 30", "--chunks", "2",
                   "--out", str(self.folder / "out"), "--model", str(self.model), "--text", str(self.text),
                   "--cache", str(self.folder / "cache"), "--bin-dir", str(self.folder / "host"),
                   "--build-dir", str(self.folder / "build"), "--runtime", "sim", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def runs(self):
        path = self.folder / "runs"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [(line.split(" ")[0], line.partition("-ngl ")[2].split(" ")[0]) for line in lines]

    def assert_fails(self, done, *parts):
        errors = [line for line in done.stderr.splitlines() if "error: " in line]
        self.assertEqual((done.returncode, len(errors)), (1, 1), done.stderr)
        self.assertTrue(errors[0].startswith("quality.sh: error: "), errors[0])
        for part in parts:
            self.assertIn(part, errors[0])

    def test_context_and_attention_are_handed_on(self):
        self.host(extra=f'echo "$GGML_RKNPU2_ATTENTION" >>{self.folder}/attention')
        done = self.run_program("--context", "4096", "--attention", "cpu")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.folder / "runs").read_text().count(" -c 4096 "), 4)
        self.assertEqual((self.folder / "attention").read_text().split(), ["cpu"] * 3)  # the mode cpu has no plug-in
        self.assertIn("2 chunks of 4096 tokens", (self.folder / "out/quality.md").read_text())
        self.assertEqual(len(self.runs()), 4)
        self.assertEqual(self.run_program("--context", "4096").returncode, 0)
        self.assertEqual(len(self.runs()), 4, "attention elsewhere is another study")
        self.assert_fails(self.run_program("--context", "64"), "--context", "'64' is not a number of 128 to 131072 tokens")
        self.assert_fails(self.run_program("--attention", "gpu"), "--attention", "--help explains the options")

    def test_writes_all_and_measures_once(self):
        done = self.run_program()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.runs(), [("reference", "99"), ("", "0"), ("fast", "10"), ("fast", "99")])
        with open(self.folder / "out/quality.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([(r["mode"], r["ngl"], r["kld"], r["matrices"]) for r in rows],
                         [("cpu", "0", "0.296968", "0"), ("fast", "10", "0.296968", "1"), ("fast", "99", "0.296968", "1")])
        self.assertEqual(len(json.loads((self.folder / "out/quality.json").read_text())["rows"]), 3)
        self.assertIn("| fast | 99 | 1 of 1 | 0.0 % | 0.296968 ± 0.015238 | 1.96538 | 27.500 | 66.86 ± 2.09 % |", done.stdout)
        tree.parse(self.folder / "out/quality.svg")
        self.assertEqual(self.run_program().stdout, done.stdout)
        self.assertEqual(self.runs(), [], "measured again")
        self.assertEqual(list(self.folder.rglob("base.kld*")), [], "the base is large")

    def test_failed_run_and_other_programs(self):
        self.host(extra='[ "$ngl" = 99 ] && [ "$compare" ] && exit 3')
        self.assert_fails(self.run_program(), "fast, all layers", "status 3")
        self.runs()
        self.host(extra='true "the programs are others now"')
        self.assertEqual(self.run_program().returncode, 0)
        self.assertEqual(len(self.runs()), 4, "results of other programs were taken")

    def test_only_what_is_missing(self):
        flag = self.folder / "fail"
        flag.write_text("")
        self.host(extra=f'[ -e {flag} ] && [ "$ngl" = 99 ] && [ "$compare" ] && exit 3')
        done = self.run_program()
        self.assertRegex(done.stderr, r"repeat with: GGML_BACKEND_PATH=\S+ .*GGML_RKNPU2_PRECISION=fast .*llama-perplexity -m")
        self.runs()
        flag.unlink()
        self.assertEqual(self.run_program().returncode, 0)
        self.assertEqual(self.runs(), [("fast", "99")], "the base and two rows were there")
        self.assertEqual(self.run_program("--again").returncode, 0)
        self.assertEqual(len(self.runs()), 4)

    def test_terminated(self):
        """It takes the program that it runs with it, and goes on from there the next time."""
        flag, fifo, pid = self.folder / "terminate", self.folder / "fifo", self.folder / "pid"
        flag.write_text("")
        os.mkfifo(fifo)
        self.host(extra=f'[ -e {flag} ] && [ "$ngl" = 99 ] && [ "$compare" ] && '
                        f'{{ echo $$ >{pid}; kill -TERM $PPID; exec cat {fifo}; }}')
        self.assertEqual(self.run_program().returncode, 130)
        with self.assertRaises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)
        self.runs()
        flag.unlink()
        self.assertEqual(self.run_program().returncode, 0)
        self.assertEqual(self.runs(), [("fast", "99")])

    def test_changed_inputs_start_anew(self):
        self.run_program()
        self.runs()
        for path in (self.model, self.text, self.folder / "build/bin/libggml-rknpu2.so", self.folder / "build/sim/librknnrt.so"):
            with self.subTest(path=path.name):
                path.write_bytes(path.read_bytes() + b"x")
                self.assertEqual(self.run_program().returncode, 0)
                self.assertEqual(len(self.runs()), 4)

    def test_build_during_a_run(self):
        """Figures of two builds are not mixed: nothing of that run is kept."""
        flag, plugin = self.folder / "build-anew", self.folder / "build/bin/libggml-rknpu2.so"
        flag.write_text("")
        self.host(extra=f'[ -e {flag} ] && [ "$compare" ] && echo new >{plugin}')
        self.assert_fails(self.run_program(), "cpu: ", "built anew")
        self.assertEqual(list(self.folder.rglob("cpu-0.json")), [])

    def test_other_precision_than_asked_for(self):
        self.host(precision="balanced")
        self.assert_fails(self.run_program(), "ran in precision balanced")

    def test_plugin_that_takes_no_part(self):
        self.host(extra="unset GGML_RKNPU2_STATS; echo '0.00.1 E ggml-rknpu2: no NPU' >&2")
        self.assert_fails(self.run_program(), "did not take part", "ggml-rknpu2: no NPU")

    def test_text_too_short(self):
        (self.folder / "base").write_text(BASE.partition("[2]")[0] + "\n")
        self.assert_fails(self.run_program(), "has 1 chunks of 512 tokens, not 2")

    def test_not_finite(self):
        (self.folder / "divergence").write_text(DIVERGENCE.replace("0.296968 ±", "nan ±"))
        self.assert_fails(self.run_program(), "not finite: kld")

    def test_wrong_options(self):
        for options, parts in ((("--modes", "fast slow"), ("no mode 'slow'", "balanced")), (("--layers", "ten"), ("'ten'",)),
                               (("--chunks", "0"), ("--chunks", "'0'")), (("--model", f"{self.folder}/no/such"), (f"{self.folder}/no/such",)),
                               (("--model", str(self.text)), ("not a GGUF file",)), (("--text", os.devnull), ("empty",)),
                               (("--surprise",), ("--surprise", "--help"))):
            with self.subTest(options=options):
                self.assert_fails(self.run_program(*options), *parts)
        self.assertEqual(self.runs(), [])


if __name__ == "__main__":
    unittest.main()
