// SPDX-License-Identifier: MIT
/* Virtual time on the simulated RK3588: what a run would take on the chip, by a model. Plain C99.
 *
 * docs/simulator.md, section Time, describes the model and how wrong it is. Times are nanoseconds since the
 * start (or since rknnsim_reset), bytes are bytes, rates GB/s of 1e9 bytes. Nothing here looks at a real
 * clock. The functions return 0, or a negative code of the runtime (then one line on stderr says why).
 *
 * Every host thread has a time of its own. It passes with what the thread asks of the runtime and with what
 * it says of itself (rknnsim_time_advance). Threads agree through data; where they agree by other means, a
 * program can hand over the time: the one calls rknnsim_time_now, the other rknnsim_time_advance_to.
 */
#ifndef RKNNSIM_RKNNSIM_TIME_H
#define RKNNSIM_RKNNSIM_TIME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A matmul as in rknn_matmul_info: 32 bytes. */
struct rknnsim_matmul {
    int32_t type;
    int32_t M, K, N;
    int32_t b_layout;
    int32_t ac_layout;
    int32_t cores; /* busy at the same time, 1 to 3, this one included */
    int32_t reserved;
};

/* One run: 144 bytes. The call lasts from call_ns to end_ns, the work on the core from start_ns to stop_ns.
 */
struct rknnsim_run_time {
    uint64_t call_ns;
    uint64_t start_ns;   /* on the core: after the submit and when the core is free */
    uint64_t stop_ns;    /* on the core */
    uint64_t end_ns;     /* stop_ns and the conversion of C to normal layout by the CPU */
    uint64_t submit_ns;  /* CPU time before the start */
    uint64_t convert_ns; /* CPU time after the stop */
    uint64_t mac_ns;     /* of the core's time, the MAC units work ... */
    uint64_t stall_ns;   /* ... or wait for memory; the sum is stop_ns - start_ns */
    uint64_t dma_ns;     /* of the core's time, memory is read or written */
    uint64_t read_a_bytes;
    uint64_t read_b_bytes;
    uint64_t read_c_bytes; /* partial sums, when K is cut into segments */
    uint64_t written_bytes;
    uint64_t macs;
    uint64_t context; /* 0 for a prediction */
    uint32_t passes;  /* how often B is read */
    uint32_t tile_rows;
    int32_t core; /* 0 to 2; -1 for a prediction */
    int32_t reserved;
    double utilisation; /* share of the core's peak, over stop_ns - start_ns */
};

/* What runs came to: 80 bytes. */
struct rknnsim_core_totals {
    uint64_t runs;
    uint64_t busy_ns; /* mac_ns + stall_ns */
    uint64_t mac_ns;
    uint64_t stall_ns;
    uint64_t dma_ns;
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t macs;
    double busy;        /* share of the elapsed time (of three times that, in the sum of all cores) */
    double utilisation; /* share of the peak in the elapsed time (of three cores, in the sum) */
};

/* Everything so far: 352 bytes. */
struct rknnsim_time_sums {
    uint64_t elapsed_ns; /* the end of the last thing that happened on any thread or core */
    uint64_t submit_ns;  /* CPU time, summed over the threads */
    uint64_t bind_ns;
    uint64_t convert_ns;
    struct rknnsim_core_totals core[3];
    struct rknnsim_core_totals all;
};

/* What one run would take, without running it. */
int rknnsim_predict(const struct rknnsim_matmul* matmul, struct rknnsim_run_time* time);

/* The calling thread's last run; -1 when it has made none. */
int rknnsim_last_run(struct rknnsim_run_time* time);

int rknnsim_time_totals(struct rknnsim_time_sums* totals);

/* The calling thread's time. 0 also when the settings are bad. */
uint64_t rknnsim_time_now(void);

/* The calling thread has worked for that long, outside the runtime. */
int rknnsim_time_advance(uint64_t ns);

/* The calling thread has waited until then; nothing happens when it is later already. */
int rknnsim_time_advance_to(uint64_t ns);

/* The calling thread has waited for everything that any thread has asked for so far. */
int rknnsim_time_join(void);

/* The profile's parameters by index, from 0; NULL beyond the last one. */
const char* rknnsim_profile_name(uint32_t index);
int rknnsim_profile_get(const char* name, double* value);
/* Holds for later runs, until rknnsim_reset. */
int rknnsim_profile_set(const char* name, double value);

#ifdef __cplusplus
}
#endif

#endif
