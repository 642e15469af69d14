/* The C interface of the vendor's matmul runtime for 64-bit systems, as far as the simulator offers it.
 *
 * Written by us from the facts in docs/hardware.md (names, numbers, field order, sizes); it is not the
 * vendor's header. Plain C99, so that a C program can check it. Names and forms are the runtime's, not ours:
 * what stands here is a contract between binaries, and the assertions at the end hold its layout in place.
 *
 * All functions return 0 or one of the negative RKNN_ERR_ codes, except rknn_create_mem*, which return a
 * rknn_tensor_mem or NULL.
 */
#ifndef RKNNSIM_RKNN_ABI_H
#define RKNNSIM_RKNN_ABI_H

#include <stddef.h>
#include <stdint.h>

#define RKNN_SUCC 0
#define RKNN_ERR_FAIL (-1)
#define RKNN_ERR_TIMEOUT (-2)
#define RKNN_ERR_DEVICE_UNAVAILABLE (-3)
#define RKNN_ERR_MALLOC_FAIL (-4)
#define RKNN_ERR_PARAM_INVALID (-5)
#define RKNN_ERR_MODEL_INVALID (-6)
#define RKNN_ERR_CTX_INVALID (-7)
#define RKNN_ERR_INPUT_INVALID (-8)
#define RKNN_ERR_OUTPUT_INVALID (-9)
#define RKNN_ERR_DEVICE_UNMATCH (-10)

#define RKNN_QUERY_SDK_VERSION 5

#define RKNN_FLAG_MEMORY_CACHEABLE 1
#define RKNN_FLAG_MEMORY_NON_CACHEABLE 2
#define RKNN_FLAG_MEMORY_TRY_ALLOC_SRAM 4
#define RKNN_MEM_FLAG_ALLOC_NO_CONTEXT 0x20000

#define RKNN_MEMORY_SYNC_TO_DEVICE 1
#define RKNN_MEMORY_SYNC_FROM_DEVICE 2
#define RKNN_MEMORY_SYNC_BIDIRECTIONAL 3

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t rknn_context;
typedef rknn_context rknn_matmul_ctx;

/* The runtime's enumerations, passed as int. */
typedef int rknn_tensor_type; /* FLOAT32 0, FLOAT16 1, INT8 2, UINT8 3, INT16 4, ..., INT32 6, ..., INT4 10 */
typedef int rknn_matmul_type; /* 1 F16F16F32, 2 I8I8I32, 3 I8I8I8, 4 F16F16F16, 10 I4I4I16 */
typedef int rknn_core_mask;   /* AUTO 0, core 0: 1, core 1: 2, core 2: 4, several 3, 7, 0xffff */

typedef struct rknn_matmul_info {
    int32_t M;
    int32_t K;
    int32_t N;
    rknn_matmul_type type;
    int16_t B_layout;     /* 0 normal [K,N], 1 native, 2 transposed [N,K] */
    int16_t B_quant_type; /* 0 per layer, symmetric */
    int16_t AC_layout;    /* 0 normal, 1 native */
    int16_t AC_quant_type;
    int32_t iommu_domain_id;
    int16_t group_size;
    int8_t reserved[34];
} rknn_matmul_info;

typedef struct rknn_matmul_tensor_attr {
    char name[256];
    uint32_t n_dims;
    uint32_t dims[16];
    uint32_t size;
    rknn_tensor_type type;
} rknn_matmul_tensor_attr;

typedef struct rknn_matmul_io_attr {
    rknn_matmul_tensor_attr A;
    rknn_matmul_tensor_attr B;
    rknn_matmul_tensor_attr C;
} rknn_matmul_io_attr;

typedef struct rknn_matmul_shape {
    int32_t M;
    int32_t K;
    int32_t N;
} rknn_matmul_shape;

typedef struct rknn_quant_params {
    char name[256];
    float* scale;
    int32_t scale_len;
    int32_t* zp;
    int32_t zp_len;
} rknn_quant_params;

typedef struct rknn_tensor_mem {
    void* virt_addr; /* data start at virt_addr + offset */
    uint64_t phys_addr;
    int32_t fd;
    int32_t offset;
    uint32_t size;
    uint32_t flags;
    void* priv_data;
} rknn_tensor_mem;

typedef struct rknn_sdk_version {
    char api_version[256];
    char drv_version[256];
} rknn_sdk_version;

int rknn_matmul_create(rknn_matmul_ctx* ctx, rknn_matmul_info* info, rknn_matmul_io_attr* io_attr);
int rknn_matmul_create_dynamic_shape(rknn_matmul_ctx* ctx, rknn_matmul_info* info, int shape_num,
                                     rknn_matmul_shape dynamic_shapes[], rknn_matmul_io_attr io_attrs[]);
int rknn_matmul_set_dynamic_shape(rknn_matmul_ctx ctx, rknn_matmul_shape* shape);
int rknn_matmul_set_io_mem(rknn_matmul_ctx ctx, rknn_tensor_mem* mem, rknn_matmul_tensor_attr* attr);
int rknn_matmul_set_core_mask(rknn_matmul_ctx ctx, rknn_core_mask core_mask);
int rknn_matmul_set_quant_params(rknn_matmul_ctx ctx, rknn_quant_params* params);
int rknn_matmul_get_quant_params(rknn_matmul_ctx ctx, rknn_quant_params* params, float* scale);
int rknn_matmul_run(rknn_matmul_ctx ctx);
int rknn_matmul_destroy(rknn_matmul_ctx ctx);
int rknn_B_normal_layout_to_native_layout(void* B_input, void* B_output, int K, int N,
                                          rknn_matmul_info* info);

rknn_tensor_mem* rknn_create_mem(rknn_context ctx, uint32_t size);
rknn_tensor_mem* rknn_create_mem2(rknn_context ctx, uint64_t size, uint64_t alloc_flags);
rknn_tensor_mem* rknn_create_mem_from_fd(rknn_context ctx, int32_t fd, void* virt_addr, uint32_t size,
                                         int32_t offset);
rknn_tensor_mem* rknn_create_mem_from_phys(rknn_context ctx, uint64_t phys_addr, void* virt_addr,
                                           uint32_t size);
int rknn_destroy_mem(rknn_context ctx, rknn_tensor_mem* mem);
int rknn_mem_sync(rknn_context ctx, rknn_tensor_mem* mem, int mode);
int rknn_query(rknn_context ctx, int cmd, void* info, uint32_t size);

#ifdef __cplusplus
}

static_assert(sizeof(void*) == 8, "the simulator is for 64-bit systems");
static_assert(sizeof(rknn_matmul_info) == 64);
static_assert(offsetof(rknn_matmul_info, type) == 12 && offsetof(rknn_matmul_info, B_layout) == 16);
static_assert(offsetof(rknn_matmul_info, B_quant_type) == 18 && offsetof(rknn_matmul_info, AC_layout) == 20);
static_assert(offsetof(rknn_matmul_info, AC_quant_type) == 22);
static_assert(offsetof(rknn_matmul_info, iommu_domain_id) == 24);
static_assert(offsetof(rknn_matmul_info, group_size) == 28 && offsetof(rknn_matmul_info, reserved) == 30);
static_assert(sizeof(rknn_matmul_tensor_attr) == 332);
static_assert(offsetof(rknn_matmul_tensor_attr, n_dims) == 256 &&
              offsetof(rknn_matmul_tensor_attr, dims) == 260);
static_assert(offsetof(rknn_matmul_tensor_attr, size) == 324 &&
              offsetof(rknn_matmul_tensor_attr, type) == 328);
static_assert(sizeof(rknn_matmul_io_attr) == 996);
static_assert(sizeof(rknn_matmul_shape) == 12);
static_assert(sizeof(rknn_quant_params) == 288);
static_assert(offsetof(rknn_quant_params, scale) == 256 && offsetof(rknn_quant_params, scale_len) == 264);
static_assert(offsetof(rknn_quant_params, zp) == 272 && offsetof(rknn_quant_params, zp_len) == 280);
static_assert(sizeof(rknn_tensor_mem) == 40);
static_assert(offsetof(rknn_tensor_mem, phys_addr) == 8 && offsetof(rknn_tensor_mem, fd) == 16);
static_assert(offsetof(rknn_tensor_mem, offset) == 20 && offsetof(rknn_tensor_mem, size) == 24);
static_assert(offsetof(rknn_tensor_mem, flags) == 28 && offsetof(rknn_tensor_mem, priv_data) == 32);
static_assert(sizeof(rknn_sdk_version) == 512);
#endif

#endif
