// SPDX-License-Identifier: MIT
/* Every public name of rknn_api.h and rknn_matmul_api.h, used as a program for the vendor's interface would,
 * in C99 and (names.cpp) in C++: that it is there, has its documented number and its documented form. */
#include <rknn_matmul_api.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct number {
    const char* name;
    int is, must_be;
};

#define NUMBER(name, value) \
    { #name, (int)(name), value }

static const struct number numbers[] = {
    NUMBER(RKNN_SUCC, 0),
    NUMBER(RKNN_ERR_FAIL, -1),
    NUMBER(RKNN_ERR_TIMEOUT, -2),
    NUMBER(RKNN_ERR_DEVICE_UNAVAILABLE, -3),
    NUMBER(RKNN_ERR_MALLOC_FAIL, -4),
    NUMBER(RKNN_ERR_PARAM_INVALID, -5),
    NUMBER(RKNN_ERR_MODEL_INVALID, -6),
    NUMBER(RKNN_ERR_CTX_INVALID, -7),
    NUMBER(RKNN_ERR_INPUT_INVALID, -8),
    NUMBER(RKNN_ERR_OUTPUT_INVALID, -9),
    NUMBER(RKNN_ERR_DEVICE_UNMATCH, -10),
    NUMBER(RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL, -11),
    NUMBER(RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION, -12),
    NUMBER(RKNN_ERR_TARGET_PLATFORM_UNMATCH, -13),
    NUMBER(RKNN_TENSOR_FLOAT32, 0),
    NUMBER(RKNN_TENSOR_FLOAT16, 1),
    NUMBER(RKNN_TENSOR_INT8, 2),
    NUMBER(RKNN_TENSOR_UINT8, 3),
    NUMBER(RKNN_TENSOR_INT16, 4),
    NUMBER(RKNN_TENSOR_UINT16, 5),
    NUMBER(RKNN_TENSOR_INT32, 6),
    NUMBER(RKNN_TENSOR_UINT32, 7),
    NUMBER(RKNN_TENSOR_INT64, 8),
    NUMBER(RKNN_TENSOR_BOOL, 9),
    NUMBER(RKNN_TENSOR_INT4, 10),
    NUMBER(RKNN_TENSOR_BFLOAT16, 11),
    NUMBER(RKNN_TENSOR_TYPE_MAX, 12),
    NUMBER(RKNN_MAX_DIMS, 16),
    NUMBER(RKNN_MAX_NUM_CHANNEL, 15),
    NUMBER(RKNN_MAX_NAME_LEN, 256),
    NUMBER(RKNN_MAX_DYNAMIC_SHAPE_NUM, 512),
    NUMBER(RKNN_TENSOR_NCHW, 0),
    NUMBER(RKNN_TENSOR_NHWC, 1),
    NUMBER(RKNN_TENSOR_NC1HWC2, 2),
    NUMBER(RKNN_TENSOR_UNDEFINED, 3),
    NUMBER(RKNN_TENSOR_FORMAT_MAX, 4),
    NUMBER(RKNN_NPU_CORE_UNDEFINED, 0x10000),
    NUMBER(RKNN_NPU_CORE_AUTO, 0),
    NUMBER(RKNN_NPU_CORE_0, 1),
    NUMBER(RKNN_NPU_CORE_1, 2),
    NUMBER(RKNN_NPU_CORE_2, 4),
    NUMBER(RKNN_NPU_CORE_0_1, 3),
    NUMBER(RKNN_NPU_CORE_0_1_2, 7),
    NUMBER(RKNN_NPU_CORE_ALL, 0xffff),
    NUMBER(RKNN_QUERY_SDK_VERSION, 5),
    NUMBER(RKNN_MEMORY_SYNC_TO_DEVICE, 1),
    NUMBER(RKNN_MEMORY_SYNC_FROM_DEVICE, 2),
    NUMBER(RKNN_MEMORY_SYNC_BIDIRECTIONAL, 3),
    NUMBER(RKNN_FLAG_MEMORY_FLAGS_DEFAULT, 0),
    NUMBER(RKNN_FLAG_MEMORY_CACHEABLE, 1),
    NUMBER(RKNN_FLAG_MEMORY_NON_CACHEABLE, 2),
    NUMBER(RKNN_FLAG_MEMORY_TRY_ALLOC_SRAM, 4),
    NUMBER(RKNN_MEM_FLAG_ALLOC_NO_CONTEXT, 0x20000),
    NUMBER(RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32, 1),
    NUMBER(RKNN_INT8_MM_INT8_TO_INT32, 2),
    NUMBER(RKNN_INT8_MM_INT8_TO_INT8, 3),
    NUMBER(RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16, 4),
    NUMBER(RKNN_FLOAT16_MM_INT8_TO_FLOAT32, 5),
    NUMBER(RKNN_FLOAT16_MM_INT8_TO_FLOAT16, 6),
    NUMBER(RKNN_FLOAT16_MM_INT4_TO_FLOAT32, 7),
    NUMBER(RKNN_FLOAT16_MM_INT4_TO_FLOAT16, 8),
    NUMBER(RKNN_INT8_MM_INT8_TO_FLOAT32, 9),
    NUMBER(RKNN_INT4_MM_INT4_TO_INT16, 10),
    NUMBER(RKNN_INT8_MM_INT4_TO_INT32, 11),
    NUMBER(RKNN_FLOAT16_MM_INT4_TO_BFLOAT16, 12),
    NUMBER(RKNN_INT8_MM_INT4_TO_FLOAT16, 15),
    NUMBER(RKNN_MM_LAYOUT_NORM, 0),
    NUMBER(RKNN_MM_LAYOUT_NATIVE, 1),
    NUMBER(RKNN_MM_LAYOUT_TP_NORM, 2),
    NUMBER(RKNN_QUANT_TYPE_PER_LAYER_SYM, 0),
    NUMBER(RKNN_QUANT_TYPE_PER_LAYER_ASYM, 1),
    NUMBER(RKNN_QUANT_TYPE_PER_CHANNEL_SYM, 2),
    NUMBER(RKNN_QUANT_TYPE_PER_CHANNEL_ASYM, 3),
    NUMBER(RKNN_QUANT_TYPE_PER_GROUP_SYM, 4),
    NUMBER(RKNN_QUANT_TYPE_PER_GROUP_ASYM, 5),
};

/* The functions in their documented forms; assigning another form does not compile. */
static int (*const create)(rknn_matmul_ctx*, rknn_matmul_info*, rknn_matmul_io_attr*) = rknn_matmul_create;
static int (*const create_dynamic)(rknn_matmul_ctx*, rknn_matmul_info*, int, rknn_matmul_shape[],
                                   rknn_matmul_io_attr[]) = rknn_matmul_create_dynamic_shape;
static int (*const set_shape)(rknn_matmul_ctx, rknn_matmul_shape*) = rknn_matmul_set_dynamic_shape;
static int (*const bind_mem)(rknn_matmul_ctx, rknn_tensor_mem*,
                             rknn_matmul_tensor_attr*) = rknn_matmul_set_io_mem;
static int (*const set_core)(rknn_matmul_ctx, rknn_core_mask) = rknn_matmul_set_core_mask;
static int (*const set_quant)(rknn_matmul_ctx, rknn_quant_params*) = rknn_matmul_set_quant_params;
static int (*const get_quant)(rknn_matmul_ctx, rknn_quant_params*, float*) = rknn_matmul_get_quant_params;
static int (*const run)(rknn_matmul_ctx) = rknn_matmul_run;
static int (*const destroy)(rknn_matmul_ctx) = rknn_matmul_destroy;
static int (*const to_native)(void*, void*, int, int,
                              rknn_matmul_info*) = rknn_B_normal_layout_to_native_layout;
static rknn_tensor_mem* (*const create_mem)(rknn_context, uint32_t) = rknn_create_mem;
static rknn_tensor_mem* (*const create_mem2)(rknn_context, uint64_t, uint64_t) = rknn_create_mem2;
static rknn_tensor_mem* (*const from_fd)(rknn_context, int32_t, void*, uint32_t,
                                         int32_t) = rknn_create_mem_from_fd;
static rknn_tensor_mem* (*const from_phys)(rknn_context, uint64_t, void*,
                                           uint32_t) = rknn_create_mem_from_phys;
static int (*const destroy_mem)(rknn_context, rknn_tensor_mem*) = rknn_destroy_mem;
static int (*const sync_mem)(rknn_context, rknn_tensor_mem*, rknn_mem_sync_mode) = rknn_mem_sync;
static int (*const query)(rknn_context, rknn_query_cmd, void*, uint32_t) = rknn_query;
static int (*const dup_context)(rknn_context*, rknn_context*) = rknn_dup_context;

/* Fields by name, enumerations in their fields. */
static int use_fields(void) {
    rknn_matmul_info info;
    rknn_matmul_io_attr io;
    rknn_quant_params params;
    rknn_matmul_shape shape;
    rknn_matmul_ctx ctx = 0;
    rknn_sdk_version version;
    rknn_tensor_mem* mem;
    float scale = 1.0F;
    int32_t zp = 0;
    int failures = 0;

    memset(&info, 0, sizeof info);
    info.M = 1;
    info.K = 32;
    info.N = 64;
    info.type = RKNN_INT8_MM_INT8_TO_INT8;
    info.B_layout = RKNN_MM_LAYOUT_NATIVE;
    info.B_quant_type = RKNN_QUANT_TYPE_PER_LAYER_SYM;
    info.AC_layout = RKNN_MM_LAYOUT_NORM;
    info.AC_quant_type = 0;
    info.iommu_domain_id = 0;
    info.group_size = 0;
    shape.M = info.M;
    shape.K = info.K;
    shape.N = info.N;
    failures += create_dynamic(&ctx, &info, 1, &shape, &io) != RKNN_SUCC;
    failures += set_shape(ctx, &shape) != RKNN_SUCC || set_core(ctx, RKNN_NPU_CORE_2) != RKNN_SUCC;
    memset(&params, 0, sizeof params);
    strcpy(params.name, io.B.name);
    params.scale = &scale;
    params.scale_len = 1;
    params.zp = &zp;
    params.zp_len = 1;
    failures += set_quant(ctx, &params) != RKNN_SUCC;
    failures += get_quant(ctx, &params, &scale) == RKNN_SUCC; /* not a per-channel context */
    failures += query(ctx, RKNN_QUERY_SDK_VERSION, &version, sizeof version) != RKNN_SUCC;
    failures += version.api_version[0] == 0 || version.drv_version[0] == 0;
    failures += io.C.n_dims != 2 || io.C.dims[0] != 1 || io.C.dims[1] != 64 || io.C.size != 64;
    failures += dup_context(&ctx, &ctx) != RKNN_ERR_FAIL;
    failures += strcmp(get_format_string(RKNN_TENSOR_NC1HWC2), "NC1HWC2") != 0;
    failures += strcmp(get_matmul_type_string(info.type), "RKNN_INT8_MM_INT8_TO_INT8") != 0;
    failures += io.C.type != RKNN_TENSOR_INT8 || strcmp(get_type_string(io.C.type), "INT8") != 0;
    mem = create_mem2(ctx, io.C.size, RKNN_FLAG_MEMORY_CACHEABLE);
    if (mem == NULL) return failures + 1;
    failures += mem->virt_addr == NULL || mem->size != io.C.size || mem->offset != 0 || mem->fd < 0;
    failures += sync_mem(ctx, mem, RKNN_MEMORY_SYNC_BIDIRECTIONAL) != RKNN_SUCC;
    failures += bind_mem(ctx, mem, &io.C) != RKNN_SUCC || run(ctx) == RKNN_SUCC; /* A and B are missing */
    failures += destroy_mem(ctx, mem) != RKNN_SUCC || destroy(ctx) != RKNN_SUCC;
    return failures;
}

/* The functions that use_fields does not call. */
static int use_imports(void) {
    static int8_t normal[32 * 64], native[32 * 64];
    rknn_matmul_info info;
    rknn_matmul_io_attr io;
    rknn_matmul_ctx ctx = 0;
    rknn_tensor_mem *mem, *slice, *same;
    int i, failures = 0;

    memset(&info, 0, sizeof info);
    info.M = 1;
    info.K = 32;
    info.N = 64;
    info.type = RKNN_INT8_MM_INT8_TO_INT32;
    info.B_layout = RKNN_MM_LAYOUT_NATIVE;
    for (i = 0; i < 32 * 64; i++)
        normal[i] = (int8_t)(i % 127);
    failures += to_native(normal, native, info.K, info.N, &info) != RKNN_SUCC;
    for (i = 0; i < 32 * 64; i++) /* [N/32][K/32][32][32], with K = 32 */
        failures += native[i] != normal[(i % 32) * 64 + i / 32];
    failures += create(&ctx, &info, &io) != RKNN_SUCC;
    mem = create_mem(ctx, io.B.size);
    if (mem == NULL) return failures + 1;
    slice = from_fd(ctx, mem->fd, mem->virt_addr, 1024, 512);
    same = from_phys(ctx, mem->phys_addr, mem->virt_addr, mem->size);
    failures +=
        slice == NULL || slice->offset != 512 || slice->size != 1024 || destroy_mem(ctx, slice) != RKNN_SUCC;
    failures += same == NULL || same->phys_addr != mem->phys_addr || destroy_mem(ctx, same) != RKNN_SUCC;
    failures += destroy_mem(ctx, mem) != RKNN_SUCC || destroy(ctx) != RKNN_SUCC;
    return failures;
}

int main(void) {
    int failures = 0;
    size_t i;
    for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].is == numbers[i].must_be) continue;
        printf("%s is %d, must be %d\n", numbers[i].name, numbers[i].is, numbers[i].must_be);
        failures++;
    }
    i = (size_t)(use_fields() + use_imports());
    if (i != 0) printf("%u checks of fields and functions failed\n", (unsigned)i);
    return failures != 0 || i != 0;
}
