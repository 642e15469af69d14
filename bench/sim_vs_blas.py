#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Is the simulator as fast as a float library? Compares its products with OpenBLAS' sgemm of the same shape on as many threads.

Everything takes turns: a round measures sgemm with B as rows [K,N], with B as rows [N,K], and a product as its caller sees it (sync A,
run, sync C). What is printed are medians over the rounds of the ratios to the faster sgemm within a round. sgemm's B (64 MB for
4096 x 4096) passes through the caches between any two runs of a product, so weights come from memory, as in a model. On one thread its
processor time is measured, on several the time on the wall. RKNNSIM_CHECK=off or warn tells what the checker costs.
"""
import argparse
import array
import concurrent.futures
import ctypes
import pathlib
import random
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
TYPES = {"int8": 2, "fp16": 1, "fp16-fp16": 4, "int4": 10, "int8-int8": 3}  # rknn_matmul_type
NATIVE = 1
FLOAT16 = 1  # rknn_tensor_type
TO_DEVICE, FROM_DEVICE = 1, 2
ROW_MAJOR, NOT_TRANSPOSED, TRANSPOSED = 101, 111, 112


class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("M", "K", "N", "type")] + [
        (name, ctypes.c_int16) for name in ("B_layout", "B_quant", "AC_layout", "AC_quant")] + [("domain", ctypes.c_int32), ("rest", ctypes.c_int8 * 36)]


class Attribute(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 256), ("dimensions", ctypes.c_uint32 * 17), ("size", ctypes.c_uint32), ("type", ctypes.c_int32)]


def must(code):
    if code != 0:
        sys.exit(f"sim_vs_blas: the simulator returned {code}")


class Product:
    """The columns that one thread computes: a context and its memories."""

    def __init__(self, library, kind, m, k, n):
        self.library, self.context, attributes = library, ctypes.c_uint64(), (Attribute * 3)()
        must(library.rknn_matmul_create(ctypes.byref(self.context), ctypes.byref(Info(m, k, n, TYPES[kind], NATIVE, 0, NATIVE)), attributes))
        self.memories = [ctypes.c_void_p(library.rknn_create_mem(self.context, attribute.size)) for attribute in attributes]
        for seed, (memory, attribute) in enumerate(zip(self.memories, attributes)):
            data = bytearray(random.Random(seed).randbytes(attribute.size))
            if attribute.type == FLOAT16:  # 0.5 to 1 in size: sums stay ordinary
                data[1::2] = data[1::2].translate(bytes(byte & 0x83 | 0x38 for byte in range(256)))
            ctypes.memmove(ctypes.cast(memory, ctypes.POINTER(ctypes.c_void_p))[0], bytes(data), attribute.size)
            must(library.rknn_matmul_set_io_mem(self.context, memory, ctypes.byref(attribute)))

    def compute(self):
        must(self.library.rknn_mem_sync(self.context, self.memories[0], TO_DEVICE))
        must(self.library.rknn_matmul_run(self.context))
        must(self.library.rknn_mem_sync(self.context, self.memories[2], FROM_DEVICE))

    def close(self):
        for memory in self.memories:
            must(self.library.rknn_destroy_mem(self.context, memory))
        must(self.library.rknn_matmul_destroy(self.context))


def take_turns(bodies, rounds, clock):
    """Seconds of each body in each round, after one that warms up. Whoever follows another one does not always."""
    seconds = [[] for _ in bodies]
    for turn in range(rounds + 1):
        for i in range(len(bodies)):
            body = (i + turn) % len(bodies)
            start = clock()
            bodies[body]()
            if turn > 0:
                seconds[body].append(clock() - start)
    return seconds


def measure(options, blas, m, k, n, threads, kind):
    blas.openblas_set_num_threads(threads)
    values = array.array("f", (random.Random(1).uniform(-1, 1) for _ in range(65521)))
    a, b, c = ((ctypes.c_float * size).from_buffer((values * (size // len(values) + 1))[:size]) for size in (m * k, k * n, m * n))

    def sgemm(transposed):
        blas.cblas_sgemm(ROW_MAJOR, NOT_TRANSPOSED, TRANSPOSED if transposed else NOT_TRANSPOSED, m, n, k, ctypes.c_float(1), a, k,
                         b, k if transposed else n, ctypes.c_float(0), c, n)

    edges = [min(n, -(-n // 64) * i // threads * 64) for i in range(threads + 1)]
    parts = [Product(options.library, kind, m, k, end - start) for start, end in zip(edges, edges[1:]) if end > start]
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        product = parts[0].compute if len(parts) == 1 else lambda: list(pool.map(Product.compute, parts))
        rounds = options.rounds * (4 if m * k * n < 1e9 else 1)  # short products get more
        *both, run = take_turns([lambda: sgemm(False), lambda: sgemm(True), product], rounds,
                                time.thread_time if threads == 1 else time.perf_counter)
    for part in parts:
        part.close()
    best = min(both, key=statistics.median)
    low, ratio, high = statistics.quantiles((theirs / ours for theirs, ours in zip(best, run)), n=4)
    ours = statistics.median(run)
    numbers = (1e3 * statistics.median(best), 1e3 * ours, ratio, low, high, m * k * n / ours / 1e9)
    print(m, k, n, threads, kind, *(f"{number:.4g}" for number in numbers), sep=",", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shape", nargs="+", default=["512x4096x4096", "1x4096x4096"], help="MxKxN")
    parser.add_argument("--type", nargs="+", choices=TYPES, default=["int8", "fp16", "int4"])
    parser.add_argument("--library", type=ctypes.CDLL, default=str(ROOT / "build/release/sim/librknnrt.so"), help="a librknnrt.so")
    options = parser.parse_args()
    options.library.rknn_create_mem.restype = ctypes.c_void_p
    blas = ctypes.CDLL("libopenblas.so.0")
    blas.openblas_get_config.restype = ctypes.c_char_p
    print("#", blas.openblas_get_config().decode())
    print("M,K,N,threads,type,sgemm_ms,run_ms,ratio,ratio_q1,ratio_q3,gmacs")
    for shape in options.shape:
        for threads in options.threads:
            for kind in options.type:
                measure(options, blas, *map(int, shape.split("x")), threads, kind)


if __name__ == "__main__":
    main()
