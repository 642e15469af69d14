# What `rknpu2-bench predict` takes an RK3588 board to be, besides the simulator's profile of the NPU: memory, the four
# Cortex-A76, and what a run call costs the host. One `name = value  # where it is from` a line; every name is needed.
# Names with "npu." set a number of sim/profiles/rk3588.profile, which has the others; any number of them may be set.
# Nothing here was measured by this project on a board. docs/performance.md says what each is worth.

# The NPU, where this model departs from the simulator's fit.
npu.mac_efficiency = 0.92       # 128x1024x8192 int8 on one core at 1877 GOPS is 0.917 of the peak
npu.stream_gbps.1 = 11.1        # best of a published sweep over K and N (EP3: 11 GB/s); the fit says 10.9
npu.mixed_gbps.1 = 11.1         # equal to stream_gbps.1, as in the fit

# Limits of one run.
npu_columns = 4096              # the largest N that the vendor documents, and what the plug-in uses

# Memory, all of it: what NPU and CPU get together.
dram_gbps = 28.6                # decode of the vendor's LLM runtime comes to 26 to 29 GB/s of weights; "28.5" elsewhere

# The team of four A76.
cpu_threads = 4
cpu_copy_gbps = 20              # bytes read and written by four threads; not recorded
cpu_read_gbps = 24              # bytes read by four threads; not recorded
cpu_in_place = 0.5              # kernels inside an engine reach this share of what they reach alone; estimate
attention_gflops = 40           # flash attention on four A76, causal operations only; estimate
region_us = 3                   # to start and end a loop on four threads that spin; guess. Threads that sleep in between need 50 to 100
hand_over_us = 1                # from a thread to those that spin within a region; guess
