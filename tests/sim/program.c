// SPDX-License-Identifier: MIT
/* A program that uses the simulator in one of the ways that its first argument names, for test_processes.py:
 * what happens to a process as a whole cannot be seen from inside a test. Prints what came of it to stdout.
 */
#define _GNU_SOURCE
#define RKNNSIM_PLAIN_INTEGERS
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/rknnsim.h"
#include "include/rknn_matmul_api.h"

enum { kM = 4, kK = 64, kN = 64 };

struct matmul {
    rknn_matmul_ctx ctx;
    rknn_matmul_io_attr attr;
    rknn_tensor_mem *a, *b, *c;
};

static int make(struct matmul* m) {
    rknn_matmul_info info;
    memset(&info, 0, sizeof info);
    info.M = kM;
    info.K = kK;
    info.N = kN;
    info.type = RKNN_INT8_MM_INT8_TO_INT32;
    memset(m, 0, sizeof *m);
    if (rknn_matmul_create(&m->ctx, &info, &m->attr) != 0) return -1;
    m->a = rknn_create_mem(m->ctx, m->attr.A.size);
    m->b = rknn_create_mem(m->ctx, m->attr.B.size);
    m->c = rknn_create_mem(m->ctx, m->attr.C.size);
    return m->a == NULL || m->b == NULL || m->c == NULL ? -1 : 0;
}

static int bind_all(struct matmul* m) {
    int8_t *a = m->a->virt_addr, *b = m->b->virt_addr;
    int i;
    for (i = 0; i < kM * kK; i++)
        a[i] = (int8_t)(i % 7 - 3);
    for (i = 0; i < kK * kN; i++)
        b[i] = (int8_t)(i % 11 - 5);
    return rknn_matmul_set_io_mem(m->ctx, m->a, &m->attr.A) ||
           rknn_matmul_set_io_mem(m->ctx, m->b, &m->attr.B) ||
           rknn_matmul_set_io_mem(m->ctx, m->c, &m->attr.C);
}

/* How many elements of C are not what A and B say. */
static int wrong(const struct matmul* m) {
    const int8_t *a = m->a->virt_addr, *b = m->b->virt_addr;
    const int32_t* c = m->c->virt_addr;
    int i, j, k, count = 0;
    for (i = 0; i < kM; i++) {
        for (j = 0; j < kN; j++) {
            int32_t sum = 0;
            for (k = 0; k < kK; k++)
                sum += a[i * kK + k] * b[k * kN + j];
            count += c[i * kN + j] != sum;
        }
    }
    return count;
}

static int destroy(struct matmul* m) {
    return rknn_destroy_mem(m->ctx, m->a) || rknn_destroy_mem(m->ctx, m->b) ||
           rknn_destroy_mem(m->ctx, m->c) || rknn_matmul_destroy(m->ctx);
}

/* Refused calls between binding and running: their messages must not end up in the operands. */
static int multiply(void) {
    struct matmul m;
    int i;
    if (make(&m) != 0 || bind_all(&m) != 0) return 1;
    for (i = 0; i < 5; i++)
        rknn_matmul_set_core_mask(m.ctx, 5);
    if (rknn_matmul_run(m.ctx) != 0) return 1;
    for (i = 0; i < 5; i++)
        rknn_matmul_set_core_mask(m.ctx, 5);
    printf("descriptors %d %d %d wrong %d\n", m.a->fd, m.b->fd, m.c->fd, wrong(&m));
    return destroy(&m);
}

/* The same refusal, and one that differs in its numbers. */
static int refuse(int times) {
    rknn_matmul_info info;
    rknn_matmul_io_attr attr;
    rknn_matmul_ctx ctx = 0;
    int i;
    memset(&info, 0, sizeof info);
    info.M = 1;
    info.N = 64;
    info.type = RKNN_INT8_MM_INT8_TO_INT32;
    for (i = 0; i < times; i++) {
        info.K = 33 + i % 7;
        if (rknn_matmul_create(&ctx, &info, &attr) == 0) return 1;
        if (rknn_matmul_run(0x52330000u + 4096u + (unsigned)i) == 0) return 1;
    }
    return 0;
}

static void* run_on_thread(void* argument) {
    struct matmul* m = argument;
    /* A canceled thread never gets to its return. */
    int code = rknn_matmul_run(m->ctx);
    m->attr.C.n_dims = code == 0 ? 77 : 66;
    pthread_testcancel();
    return NULL;
}

/* With RKNNSIM_REALTIME=1 and a delay the run waits, and is cancelled there. */
static int cancel(void) {
    struct matmul m;
    pthread_t thread;
    void* result = NULL;
    if (make(&m) != 0 || bind_all(&m) != 0) return 1;
    if (pthread_create(&thread, NULL, run_on_thread, &m) != 0) return 1;
    usleep(50000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    printf("cancelled %d ended %d wrong %d\n", result == PTHREAD_CANCELED, m.attr.C.n_dims == 77, wrong(&m));
    return destroy(&m);
}

static int wait_for(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A child that only exits; one that makes and leaves something; one that cleans up after itself. */
static int forks(const char* how) {
    struct matmul m, own;
    pid_t child;
    int status;
    if (make(&m) != 0 || bind_all(&m) != 0) return 1;
    rknn_mem_sync(m.ctx, m.c, RKNN_MEMORY_SYNC_FROM_DEVICE); /* poison: the checker counts one */
    fflush(stdout);
    child = fork();
    if (child == 0) {
        int bad = 0;
        if (strcmp(how, "exits") != 0)
            bad = make(&own) != 0 || bind_all(&own) != 0 || rknn_matmul_run(own.ctx) != 0;
        if (strcmp(how, "leaks") == 0) dup(own.a->fd);
        if (strcmp(how, "cleans") == 0) {
            bad = bad || wrong(&own) != 0 || rknnsim_check_count(NULL) != 0 || destroy(&own);
        }
        exit(bad ? 3 : 0);
    }
    status = wait_for(child);
    printf("child %d\n", status);
    return destroy(&m);
}

static int leak(void) {
    struct matmul m;
    return make(&m);
}

/* A buffer that the simulator cannot make. */
static int big(void) {
    struct matmul m;
    rknn_tensor_mem* mem;
    rknn_matmul_info info;
    memset(&info, 0, sizeof info);
    info.M = 1;
    info.K = info.N = 64;
    info.type = RKNN_INT8_MM_INT8_TO_INT32;
    if (rknn_matmul_create(&m.ctx, &info, &m.attr) != 0) return 1;
    mem = rknn_create_mem(m.ctx, 1 << 20);
    printf("memory %s\n", mem == NULL ? "NULL" : "made");
    return rknn_matmul_destroy(m.ctx);
}

int main(int argc, char** argv) {
    const char* mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "multiply") == 0) return multiply();
    if (strcmp(mode, "refuse") == 0) return refuse(atoi(argv[2]));
    if (strcmp(mode, "cancel") == 0) return cancel();
    if (strcmp(mode, "fork") == 0) return forks(argv[2]);
    if (strcmp(mode, "leak") == 0) return leak();
    if (strcmp(mode, "big") == 0) return big();
    fprintf(stderr, "program: unknown mode \"%s\"\n", mode);
    return 2;
}
