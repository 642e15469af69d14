// SPDX-License-Identifier: MIT
/* A program as backends for a board are: operands in buffers of a dma-buf heap, imported; handed over by
 * DMA_BUF_IOCTL_SYNC. Exit status 0 when all results are right. */
#include <dlfcn.h>
#include <fcntl.h>
#include <rknn_matmul_api.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALLOC 0xc0184800UL /* DMA_HEAP_IOCTL_ALLOC */
#define SYNC 0x40086200UL  /* DMA_BUF_IOCTL_SYNC */
enum { kRead = 1, kWrite = 2, kStart = 0, kEnd = 4, kM = 4, kK = 64, kN = 64 };

struct allocation {
    uint64_t len;
    uint32_t fd, fd_flags;
    uint64_t heap_flags;
};
struct buffer {
    int fd;
    void* virt;
    rknn_tensor_mem* mem;
};

static int failures = 0;

static void check(int ok, const char* what) {
    if (ok) return;
    printf("WRONG: %s\n", what);
    failures++;
}

static void sync_for(const struct buffer* buffer, uint64_t flags) {
    check(ioctl(buffer->fd, SYNC, &flags) == 0, "DMA_BUF_IOCTL_SYNC");
}

static int make(int heap, rknn_matmul_ctx ctx, uint32_t size, struct buffer* buffer) {
    struct allocation data;
    memset(&data, 0, sizeof data);
    data.len = size;
    data.fd_flags = O_RDWR | O_CLOEXEC;
    if (ioctl(heap, ALLOC, &data) != 0) return -1;
    buffer->fd = (int)data.fd;
    buffer->virt = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, buffer->fd, 0);
    if (buffer->virt == MAP_FAILED) return -1;
    buffer->mem = rknn_create_mem_from_fd(ctx, buffer->fd, buffer->virt, size, 0);
    return buffer->mem == NULL ? -1 : 0;
}

static void fill(const struct buffer* buffer, int count, int seed) {
    int8_t* to = buffer->virt;
    int i;
    sync_for(buffer, kStart | kWrite);
    for (i = 0; i < count; i++)
        to[i] = (int8_t)((i * 7 + seed) % 11 - 5);
    sync_for(buffer, kEnd | kWrite);
}

static int right(const struct buffer* m) {
    const int8_t *a = m[0].virt, *b = m[1].virt;
    const int32_t* c = m[2].virt;
    int i, j, k, wrong = 0;
    sync_for(&m[2], kStart | kRead);
    for (i = 0; i < kM; i++) {
        for (j = 0; j < kN; j++) {
            int32_t sum = 0;
            for (k = 0; k < kK; k++) /* native: [K/16][M][16] and [N/32][K/32][32][32] */
                sum += a[(k / 16 * kM + i) * 16 + k % 16] *
                       b[((j / 32 * (kK / 32) + k / 32) * 32 + j % 32) * 32 + k % 32];
            wrong += c[(j / 4 * kM + i) * 4 + j % 4] != sum;
        }
    }
    sync_for(&m[2], kEnd | kRead);
    return wrong == 0;
}

int main(void) {
    rknn_matmul_info info;
    rknn_matmul_io_attr attr;
    rknn_matmul_ctx ctx = 0;
    struct buffer m[3];
    struct allocation none;
    const int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
    int i;
    if (heap < 0) {
        printf("no heap\n");
        return 3;
    }
    check(heap > 2, "the heap's descriptor");
    memset(&none, 0, sizeof none);
    check(ioctl(heap, ALLOC, &none) == -1, "a buffer of no bytes");
    memset(&info, 0, sizeof info);
    info.M = kM;
    info.K = kK;
    info.N = kN;
    info.type = RKNN_INT8_MM_INT8_TO_INT32;
    info.B_layout = RKNN_MM_LAYOUT_NATIVE;
    info.AC_layout = RKNN_MM_LAYOUT_NATIVE;
    if (rknn_matmul_create(&ctx, &info, &attr) != 0) return 1;
    if (make(heap, ctx, attr.A.size, &m[0]) != 0 || make(heap, ctx, attr.B.size, &m[1]) != 0 ||
        make(heap, ctx, attr.C.size, &m[2]) != 0)
        return 1;
    close(heap);
    fill(&m[0], kM * kK, 1);
    fill(&m[1], kK * kN, 2);
    check(rknn_matmul_set_io_mem(ctx, m[0].mem, &attr.A) == 0 &&
              rknn_matmul_set_io_mem(ctx, m[1].mem, &attr.B) == 0 &&
              rknn_matmul_set_io_mem(ctx, m[2].mem, &attr.C) == 0,
          "binding");
    check(rknn_matmul_run(ctx) == 0 && right(m), "the first product");
    fill(&m[0], kM * kK, 5); /* bound once, then handed over */
    check(rknn_matmul_run(ctx) == 0 && right(m), "the product after a sync");
    for (i = 0; i < 3; i++) {
        check(rknn_destroy_mem(ctx, m[i].mem) == 0, "destroying memory");
        munmap(m[i].virt, 4096);
        close(m[i].fd);
    }
    check(rknn_matmul_destroy(ctx) == 0, "destroying the context");
    if (failures == 0) printf("heap: right\n");
    return failures != 0;
}
