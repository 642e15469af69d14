// SPDX-License-Identifier: MIT
/* A C program that declares the structures of virtual time by itself: their layout is an interface. Exits 0,
 * or prints what is wrong. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct info {
    int32_t M, K, N;
    int type;
    int16_t b_layout, b_quant_type, ac_layout, ac_quant_type;
    int32_t iommu_domain_id;
    int16_t group_size;
    int8_t reserved[34];
};
struct attr {
    char name[256];
    uint32_t n_dims, dims[16], size;
    int type;
};
struct io_attr {
    struct attr a, b, c;
};
struct matmul {
    int32_t type, M, K, N, b_layout, ac_layout, cores, reserved;
};
struct run_time {
    uint64_t call_ns, start_ns, stop_ns, end_ns, submit_ns, convert_ns, mac_ns, stall_ns, dma_ns;
    uint64_t read_a, read_b, read_c, written, macs, context;
    uint32_t passes, tile_rows;
    int32_t core, reserved;
    double utilisation;
};
struct core_totals {
    uint64_t runs, busy_ns, mac_ns, stall_ns, dma_ns, read, written, macs;
    double busy, utilisation;
};
struct time_sums {
    uint64_t elapsed_ns, submit_ns, bind_ns, convert_ns;
    struct core_totals core[3], all;
};

int rknnsim_predict(const struct matmul* matmul, struct run_time* time);
int rknnsim_last_run(struct run_time* time);
int rknnsim_time_totals(struct time_sums* sums);
uint64_t rknnsim_time_now(void);
int rknnsim_time_advance(uint64_t ns);

int rknn_matmul_create(uint64_t* ctx, struct info* info, struct io_attr* io);
int rknn_matmul_set_io_mem(uint64_t ctx, void* mem, struct attr* attr);
int rknn_matmul_run(uint64_t ctx);
int rknn_matmul_destroy(uint64_t ctx);
void* rknn_create_mem(uint64_t ctx, uint32_t size);
int rknn_destroy_mem(uint64_t ctx, void* mem);

static int failures = 0;

#define CHECK(condition)                                           \
    do {                                                           \
        if (!(condition)) {                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                            \
        }                                                          \
    } while (0)

static void check_sizes(void) {
    CHECK(sizeof(struct matmul) == 32 && sizeof(struct run_time) == 144);
    CHECK(sizeof(struct core_totals) == 80 && sizeof(struct time_sums) == 352);
    CHECK(offsetof(struct run_time, passes) == 120 && offsetof(struct run_time, utilisation) == 136);
    CHECK(offsetof(struct time_sums, core) == 32 && offsetof(struct core_totals, busy) == 64);
}

/* After one run of 1x64x32 on one thread. */
static void check_time(uint64_t ctx) {
    struct matmul matmul = {2, 1, 64, 32, 1, 1, 1, 0};
    struct run_time predicted, run;
    struct time_sums sums;

    CHECK(rknnsim_predict(&matmul, &predicted) == 0);
    CHECK(rknnsim_last_run(&run) == 0);
    CHECK(run.context == ctx && run.core == 0 && predicted.core == -1);
    CHECK(run.read_b == 64 * 32 && run.written == 32 * 4 && run.macs == 64 * 32 && run.passes == 1);
    CHECK(run.end_ns - run.call_ns == predicted.end_ns && run.mac_ns == predicted.mac_ns);
    CHECK(rknnsim_time_now() == run.end_ns);
    CHECK(rknnsim_time_advance(5) == 0);
    CHECK(rknnsim_time_totals(&sums) == 0);
    CHECK(sums.elapsed_ns == run.end_ns + 5 && sums.submit_ns == run.submit_ns);
    CHECK(sums.core[0].runs == 1 && sums.all.runs == 1 && sums.all.busy_ns == run.stop_ns - run.start_ns);
}

int main(void) {
    struct info info;
    struct io_attr io;
    void *a, *b, *c;
    uint64_t ctx = 0;

    check_sizes();
    memset(&info, 0, sizeof info);
    info.M = 1;
    info.K = 64;
    info.N = 32;
    info.type = 2;
    info.b_layout = 1;
    info.ac_layout = 1;
    CHECK(rknn_matmul_create(&ctx, &info, &io) == 0);
    a = rknn_create_mem(ctx, io.a.size);
    b = rknn_create_mem(ctx, io.b.size);
    c = rknn_create_mem(ctx, io.c.size);
    CHECK(rknn_matmul_set_io_mem(ctx, a, &io.a) == 0);
    CHECK(rknn_matmul_set_io_mem(ctx, b, &io.b) == 0);
    CHECK(rknn_matmul_set_io_mem(ctx, c, &io.c) == 0);
    CHECK(rknn_matmul_run(ctx) == 0);
    check_time(ctx);
    CHECK(rknn_destroy_mem(ctx, a) == 0);
    CHECK(rknn_destroy_mem(ctx, b) == 0);
    CHECK(rknn_destroy_mem(ctx, c) == 0);
    CHECK(rknn_matmul_destroy(ctx) == 0);
    return failures != 0;
}
