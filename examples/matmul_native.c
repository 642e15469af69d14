// SPDX-License-Identifier: MIT
/* C = A * B in int8 as an engine for language models would do it: native layouts, three cores, several M.
 *
 *   cc matmul_native.c $(pkg-config --cflags --libs rknnsim) -pthread -o matmul_native && ./matmul_native
 *
 * One matmul runs on one core, so the columns of B are dealt to three contexts, each on a core and a thread
 * of its own. A context knows two shapes: 16 rows for a prompt and 1 row for the next token. B is packed and
 * bound once. The layouts are read from the attributes that the library gives. Prints what it did; exits with
 * 0 only if all is right. */
#include <pthread.h>
#include <rknn_matmul_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { K = 256, N = 288, CORES = 3, SHAPES = 2, MAX_M = 16 };
static const int rows_of_shape[SHAPES] = {MAX_M, 1};

typedef struct core {
    int index;
    int first, count; /* columns of B */
    rknn_matmul_ctx ctx;
    rknn_matmul_io_attr io[SHAPES];
    rknn_matmul_shape shapes[SHAPES];
    rknn_tensor_mem *a, *b, *c;
    int shape;       /* what the thread is to do */
    int bound_shape; /* -1: none yet */
    int result;
} core;

static int8_t a_matrix[MAX_M][K], b_matrix[K][N];
static int32_t c_matrix[MAX_M][N];

static int failed(int code, const char* what) {
    if (code != RKNN_SUCC) fprintf(stderr, "%s failed with %d\n", what, code);
    return code != RKNN_SUCC;
}

static void* data_of(const rknn_tensor_mem* mem) {
    return (char*)mem->virt_addr + mem->offset;
}

/* Native A is [K / atom][M][atom]. */
static void pack_a(const rknn_matmul_tensor_attr* attr, int8_t* to) {
    const uint32_t blocks = attr->dims[0], rows = attr->dims[1], atom = attr->dims[2];
    uint32_t i, m, j;
    for (i = 0; i < blocks; i++)
        for (m = 0; m < rows; m++)
            for (j = 0; j < atom; j++)
                *to++ = a_matrix[m][i * atom + j];
}

/* Native B is [N / sub_n][K / sub_k][sub_n][sub_k]; K is below the length at which it would come in segments.
 */
static void pack_b(const core* self, int8_t* to) {
    const uint32_t* dims = self->io[0].B.dims;
    uint32_t n, k, i, j;
    for (n = 0; n < dims[0]; n++)
        for (k = 0; k < dims[1]; k++)
            for (i = 0; i < dims[2]; i++)
                for (j = 0; j < dims[3]; j++)
                    *to++ = b_matrix[k * dims[3] + j][self->first + (int)(n * dims[2] + i)];
}

/* Native C is [N / atom][M][atom]. */
static void unpack_c(const core* self, const rknn_matmul_tensor_attr* attr, const int32_t* from) {
    const uint32_t blocks = attr->dims[0], rows = attr->dims[1], atom = attr->dims[2];
    uint32_t i, m, j;
    for (i = 0; i < blocks; i++)
        for (m = 0; m < rows; m++)
            for (j = 0; j < atom; j++)
                c_matrix[m][self->first + (int)(i * atom + j)] = *from++;
}

static uint32_t larger(uint32_t x, uint32_t y) {
    return x > y ? x : y;
}

/* Leaves what it could make in `self`; close_core cleans up whatever there is. */
static int open_core(core* self) {
    static const rknn_core_mask masks[CORES] = {RKNN_NPU_CORE_0, RKNN_NPU_CORE_1, RKNN_NPU_CORE_2};
    rknn_matmul_info info;
    int i;

    memset(&info, 0, sizeof info);
    info.M = MAX_M;
    info.K = K;
    info.N = self->count;
    info.type = RKNN_INT8_MM_INT8_TO_INT32;
    info.B_layout = RKNN_MM_LAYOUT_NATIVE;
    info.AC_layout = RKNN_MM_LAYOUT_NATIVE;
    for (i = 0; i < SHAPES; i++) {
        self->shapes[i].M = rows_of_shape[i];
        self->shapes[i].K = K;
        self->shapes[i].N = self->count;
    }
    if (failed(rknn_matmul_create_dynamic_shape(&self->ctx, &info, SHAPES, self->shapes, self->io),
               "rknn_matmul_create_dynamic_shape")) {
        self->ctx = 0;
        return 1;
    }
    if (failed(rknn_matmul_set_core_mask(self->ctx, masks[self->index]), "rknn_matmul_set_core_mask"))
        return 1;

    self->a = rknn_create_mem(self->ctx, larger(self->io[0].A.size, self->io[1].A.size));
    self->b = rknn_create_mem(self->ctx, self->io[0].B.size);
    self->c = rknn_create_mem(self->ctx, larger(self->io[0].C.size, self->io[1].C.size));
    if (self->a == NULL || self->b == NULL || self->c == NULL) {
        fprintf(stderr, "out of NPU memory\n");
        return 1;
    }
    pack_b(self, data_of(self->b));
    /* The numbers may still be in the CPU's cache, and binding may leave them there. */
    if (failed(rknn_mem_sync(self->ctx, self->b, RKNN_MEMORY_SYNC_TO_DEVICE), "syncing B")) return 1;
    return failed(rknn_matmul_set_io_mem(self->ctx, self->b, &self->io[0].B), "binding B");
}

static int close_core(core* self) {
    int bad = 0;
    if (self->c != NULL) bad |= failed(rknn_destroy_mem(self->ctx, self->c), "rknn_destroy_mem");
    if (self->b != NULL) bad |= failed(rknn_destroy_mem(self->ctx, self->b), "rknn_destroy_mem");
    if (self->a != NULL) bad |= failed(rknn_destroy_mem(self->ctx, self->a), "rknn_destroy_mem");
    if (self->ctx != 0) bad |= failed(rknn_matmul_destroy(self->ctx), "rknn_matmul_destroy");
    return bad;
}

/* One core's part of a product: its thread. */
static void* run_core(void* argument) {
    core* self = argument;
    rknn_matmul_io_attr* io = &self->io[self->shape];

    self->result = 1;
    if (self->shape != self->bound_shape) {
        /* After a change of shape, A and C are bound anew, with that shape's attributes; B stays. */
        if (failed(rknn_matmul_set_dynamic_shape(self->ctx, &self->shapes[self->shape]), "setting the shape"))
            return NULL;
        if (failed(rknn_matmul_set_io_mem(self->ctx, self->a, &io->A), "binding A")) return NULL;
        if (failed(rknn_matmul_set_io_mem(self->ctx, self->c, &io->C), "binding C")) return NULL;
        self->bound_shape = self->shape;
    }
    /* As with B: each time, whatever was bound before. */
    pack_a(&io->A, data_of(self->a));
    if (failed(rknn_mem_sync(self->ctx, self->a, RKNN_MEMORY_SYNC_TO_DEVICE), "syncing A")) return NULL;
    if (failed(rknn_matmul_run(self->ctx), "rknn_matmul_run")) return NULL;
    if (failed(rknn_mem_sync(self->ctx, self->c, RKNN_MEMORY_SYNC_FROM_DEVICE), "syncing C")) return NULL;
    unpack_c(self, &io->C, data_of(self->c));
    self->result = 0;
    return NULL;
}

static int compare(int rows) {
    int m, n, k, wrong = 0;
    for (m = 0; m < rows; m++) {
        for (n = 0; n < N; n++) {
            int32_t expected = 0;
            for (k = 0; k < K; k++)
                expected += a_matrix[m][k] * b_matrix[k][n];
            if (c_matrix[m][n] == expected) continue;
            if (wrong++ == 0)
                printf("C[%d][%d] is %d, expected %d\n", m, n, (int)c_matrix[m][n], (int)expected);
        }
    }
    return wrong;
}

/* All cores at once, then the comparison. */
static int multiply(core* cores, int shape, int seed) {
    pthread_t threads[CORES];
    int i, m, k, started, bad = 0;

    for (m = 0; m < rows_of_shape[shape]; m++)
        for (k = 0; k < K; k++)
            a_matrix[m][k] = (int8_t)((m * 31 + k * 17 + seed * 7) % 255 - 127);
    memset(c_matrix, 0x55, sizeof c_matrix);
    for (started = 0; started < CORES; started++) {
        cores[started].shape = shape;
        if (pthread_create(&threads[started], NULL, run_core, &cores[started]) != 0) break;
    }
    for (i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        bad |= cores[i].result;
    }
    if (started < CORES) fprintf(stderr, "cannot start a thread\n");
    if (bad || started < CORES) return 1;
    bad = compare(rows_of_shape[shape]);
    printf("int8 [%d,%d] x [%d,%d], native layouts, %d cores: %s\n", rows_of_shape[shape], K, K, N, CORES,
           bad == 0 ? "correct" : "WRONG");
    return bad != 0;
}

int main(void) {
    core cores[CORES];
    int i, n, k, status = 0;

    for (k = 0; k < K; k++)
        for (n = 0; n < N; n++)
            b_matrix[k][n] = (int8_t)((k * 13 + n * 29) % 255 - 127);

    memset(cores, 0, sizeof cores);
    for (i = 0; i < CORES && status == 0; i++) {
        cores[i].index = i;
        cores[i].bound_shape = -1;
        cores[i].count = N / CORES; /* 96: a multiple of 32, as int8 demands */
        cores[i].first = i * (N / CORES);
        status = open_core(&cores[i]);
    }
    /* A prompt, two tokens, another prompt. */
    if (status == 0) status = multiply(cores, 0, 1);
    if (status == 0) status = multiply(cores, 1, 2);
    if (status == 0) status = multiply(cores, 1, 3);
    if (status == 0) status = multiply(cores, 0, 4);
    for (i = 0; i < CORES; i++)
        status |= close_core(&cores[i]);
    return status;
}
