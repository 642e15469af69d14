// SPDX-License-Identifier: MIT
/* A C program that declares the runtime's structures by itself, from the contract, and uses the library
 * through them: a mistake in our public headers cannot cancel out here. Exits 0, or prints what is wrong. */
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

struct shape {
    int32_t m, k, n;
};
struct quant {
    char name[256];
    float* scale;
    int32_t scale_len;
    int32_t* zp;
    int32_t zp_len;
};

int rknn_matmul_create(uint64_t* ctx, struct info* info, struct io_attr* io);
int rknn_matmul_create_dynamic_shape(uint64_t* ctx, struct info* info, int count, struct shape* shapes,
                                     struct io_attr* ios);
int rknn_matmul_set_dynamic_shape(uint64_t ctx, struct shape* shape);
int rknn_matmul_set_io_mem(uint64_t ctx, struct mem* mem, struct attr* attr);
int rknn_matmul_set_core_mask(uint64_t ctx, int mask);
int rknn_matmul_set_quant_params(uint64_t ctx, struct quant* params);
int rknn_matmul_get_quant_params(uint64_t ctx, struct quant* params, float* scale);
int rknn_matmul_run(uint64_t ctx);
int rknn_matmul_destroy(uint64_t ctx);
int rknn_B_normal_layout_to_native_layout(void* in, void* out, int k, int n, struct info* info);
struct mem* rknn_create_mem(uint64_t ctx, uint32_t size);
struct mem* rknn_create_mem2(uint64_t ctx, uint64_t size, uint64_t flags);
struct mem* rknn_create_mem_from_fd(uint64_t ctx, int32_t fd, void* virt, uint32_t size, int32_t offset);
struct mem* rknn_create_mem_from_phys(uint64_t ctx, uint64_t phys, void* virt, uint32_t size);
int rknn_destroy_mem(uint64_t ctx, struct mem* mem);
int rknn_mem_sync(uint64_t ctx, struct mem* mem, int mode);
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
    CHECK(offsetof(struct info, K) == 4 && offsetof(struct info, N) == 8 &&
          offsetof(struct info, type) == 12);
    CHECK(offsetof(struct info, b_layout) == 16 && offsetof(struct info, b_quant_type) == 18);
    CHECK(offsetof(struct info, ac_layout) == 20 && offsetof(struct info, ac_quant_type) == 22);
    CHECK(offsetof(struct info, iommu_domain_id) == 24 && offsetof(struct info, group_size) == 28);
    CHECK(offsetof(struct info, reserved) == 30);
    CHECK(sizeof(struct attr) == 332);
    CHECK(offsetof(struct attr, n_dims) == 256 && offsetof(struct attr, dims) == 260);
    CHECK(offsetof(struct attr, size) == 324 && offsetof(struct attr, type) == 328);
    CHECK(sizeof(struct io_attr) == 996 && offsetof(struct io_attr, b) == 332);
    CHECK(sizeof(struct mem) == 40);
    CHECK(offsetof(struct mem, phys_addr) == 8 && offsetof(struct mem, fd) == 16);
    CHECK(offsetof(struct mem, offset) == 20 && offsetof(struct mem, size) == 24);
    CHECK(offsetof(struct mem, flags) == 28 && offsetof(struct mem, priv_data) == 32);
    CHECK(sizeof(struct quant) == 288 && offsetof(struct quant, scale) == 256);
    CHECK(offsetof(struct quant, scale_len) == 264 && offsetof(struct quant, zp) == 272);
    CHECK(offsetof(struct quant, zp_len) == 280);
    CHECK(sizeof(struct shape) == 12 && sizeof(struct version) == 512);
}

static struct info info_of(int type, int m, int k, int n, int b_layout, int ac_layout) {
    struct info info;
    memset(&info, 0, sizeof info);
    info.M = m;
    info.K = k;
    info.N = n;
    info.type = type;
    info.b_layout = (int16_t)b_layout;
    info.ac_layout = (int16_t)ac_layout;
    return info;
}

/* The numbers of the types, of the tensor types of A, B and C, and of the dimensions in each layout. */
static void check_types(void) {
    static const struct {
        int type, input, c;
    } types[] = {{1, 1, 0}, {2, 2, 6}, {3, 2, 2}, {4, 1, 1}, {10, 10, 4}};
    static const int refused[] = {0, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16};
    size_t i;
    uint64_t ctx = 0;
    struct io_attr io;
    struct info info;
    for (i = 0; i < sizeof types / sizeof types[0]; i++) {
        info = info_of(types[i].type, 3, 64, 128, 1, 1);
        CHECK(rknn_matmul_create(&ctx, &info, &io) == 0);
        CHECK(io.a.type == types[i].input && io.b.type == types[i].input && io.c.type == types[i].c);
        CHECK(io.a.n_dims == 3 && io.b.n_dims == 4 && io.c.n_dims == 3);
        CHECK(rknn_matmul_destroy(ctx) == 0);
    }
    for (i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        info = info_of(refused[i], 3, 64, 128, 1, 1);
        CHECK(rknn_matmul_create(&ctx, &info, &io) == -5);
    }
    info = info_of(2, 3, 64, 96, 0, 0); /* normal */
    CHECK(rknn_matmul_create(&ctx, &info, &io) == 0);
    CHECK(io.a.n_dims == 2 && io.a.dims[0] == 3 && io.a.dims[1] == 64);
    CHECK(io.b.n_dims == 2 && io.b.dims[0] == 64 && io.b.dims[1] == 96);
    CHECK(io.c.n_dims == 2 && io.c.dims[0] == 3 && io.c.dims[1] == 96);
    CHECK(rknn_matmul_destroy(ctx) == 0);
    info = info_of(2, 3, 64, 96, 2, 0); /* B transposed */
    CHECK(rknn_matmul_create(&ctx, &info, &io) == 0);
    CHECK(io.b.n_dims == 2 && io.b.dims[0] == 96 && io.b.dims[1] == 64);
    CHECK(rknn_matmul_destroy(ctx) == 0);
}

/* Every other function, each through one use that shows its arguments. */
static void check_functions(void) {
    static int8_t normal[64 * 32], native[64 * 32];
    static const int masks[] = {0, 1, 2, 4, 3, 7, 0xffff};
    struct info info = info_of(3, 9, 64, 32, 1, 0);
    struct shape shapes[2] = {{2, 64, 32}, {5, 64, 32}};
    struct io_attr ios[2];
    struct quant quant;
    struct mem *mem, *slice, *same;
    float scale = 0.5F;
    int32_t zp = 0;
    uint64_t ctx = 0;
    size_t i;

    CHECK(rknn_matmul_create_dynamic_shape(&ctx, &info, 2, shapes, ios) == 0);
    CHECK(ios[0].a.size == 2 * 64 && ios[1].a.size == 5 * 64 && ios[1].c.size == 5 * 32);
    CHECK(rknn_matmul_set_dynamic_shape(ctx, &shapes[1]) == 0);
    for (i = 0; i < sizeof masks / sizeof masks[0]; i++)
        CHECK(rknn_matmul_set_core_mask(ctx, masks[i]) ==
              (i < 4 ? 0 : -1)); /* several cores: not for a matmul */
    memset(&quant, 0, sizeof quant);
    quant.name[0] = 'C';
    quant.scale = &scale;
    quant.scale_len = 1;
    quant.zp = &zp;
    quant.zp_len = 1;
    CHECK(rknn_matmul_set_quant_params(ctx, &quant) == 0);
    zp = 1;
    CHECK(rknn_matmul_set_quant_params(ctx, &quant) == -5);
    CHECK(rknn_matmul_get_quant_params(ctx, &quant, &scale) < 0); /* per-channel contexts only */
    CHECK(rknn_matmul_run(ctx) == -8 || rknn_matmul_run(ctx) == -9);

    for (i = 0; i < sizeof normal; i++)
        normal[i] = (int8_t)(i % 127);
    CHECK(rknn_B_normal_layout_to_native_layout(normal, native, 64, 32, &info) == 0);
    for (i = 0; i < sizeof native; i++) /* [1][64/32][32][32] */
        CHECK(native[i] == normal[(i / 1024 * 32 + i % 32) * 32 + i / 32 % 32]);

    mem = rknn_create_mem2(ctx, 8192, 1);
    CHECK(mem != NULL && rknn_create_mem2(ctx, 8192, 3) == NULL);
    if (mem == NULL) return;
    CHECK(mem->virt_addr != NULL && mem->phys_addr != 0 && mem->fd >= 0 && mem->offset == 0 &&
          mem->size == 8192);
    slice = rknn_create_mem_from_fd(ctx, mem->fd, mem->virt_addr, 1024, 4096);
    CHECK(slice != NULL && slice->offset == 4096 && slice->size == 1024 &&
          slice->virt_addr == mem->virt_addr);
    same = rknn_create_mem_from_phys(ctx, mem->phys_addr, mem->virt_addr, 8192);
    CHECK(same != NULL && same->phys_addr == mem->phys_addr);
    CHECK(rknn_mem_sync(ctx, mem, 1) == 0 && rknn_mem_sync(ctx, mem, 3) == 0);
    CHECK(rknn_mem_sync(ctx, mem, 0) == -5 && rknn_mem_sync(ctx, mem, 4) == -5);
    CHECK(rknn_destroy_mem(ctx, slice) == 0 && rknn_destroy_mem(ctx, same) == 0);
    CHECK(rknn_destroy_mem(ctx, mem) == 0);
    CHECK(rknn_matmul_destroy(ctx) == 0);
    CHECK(rknn_matmul_destroy(ctx) == -7);
}

int main(void) {
    struct info info;
    struct io_attr io;
    struct version version;
    struct mem *a, *b, *c;
    uint64_t ctx = 0;
    int i;

    check_sizes();
    check_types();
    check_functions();
    info = info_of(2, 1, 64, 32, 1, 1);
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
    CHECK(rknn_mem_sync(ctx, c, 2) == 0);
    for (i = 0; i < 32; i++)
        CHECK(((int32_t*)c->virt_addr)[i] == 64 * 6);
    CHECK(rknn_destroy_mem(ctx, a) == 0);
    CHECK(rknn_destroy_mem(ctx, b) == 0);
    CHECK(rknn_destroy_mem(ctx, c) == 0);
    CHECK(rknn_matmul_destroy(ctx) == 0);
    return failures != 0;
}
