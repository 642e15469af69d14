# How fast the simulated RK3588 is. One `name = value  # where the value is from` a line; every name is needed.
# "fitted": chosen by scripts/fit_profile.py from docs/measurements/npu-timings.csv, which rewrites the value; the
# others are fixed. The model that reads these numbers is described in docs/simulator.md, section Time.

# Clocks. Bandwidths below hold at ddr_mhz = 2400 and are scaled with it.
clock_mhz = 1000                # highest NPU clock of the vendor's kernel: technical reference manual, device tree
ddr_mhz = 2400                  # LPDDR5 of the board that most rates are from; LPDDR4X runs at 2112; under a governor either may run at 528

# Arithmetic, for each core.
macs_per_cycle.int4 = 2048      # technical reference manual
macs_per_cycle.int8 = 1024      # technical reference manual
macs_per_cycle.fp16 = 512       # technical reference manual
mac_efficiency = 0.9            # fitted: share of the peak that a long MAC block reaches

# The core's buffer, and how much of it a tile of A may take: the tile rule.
buffer_banks = 12               # Mesa and other drivers; data and weight banks add up to 12 in all captures
bank_bytes = 32768              # same
data_banks.native.int4 = 4      # as int8; no figure tells
data_banks.native.int8 = 4      # an open driver's tested limit for this form of task
data_banks.native.fp16 = 8      # fitted, 4 to 8
data_banks.native.least = 4     # fp16 2048xKx512: 129 passes over B at K = 4096 (16 rows), 307 at 8192 (8 rows); 64 rows at 2048
data_banks.normal.int4 = 8      # as int8
data_banks.normal.int8 = 8      # an open driver's tested limit for this form of task
data_banks.normal.fp16 = 8      # as int8
normal_results = 262144         # one figure, int8 128x1024x8192 in normal layout: 3876 us are 4 passes over B; 128x2048x2048 is one
tile_rows.int4 = 128            # an open driver's tested limit
tile_rows.int8 = 128            # same
tile_rows.fp16 = 1022           # same
k_segment = 8192                # user guide: a longer K is cut into segments
n_task = 8192                   # width of a register field; more columns are more tasks
row_task_us = 1.6               # fitted: least time of a row in normal layout, for more than one row

# Memory, GB/s summed over the cores that are busy. "stream": runs that read B once; "mixed": those that read it again.
stream_gbps.1 = 10.9            # fitted
stream_gbps.2 = 21.1            # 1.90 x one core: fused attention at 1790 and 941 us on one and two cores
stream_gbps.3 = 31.4            # 1x2560x262144 int8 on three cores: 671 MB in 21.4 ms; 1x4096x4096 int4 with its bindings 30.8
mixed_gbps.1 = 10.9             # fitted, equal to stream_gbps.1
mixed_gbps.2 = 21.1             # as stream_gbps.2: nobody measured two cores that read again
mixed_gbps.3 = 25.5             # guess, 81 % of stream_gbps.3: nobody has published int8 on three cores that read weights again

# The host's part.
submit_us = 33                  # rknn-toolkit2 issue 154: 30 us for a 1x32x16 run; mainline driver 27 to 52
bind_us = 1                     # rk-llama.cpp, 2026: skipping 2300 rknn_matmul_set_io_mem of native A and C saved 2.1 ms
sync_us = 1                     # same: 2554 bindings and 1704 syncs of small buffers took about 5 ms
sync_gbps = 39                  # same: rknn_mem_sync of 32 MiB took 0.85 ms
line_ns = 6.6                   # same: dc cvac of 256 lines of 64 bytes and a dsb took 1.7 us
convert_gbps = 8.8              # A and C of several rows, transposed B: fp16 at about 750 normal, 900 native GOPS
convert_b_gbps = 0.9            # B in [K, N] order: an open driver's packing of weights; no figure of the runtime

# How far the model is from publications, as factors (1.2: 20 % off); scripts/fit_profile.py writes them.
error.typical = 1.14            # median over the rows of the fit
error.left_out = 1.43           # of rows that had no part in it: each of the same without its author's, and those held out; the larger median
error.worst = 2.06              # largest factor among both
