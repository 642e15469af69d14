/* A C program that declares the runtime's structures by itself, from the contract, and uses the library
 * through them: a mistake in sim/api/rknn_abi.h cannot cancel out here. Exits 0, or prints what is wrong. */
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
struct mem {
    void* virt_addr;
    uint64_t phys_addr;
    int32_t fd, offset;
    uint32_t size, flags;
    void* priv_data;
};
struct version {
    char api[256], driver[256];
};

int rknn_matmul_create(uint64_t* ctx, struct info* info, struct io_attr* io);
int rknn_matmul_set_io_mem(uint64_t ctx, struct mem* mem, struct attr* attr);
int rknn_matmul_run(uint64_t ctx);
int rknn_matmul_destroy(uint64_t ctx);
struct mem* rknn_create_mem(uint64_t ctx, uint32_t size);
int rknn_destroy_mem(uint64_t ctx, struct mem* mem);
int rknn_query(uint64_t ctx, int command, void* info, uint32_t size);

static int failures = 0;

#define CHECK(condition)                                           \
    do {                                                           \
        if (!(condition)) {                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                            \
        }                                                          \
    } while (0)

static void check_sizes(void) {
    CHECK(sizeof(struct info) == 64);
    CHECK(offsetof(struct info, type) == 12);
    CHECK(offsetof(struct info, b_layout) == 16);
    CHECK(offsetof(struct info, iommu_domain_id) == 24);
    CHECK(offsetof(struct info, reserved) == 30);
    CHECK(sizeof(struct attr) == 332);
    CHECK(offsetof(struct attr, dims) == 260);
    CHECK(offsetof(struct attr, size) == 324);
    CHECK(sizeof(struct io_attr) == 996);
    CHECK(sizeof(struct mem) == 40);
    CHECK(offsetof(struct mem, fd) == 16);
    CHECK(offsetof(struct mem, priv_data) == 32);
}

int main(void) {
    struct info info;
    struct io_attr io;
    struct version version;
    struct mem *a, *b, *c;
    uint64_t ctx = 0;
    int i;

    check_sizes();
    memset(&info, 0, sizeof info);
    info.M = 1;
    info.K = 64;
    info.N = 32;
    info.type = 2;
    info.b_layout = 1;
    info.ac_layout = 1;
    CHECK(rknn_matmul_create(&ctx, &info, &io) == 0);
    CHECK(strcmp(io.a.name, "A") == 0 && strcmp(io.b.name, "B") == 0 && strcmp(io.c.name, "C") == 0);
    CHECK(io.a.size == 64 && io.b.size == 64 * 32 && io.c.size == 32 * 4);
    CHECK(io.a.n_dims == 3 && io.b.n_dims == 4 && io.c.n_dims == 3);
    CHECK(io.a.type == 2 && io.b.type == 2 && io.c.type == 6);
    CHECK(rknn_query(ctx, 5, &version, sizeof version) == 0);
    CHECK(strstr(version.api, "rknnsim") != NULL);

    a = rknn_create_mem(ctx, io.a.size);
    b = rknn_create_mem(ctx, io.b.size);
    c = rknn_create_mem(ctx, io.c.size);
    CHECK(a != NULL && b != NULL && c != NULL);
    if (a == NULL || b == NULL || c == NULL) return 1;
    memset((char*)a->virt_addr + a->offset, 2, io.a.size);
    memset((char*)b->virt_addr + b->offset, 3, io.b.size);
    CHECK(rknn_matmul_set_io_mem(ctx, a, &io.a) == 0);
    CHECK(rknn_matmul_set_io_mem(ctx, b, &io.b) == 0);
    CHECK(rknn_matmul_set_io_mem(ctx, c, &io.c) == 0);
    CHECK(rknn_matmul_run(ctx) == 0);
    for (i = 0; i < 32; i++)
        CHECK(((int32_t*)c->virt_addr)[i] == 64 * 6);
    CHECK(rknn_destroy_mem(ctx, a) == 0);
    CHECK(rknn_destroy_mem(ctx, b) == 0);
    CHECK(rknn_destroy_mem(ctx, c) == 0);
    CHECK(rknn_matmul_destroy(ctx) == 0);
    return failures != 0;
}
