// SPDX-License-Identifier: MIT
/* The vendor's matmul interface: C[M,N] = A[M,K] * B[K,N] on the NPU.
 *
 * Written by this project from documented names, numbers, field orders and sizes; see rknn_api.h. What each
 * function does on the RK3588, and where that is known from, is in docs/simulator.md.
 *
 * The order of calls: create a context, create memory of the sizes that `io_attr` says, fill A and B, bind A,
 * B and C with rknn_matmul_set_io_mem, run, read C, destroy the memory, destroy the context.
 */
#ifndef RKNNSIM_INCLUDE_RKNN_MATMUL_API_H
#define RKNNSIM_INCLUDE_RKNN_MATMUL_API_H

#include "rknn_api.h"

/* A times B to C. The RK3588 has 1, 2, 3, 4 and 10; create answers -5 to the others. */
enum rknnsim_matmul_type RKNNSIM_AS_INT {
    RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32 = 1,
    RKNN_INT8_MM_INT8_TO_INT32 = 2,
    RKNN_INT8_MM_INT8_TO_INT8 = 3,
    RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16 = 4,
    RKNN_FLOAT16_MM_INT8_TO_FLOAT32 = 5,
    RKNN_FLOAT16_MM_INT8_TO_FLOAT16 = 6,
    RKNN_FLOAT16_MM_INT4_TO_FLOAT32 = 7,
    RKNN_FLOAT16_MM_INT4_TO_FLOAT16 = 8,
    RKNN_INT8_MM_INT8_TO_FLOAT32 = 9,
    RKNN_INT4_MM_INT4_TO_INT16 = 10,
    RKNN_INT8_MM_INT4_TO_INT32 = 11,
    RKNN_FLOAT16_MM_INT4_TO_BFLOAT16 = 12,
    RKNN_INT8_MM_INT4_TO_FLOAT16 = 15
};

/* For B: all three. For A and C: the first two. */
enum rknnsim_matmul_layout RKNNSIM_AS_INT {
    RKNN_MM_LAYOUT_NORM = 0,   /* rows of the matrix */
    RKNN_MM_LAYOUT_NATIVE = 1, /* the device's own blocks; the dims of the io_attr tell them */
    RKNN_MM_LAYOUT_TP_NORM = 2 /* rows of the transposed matrix, [N,K] */
};

/* Only the first works on the RK3588. */
enum rknnsim_quant_type RKNNSIM_AS_INT {
    RKNN_QUANT_TYPE_PER_LAYER_SYM = 0,
    RKNN_QUANT_TYPE_PER_LAYER_ASYM = 1,
    RKNN_QUANT_TYPE_PER_CHANNEL_SYM = 2,
    RKNN_QUANT_TYPE_PER_CHANNEL_ASYM = 3,
    RKNN_QUANT_TYPE_PER_GROUP_SYM = 4,
    RKNN_QUANT_TYPE_PER_GROUP_ASYM = 5
};

#ifdef RKNNSIM_PLAIN_INTEGERS
typedef int rknn_matmul_type;
typedef int rknn_matmul_layout;
typedef int rknn_matmul_quant_type;
#else
typedef enum rknnsim_matmul_type rknn_matmul_type;
typedef enum rknnsim_matmul_layout rknn_matmul_layout;
typedef enum rknnsim_quant_type rknn_matmul_quant_type;
#endif

typedef rknn_context rknn_matmul_ctx;

/* What to create; set all of it to zero first. */
typedef struct rknn_matmul_info {
    int32_t M;
    int32_t K;
    int32_t N;
    rknn_matmul_type type;
    int16_t B_layout;        /* rknn_matmul_layout */
    int16_t B_quant_type;    /* rknn_matmul_quant_type */
    int16_t AC_layout;       /* rknn_matmul_layout */
    int16_t AC_quant_type;   /* 0 */
    int32_t iommu_domain_id; /* 0 to 15; each has 4 GiB of addresses */
    int16_t group_size;      /* per-group only */
    int8_t reserved[34];
} rknn_matmul_info;

typedef struct rknn_matmul_tensor_attr {
    char name[RKNN_MAX_NAME_LEN]; /* "A", "B" or "C" */
    uint32_t n_dims;
    uint32_t dims[RKNN_MAX_DIMS];
    uint32_t size; /* in bytes: what its memory must have */
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
    char name[RKNN_MAX_NAME_LEN]; /* "A", "B" or "C" */
    float* scale;
    int32_t scale_len;
    int32_t* zp;
    int32_t zp_len;
} rknn_quant_params;

#ifdef __cplusplus
extern "C" {
#endif

int rknn_matmul_create(rknn_matmul_ctx* ctx, rknn_matmul_info* info, rknn_matmul_io_attr* io_attr);
/* One context for several M; `io_attrs` has room for `shape_num` answers. */
int rknn_matmul_create_dynamic_shape(rknn_matmul_ctx* ctx, rknn_matmul_info* info, int shape_num,
                                     rknn_matmul_shape dynamic_shapes[], rknn_matmul_io_attr io_attrs[]);
/* Afterwards A and C are bound again, with the attributes of this shape. */
int rknn_matmul_set_dynamic_shape(rknn_matmul_ctx ctx, rknn_matmul_shape* shape);
/* Binds A, B or C, as the attribute's name says. A and B in a normal layout are copied here and now. */
int rknn_matmul_set_io_mem(rknn_matmul_ctx ctx, rknn_tensor_mem* mem, rknn_matmul_tensor_attr* attr);
int rknn_matmul_set_core_mask(rknn_matmul_ctx ctx, rknn_core_mask core_mask);
int rknn_matmul_set_quant_params(rknn_matmul_ctx ctx, rknn_quant_params* params);
int rknn_matmul_get_quant_params(rknn_matmul_ctx ctx, rknn_quant_params* params, float* scale);
/* Returns when C is there. */
int rknn_matmul_run(rknn_matmul_ctx ctx);
int rknn_matmul_destroy(rknn_matmul_ctx ctx);
/* B from rows [K,N] to the native layout of `info`'s type. */
int rknn_B_normal_layout_to_native_layout(void* B_input, void* B_output, int K, int N,
                                          rknn_matmul_info* info);

#ifdef __cplusplus
}
#endif

/* The name of the enumerator, for messages. */
static inline const char* get_matmul_type_string(rknn_matmul_type type) {
#define RKNNSIM_NAME_OF(name) \
    case name:                \
        return #name
    switch ((int)type) {
        RKNNSIM_NAME_OF(RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32);
        RKNNSIM_NAME_OF(RKNN_INT8_MM_INT8_TO_INT32);
        RKNNSIM_NAME_OF(RKNN_INT8_MM_INT8_TO_INT8);
        RKNNSIM_NAME_OF(RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16);
        RKNNSIM_NAME_OF(RKNN_FLOAT16_MM_INT8_TO_FLOAT32);
        RKNNSIM_NAME_OF(RKNN_FLOAT16_MM_INT8_TO_FLOAT16);
        RKNNSIM_NAME_OF(RKNN_FLOAT16_MM_INT4_TO_FLOAT32);
        RKNNSIM_NAME_OF(RKNN_FLOAT16_MM_INT4_TO_FLOAT16);
        RKNNSIM_NAME_OF(RKNN_INT8_MM_INT8_TO_FLOAT32);
        RKNNSIM_NAME_OF(RKNN_INT4_MM_INT4_TO_INT16);
        RKNNSIM_NAME_OF(RKNN_INT8_MM_INT4_TO_INT32);
        RKNNSIM_NAME_OF(RKNN_FLOAT16_MM_INT4_TO_BFLOAT16);
        RKNNSIM_NAME_OF(RKNN_INT8_MM_INT4_TO_FLOAT16);
        default:
            return "UNKNOW";
    }
#undef RKNNSIM_NAME_OF
}

#endif
