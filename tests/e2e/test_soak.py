# SPDX-License-Identifier: MIT
"""llama-server with four slots and requests in parallel while the NPU fails again and again, by the simulator's seeded faults.

Soak: what is tried again (GGML_RKNPU2_ON_ERROR) changes nothing: each answer is the one that a server with one slot gives without faults,
and each row of each multiplication has the checksum that it has there.
CleanErrors: with `fail`, an answer is the right one or an error, checksums are the same, and the slots work on.
Processes: several servers at once.
Flows: both with prompts that are long enough to flow through layers, which those that are compared row by row do not.
All: no slot stays busy, the server ends cleanly, and the simulator's checker finds no leak.
Soak.test_full, 10,000 requests, belongs to --full; RKNPU2_SOAK_REQUESTS says another number.
"""

import concurrent.futures
import os
import pathlib
import urllib.error

import checksums
import harness
import test_tools

SLOTS = 4
# Clear decisions: a batch of other rows moves sums of the CPU's part by a last bit, which may tip a close one.
PROMPTS = [harness.CAPITAL, "The largest ocean on Earth is the", "One, two, three, four,", "Monday, Tuesday, Wednesday,",
           "Roses are red, violets are", "2 + 2 ="]
TOKENS = 3
FAULTS = ("fail:rknn_matmul_run:share=0.001:code=-1,lost:share=0.001,fail:rknn_matmul_set_io_mem:share=0.0005,"
          "fail:rknn_matmul_create_dynamic_shape:share=0.01,fail:rknn_mem_sync:share=0.0002,seed:%d")
COMPARED = 0.9  # part of the rows under faults that must also have occurred without
MAY_GROW = 1.2  # resident memory, from a tenth of the requests to the end


class Soaked(test_tools.Server):
    """A server for many requests."""

    test_two_slots = None  # not that one again

    context = 128  # tokens of a slot

    def serve(self, slots, **settings):
        port = test_tools.free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.sums = self.folder / f"checksums-{port}.txt"
        settings = {"GGML_RKNPU2_WEIGHT_CACHE": str(self.folder / "weights"), "GGML_RKNPU2_CHECKSUMS": str(self.sums), **settings}
        settings = {name: value for name, value in settings.items() if value}
        self.start("llama-server", ["-m", harness.MODEL, "-ngl", 99, "-np", slots, "-c", self.context * slots, "--port", port, "--no-webui",
                                    "-t", 2], extra=settings)
        self.wait_until(self.healthy)

    def ask_for_text(self, prompt, address=None):
        """The text, or None for an error that the server reports as one."""
        body = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0, "cache_prompt": False}
        try:
            return self.ask("/completion", body, address)["content"]
        except urllib.error.HTTPError as error:
            self.assertEqual(error.code, 500, error.read())
            return None

    def answers(self, requests):
        """In the order of the requests, SLOTS at once; a line for every thousandth."""
        found = []
        with concurrent.futures.ThreadPoolExecutor(SLOTS) as pool:
            for answer in pool.map(self.ask_for_text, requests):
                found.append(answer)
                if len(found) % 1000 == 0:
                    print(f"{len(found)} of {len(requests)} answered", flush=True)
        return found

    def right_answers(self):
        """Without faults, one after the other."""
        self.serve(1)
        right = {prompt: self.ask_for_text(prompt) for prompt in PROMPTS}
        run = self.end()
        self.assert_ran_on_npu(run)
        self.assertEqual(run.stats.document["faults"]["failed"], 0)
        self.right_sums = checksums.read(self.sums)
        for prompt, text in right.items():
            self.assertTrue(text and text.strip(), prompt)
        self.assertGreater(len(set(right.values())), len(PROMPTS) // 2)
        return right

    def assert_right_sums(self):
        """The last server multiplied what one without faults did, row by row, and got the same."""
        found = checksums.read(self.sums)
        common = checksums.common(self.right_sums, found)
        print(f"{len(found)} different rows multiplied, {len(common)} of them also without faults and with the same results")
        self.assertEqual({key.weight for key in found}, {key.weight for key in common}, "weights without a row to compare")
        self.assertGreater(len(common), COMPARED * len(found), "too few rows to compare")

    def end(self):
        """No slot is busy; the server ends by itself, with what it counted."""
        self.assertEqual([slot["id"] for slot in self.ask("/slots") if slot["is_processing"]], [])
        self.assertEqual(self.stop(), 0, harness.tail(self.log_text()))
        run = harness.Run(0, "", self.log_text(), harness.read_stats(self.stats_file), "")
        self.assertNotRegex(run.log, r"rknnsim.*leak")
        return run

    def resident(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(self.assert_says(r"VmRSS:\s+(\d+) kB", status).group(1))


class Soak(Soaked):
    """Faults that are tried again."""

    def soak(self, count, slots=SLOTS):
        right = self.right_answers()
        self.serve(slots, RKNNSIM_FAULTS=FAULTS % 7, GGML_RKNPU2_ON_ERROR="retry,retry,reset,retry,fail")
        requests = [PROMPTS[i % len(PROMPTS)] for i in range(count)]
        first = max(SLOTS, count // 10)
        found = self.answers(requests[:first])
        before = self.resident()
        found += self.answers(requests[first:])
        grown = self.resident() / before
        run = self.end()
        faults = run.stats.document["faults"]
        print(f"{count} requests, {run.stats.npu} matmuls, {faults}, resident memory x {grown:.3f}")
        self.assertEqual([(p, a) for p, a in zip(requests, found) if a != right[p]], [])
        self.assert_right_sums()
        self.assertEqual(run.stats.failures, 0)
        self.assertEqual(faults["given_up"], 0)
        self.assertGreater(faults["failed"], count / 4, "too few faults to show anything")
        self.assertEqual(faults["retried"] + faults["reset"], faults["failed"])
        self.assert_says("trying again in new contexts", run.log)
        self.assertLess(grown, MAY_GROW)

    def test_short(self):
        self.soak(40)

    def test_one_slot(self):
        self.soak(12, slots=1)

    def test_full(self):
        self.soak(int(os.environ.get("RKNPU2_SOAK_REQUESTS", "10000")))


class CleanErrors(Soaked):
    """Faults that are not."""

    def test_errors(self):
        right = self.right_answers()
        self.serve(SLOTS, RKNNSIM_FAULTS="lost:every=2500", GGML_RKNPU2_ON_ERROR="fail")
        requests = PROMPTS * 4
        found = self.answers(requests)
        errors = found.count(None)
        run = self.end()
        print(f"{len(requests)} requests, {errors} errors, {run.stats.document['faults']}")
        self.assertEqual([(p, a) for p, a in zip(requests, found) if a not in (None, right[p])], [])
        self.assert_right_sums()
        self.assertGreater(errors, 0)
        self.assertLess(errors, len(requests))
        self.assertGreater(run.stats.failures, 0)
        self.assertEqual(run.stats.document["faults"]["given_up"], run.stats.failures)
        self.assert_says(r"MUL_MAT with \S+ \(\w+\).*timeout: ", run.log)


def repeated(sentence, times=24):
    """A prompt of some 200 tokens with one way to go on: without its last word at the end."""
    return " ".join([sentence] * times + [sentence.rsplit(" ", 1)[0]])


class Flows(Soaked):
    """Prompts flow through whole layers, which no server of the other tests does, since it takes checksums."""

    context = 512
    prompts = [repeated(f"The {thing} of the {place} is {which}.") for thing, place, which in
               (("colour", "sky", "blue"), ("name", "river", "Danube"), ("king", "forest", "Oberon"), ("price", "bread", "seven"))]

    def serve(self, slots, **settings):
        super().serve(slots, **{"GGML_RKNPU2_CHECKSUMS": "", **settings})

    def right_answers(self):
        self.serve(1)
        right = {prompt: self.ask_for_text(prompt) for prompt in self.prompts}
        run = self.end()
        self.assertGreaterEqual(run.stats.document["flows"], len(self.prompts))
        for prompt, text in right.items():
            self.assertIn(prompt.split(".")[0].rsplit(" ", 1)[1], text)
        return right

    def assert_right(self, right, requests, found):
        self.assertEqual([(p, a) for p, a in zip(requests, found) if a != right[p]], [])

    def test_faults(self):
        right = self.right_answers()
        self.serve(SLOTS, RKNNSIM_FAULTS=FAULTS % 3, GGML_RKNPU2_ON_ERROR="retry,retry,reset,retry,fail")
        requests = self.prompts * 3
        found = self.answers(requests)
        run = self.end()
        faults = run.stats.document["faults"]
        print(f"{len(requests)} requests, {run.stats.document['flows']} flows, {faults}")
        self.assert_right(right, requests, found)
        self.assertGreater(run.stats.document["flows"], 0)
        self.assertEqual(run.stats.failures, 0)
        self.assertEqual(faults["given_up"], 0)
        self.assertGreater(faults["failed"], 3)

    def test_two_processes(self):
        right = self.right_answers()
        servers = []
        for _ in range(2):
            self.serve(1, GGML_RKNPU2_LOCK=str(self.folder / "npu.lock"))
            servers.append((self.process, self.address, self.stats_file, self.log))
        requests = [(address, prompt) for prompt in self.prompts for _, address, _, _ in servers]
        with concurrent.futures.ThreadPoolExecutor(len(servers)) as pool:
            found = list(pool.map(lambda request: self.ask_for_text(request[1], request[0]), requests))
        self.assert_right(right, [prompt for _, prompt in requests], found)
        waits = 0
        for self.process, self.address, self.stats_file, self.log in servers:
            run = self.end()
            self.assertGreater(run.stats.document["flows"], 0)
            waits += run.stats.document["device_lock"]["waits"]
        print(f"each waited for the other, {waits} times in all")
        self.assertGreater(waits, 0)


class Processes(Soaked):
    """Four servers share the NPU by a lock (GGML_RKNPU2_LOCK): each answers as if it were alone."""

    def test_four(self):
        right = self.right_answers()
        lock = self.folder / "npu.lock"
        servers = []
        for _ in range(4):
            self.serve(1, GGML_RKNPU2_LOCK=str(lock))
            servers.append((self.process, self.address, self.stats_file, self.log))

        def ask(request):
            server, prompt = request
            return self.ask_for_text(prompt, server[1])

        requests = [(server, prompt) for prompt in PROMPTS[:3] for server in servers]
        with concurrent.futures.ThreadPoolExecutor(len(servers)) as pool:
            found = list(pool.map(ask, requests))
        self.assertEqual([(r[1], a) for r, a in zip(requests, found) if a != right[r[1]]], [])
        waits = []
        for self.process, self.address, self.stats_file, self.log in servers:
            run = self.end()
            self.assert_ran_on_npu(run)
            counted = run.stats.document["device_lock"]
            self.assertGreaterEqual(counted["taken"], 100)
            waits.append(counted["waits"])
        print(f"each waited for the others {waits} times")
        self.assertGreater(sum(waits), 0)


if __name__ == "__main__":
    harness.main()
