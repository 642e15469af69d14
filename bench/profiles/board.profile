# What `rknpu2-bench predict` takes an RK3588 board to be, besides the simulator's profile of the NPU: memory, the four
# Cortex-A76, and what a run call costs the host. One `name = value  # where it is from` a line; every name is needed.
# Names with "npu." set a number of sim/profiles/rk3588.profile, which has the others; any number of them may be set.
# Nothing here was measured by this project on a board. docs/performance.md says what each is worth. Rates hold at a
# memory clock of 2400 MHz, that of the board they are from, and are scaled with npu.ddr_mhz (2112 on many boards).

# The NPU, where this model departs from the simulator's fit.
npu.mac_efficiency = 0.92       # 128x1024x8192 int8 on one core at 1877 GOPS is 0.917 of the peak
npu.stream_gbps.1 = 11.1        # best of a published sweep over K and N (EP3: 11 GB/s); the fit says 10.9
npu.mixed_gbps.1 = 11.1         # equal to stream_gbps.1, as in the fit

# Limits of one run.
npu_columns = 16384             # what the plug-in asks for; int8 ran with 87392, the vendor documents 4096

# Memory, all of it: what NPU and CPU get together.
dram_gbps = 31                  # the NPU alone streams 31.4 in long runs; NPU and CPU together gained 1 to 3 over the NPU alone

# The team of four A76.
cpu_threads = 4
cpu_copy_gbps = 20              # bytes read and written by four threads; not recorded
cpu_read_gbps = 24              # bytes read by four threads: 25 measured (rk-llama.cpp decode-research 5)
cpu_in_place = 0.5              # kernels inside an engine reach this share of what they reach alone; estimate
cpu_beside_npu = 0.8            # the same softmax took 24 % longer beside runs of the NPU (decode-research 1h, step 6)
results_gbps_narrow = 20        # results to floats, N to 2560: 0.3 ns an element of 6 bytes, four threads (decode-research 1f)
results_gbps_wide = 5.5         # N of 10240 and more: 1.0 to 1.2 ns (the same place); between, time grows evenly with N
attention_gflops = 40           # flash attention on four A76, causal operations only: 1.3 s for Gemma-4-E4B, 512 tokens (decode-research 1e)
few_tokens_ns = 0.0616          # a vector instruction of our kernel for few tokens: two a cycle on four cores at 2.256 GHz, nine tenths of that, estimate
block_pass_ns = 0.36            # a score to a weight, arithmetic alone: 34.5 vector instructions for 8, two a cycle on four cores at 2.26 GHz, are 0.24; two thirds of that rate, estimate
region_us = 3                   # to start and end a loop on four threads that spin; guess
wake_us = 75                    # until threads that sleep are at work: 50 to 100; estimate
hand_over_us = 1                # from a thread to those that spin within a region; guess
