// SPDX-License-Identifier: MIT
/* C = A * B in half precision, every matrix in plain rows: the simplest use of the RKNN matmul interface.
 *
 *   cc matmul_normal.c $(pkg-config --cflags --libs rknnsim) -o matmul_normal && ./matmul_normal
 *
 * It prints what it did, compares C with a plain loop, and exits with 0 only if they agree. The same source
 * builds on a board, with the vendor's headers and library. */
#include <math.h>
#include <rknn_matmul_api.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { M = 5, K = 96, N = 48 };

/* Multiples of 1/8 between -1 and 1: fp16 holds them exactly. */
static float a_value(int m, int k) {
    return (float)((m * 7 + k * 3) % 17 - 8) / 8.0F;
}
static float b_value(int k, int n) {
    return (float)((k * 5 + n * 11) % 17 - 8) / 8.0F;
}

/* To fp16, for multiples of 1/8 up to 1 in size. */
static uint16_t to_half(float x) {
    const uint16_t sign = x < 0 ? 0x8000 : 0;
    int exponent = 0;
    const float fraction = frexpf(fabsf(x), &exponent); /* 0, or 0.5 to 1 */
    if (x == 0) return 0;
    return (uint16_t)(sign | ((exponent + 14) << 10) | ((int)(fraction * 2048.0F) & 0x3ff));
}

static void* data_of(const rknn_tensor_mem* mem) {
    return (char*)mem->virt_addr + mem->offset;
}

/* 0 when the interface did what was asked. */
static int failed(int code, const char* what) {
    if (code != RKNN_SUCC) fprintf(stderr, "%s failed with %d\n", what, code);
    return code != RKNN_SUCC;
}

static int compare(const float* c) {
    int m, n, k, wrong = 0;
    for (m = 0; m < M; m++) {
        for (n = 0; n < N; n++) {
            double expected = 0;
            for (k = 0; k < K; k++)
                expected += (double)a_value(m, k) * b_value(k, n);
            /* The order in which the NPU adds is its own affair: allow for rounding. */
            if (fabs(c[m * N + n] - expected) <= 1e-4 * (1 + fabs(expected))) continue;
            if (wrong++ == 0) printf("C[%d][%d] is %g, expected %g\n", m, n, c[m * N + n], expected);
        }
    }
    return wrong;
}

static int multiply(rknn_matmul_ctx ctx, rknn_matmul_io_attr* io, rknn_tensor_mem* a, rknn_tensor_mem* b,
                    rknn_tensor_mem* c) {
    uint16_t* to;
    int m, n, k, wrong;

    to = data_of(a);
    for (m = 0; m < M; m++)
        for (k = 0; k < K; k++)
            to[m * K + k] = to_half(a_value(m, k));
    to = data_of(b);
    for (k = 0; k < K; k++)
        for (n = 0; n < N; n++)
            to[k * N + n] = to_half(b_value(k, n));

    /* Binding a matrix in plain rows converts a copy of it: fill first, and bind again after every change. */
    if (failed(rknn_matmul_set_io_mem(ctx, a, &io->A), "binding A")) return 1;
    if (failed(rknn_matmul_set_io_mem(ctx, b, &io->B), "binding B")) return 1;
    if (failed(rknn_matmul_set_io_mem(ctx, c, &io->C), "binding C")) return 1;
    if (failed(rknn_matmul_run(ctx), "rknn_matmul_run")) return 1;
    if (failed(rknn_mem_sync(ctx, c, RKNN_MEMORY_SYNC_FROM_DEVICE), "rknn_mem_sync")) return 1;

    wrong = compare(data_of(c));
    printf("fp16 [%d,%d] x [%d,%d], normal layouts: %s\n", M, K, K, N, wrong == 0 ? "correct" : "WRONG");
    return wrong != 0;
}

int main(void) {
    rknn_matmul_ctx ctx = 0;
    rknn_matmul_info info;
    rknn_matmul_io_attr io;
    rknn_sdk_version version;
    rknn_tensor_mem *a, *b, *c;
    int status = 1;

    memset(&info, 0, sizeof info);
    info.M = M;
    info.K = K;
    info.N = N;
    info.type = RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32;
    info.B_layout = RKNN_MM_LAYOUT_NORM;
    info.AC_layout = RKNN_MM_LAYOUT_NORM;
    if (failed(rknn_matmul_create(&ctx, &info, &io), "rknn_matmul_create")) return 1;
    if (rknn_query(ctx, RKNN_QUERY_SDK_VERSION, &version, sizeof version) == RKNN_SUCC)
        printf("runtime %s, driver %s\n", version.api_version, version.drv_version);

    /* The sizes come from the library: they may be larger than M * K elements. */
    a = rknn_create_mem(ctx, io.A.size);
    b = rknn_create_mem(ctx, io.B.size);
    c = rknn_create_mem(ctx, io.C.size);
    if (a != NULL && b != NULL && c != NULL) {
        status = multiply(ctx, &io, a, b, c);
    } else {
        fprintf(stderr, "out of NPU memory\n");
    }

    if (c != NULL && failed(rknn_destroy_mem(ctx, c), "rknn_destroy_mem")) status = 1;
    if (b != NULL && failed(rknn_destroy_mem(ctx, b), "rknn_destroy_mem")) status = 1;
    if (a != NULL && failed(rknn_destroy_mem(ctx, a), "rknn_destroy_mem")) status = 1;
    if (failed(rknn_matmul_destroy(ctx), "rknn_matmul_destroy")) status = 1;
    return status;
}
