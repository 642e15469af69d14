// SPDX-License-Identifier: MIT
/* The part of the vendor's general runtime interface that a matmul program uses: contexts, memory, versions.
 *
 * Written by this project from documented names, numbers, field orders and sizes, so that programs for the
 * vendor's librknnrt.so compile here unmodified; it is not the vendor's header, which takes its place when a
 * program is built for a board. C99 and C++11, 64-bit systems. Neural networks (rknn_init, rknn_run, ...) are
 * not simulated and therefore not declared.
 *
 * Functions return 0 or one of the negative RKNN_ERR_ codes; those that create memory return it, or NULL.
 */
#ifndef RKNNSIM_INCLUDE_RKNN_API_H
#define RKNNSIM_INCLUDE_RKNN_API_H

#include <stdint.h>

#define RKNN_SUCC 0
#define RKNN_ERR_FAIL (-1)
#define RKNN_ERR_TIMEOUT (-2)
#define RKNN_ERR_DEVICE_UNAVAILABLE (-3)
#define RKNN_ERR_MALLOC_FAIL (-4)
#define RKNN_ERR_PARAM_INVALID (-5) /* also: a type or shape that this chip does not support */
#define RKNN_ERR_MODEL_INVALID (-6)
#define RKNN_ERR_CTX_INVALID (-7)
#define RKNN_ERR_INPUT_INVALID (-8)
#define RKNN_ERR_OUTPUT_INVALID (-9)
#define RKNN_ERR_DEVICE_UNMATCH (-10)
#define RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL (-11) /* the missing B is the interface's own */
#define RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION (-12)
#define RKNN_ERR_TARGET_PLATFORM_UNMATCH (-13)

/* The enumerations are as wide as an int on both sides. C++ is told so, which makes every int a valid value:
 * a library must be able to look at the wrong numbers that it is given. */
#ifdef __cplusplus
#define RKNNSIM_AS_INT : int
#else
#define RKNNSIM_AS_INT
#endif

/* Room in structures and lists. */
#define RKNN_MAX_DIMS 16
#define RKNN_MAX_NUM_CHANNEL 15
#define RKNN_MAX_NAME_LEN 256
#define RKNN_MAX_DYNAMIC_SHAPE_NUM 512

enum rknnsim_tensor_type RKNNSIM_AS_INT {
    RKNN_TENSOR_FLOAT32 = 0,
    RKNN_TENSOR_FLOAT16 = 1,
    RKNN_TENSOR_INT8 = 2,
    RKNN_TENSOR_UINT8 = 3,
    RKNN_TENSOR_INT16 = 4,
    RKNN_TENSOR_UINT16 = 5,
    RKNN_TENSOR_INT32 = 6,
    RKNN_TENSOR_UINT32 = 7,
    RKNN_TENSOR_INT64 = 8,
    RKNN_TENSOR_BOOL = 9,
    RKNN_TENSOR_INT4 = 10,
    RKNN_TENSOR_BFLOAT16 = 11,
    RKNN_TENSOR_TYPE_MAX
};

/* Order of the dimensions of a network's tensor; a matmul has none. */
enum rknnsim_tensor_format RKNNSIM_AS_INT {
    RKNN_TENSOR_NCHW = 0,
    RKNN_TENSOR_NHWC = 1,
    RKNN_TENSOR_NC1HWC2 = 2,
    RKNN_TENSOR_UNDEFINED = 3,
    RKNN_TENSOR_FORMAT_MAX
};

/* One matmul runs on one core: masks of several cores are refused, and AUTO is in force. */
enum rknnsim_core_mask RKNNSIM_AS_INT {
    RKNN_NPU_CORE_AUTO = 0,
    RKNN_NPU_CORE_0 = 1,
    RKNN_NPU_CORE_1 = 2,
    RKNN_NPU_CORE_2 = 4,
    RKNN_NPU_CORE_0_1 = 3,
    RKNN_NPU_CORE_0_1_2 = 7,
    RKNN_NPU_CORE_ALL = 0xffff,
    RKNN_NPU_CORE_UNDEFINED
};

/* The only command that is simulated. */
enum rknnsim_query_cmd RKNNSIM_AS_INT { RKNN_QUERY_SDK_VERSION = 5 };

/* Directions of rknn_mem_sync. */
enum rknnsim_mem_sync_mode RKNNSIM_AS_INT {
    RKNN_MEMORY_SYNC_TO_DEVICE = 1,
    RKNN_MEMORY_SYNC_FROM_DEVICE = 2,
    RKNN_MEMORY_SYNC_BIDIRECTIONAL = 3
};

/* Flags of rknn_create_mem2; cacheable is what rknn_create_mem gives. */
enum rknnsim_mem_flags RKNNSIM_AS_INT {
    RKNN_FLAG_MEMORY_FLAGS_DEFAULT = 0,
    RKNN_FLAG_MEMORY_CACHEABLE = 1,
    RKNN_FLAG_MEMORY_NON_CACHEABLE = 2,
    RKNN_FLAG_MEMORY_TRY_ALLOC_SRAM = 4,
    RKNN_MEM_FLAG_ALLOC_NO_CONTEXT = 0x20000 /* the context may be 0 */
};

/* A program that must be able to pass any number, such as a test of the library, asks for plain integers. */
#ifdef RKNNSIM_PLAIN_INTEGERS
typedef int rknn_tensor_type;
typedef int rknn_tensor_format;
typedef int rknn_core_mask;
typedef int rknn_query_cmd;
typedef int rknn_mem_sync_mode;
#else
typedef enum rknnsim_tensor_type rknn_tensor_type;
typedef enum rknnsim_tensor_format rknn_tensor_format;
typedef enum rknnsim_core_mask rknn_core_mask;
typedef enum rknnsim_query_cmd rknn_query_cmd;
typedef enum rknnsim_mem_sync_mode rknn_mem_sync_mode;
#endif

typedef uint64_t rknn_context;

/* Memory that CPU and device share. Its fields are for reading. */
typedef struct rknn_tensor_mem {
    void* virt_addr; /* data start at virt_addr + offset */
    uint64_t phys_addr;
    int32_t fd;
    int32_t offset;
    uint32_t size;
    uint32_t flags; /* the library's own */
    void* priv_data;
} rknn_tensor_mem;

typedef struct rknn_sdk_version {
    char api_version[RKNN_MAX_NAME_LEN];
    char drv_version[RKNN_MAX_NAME_LEN];
} rknn_sdk_version;

#ifdef __cplusplus
extern "C" {
#endif

rknn_tensor_mem* rknn_create_mem(rknn_context ctx, uint32_t size);
rknn_tensor_mem* rknn_create_mem2(rknn_context ctx, uint64_t size, uint64_t alloc_flags);
/* `virt_addr` is where the first byte of `fd` is mapped; the new memory is `size` bytes from `offset` on. */
rknn_tensor_mem* rknn_create_mem_from_fd(rknn_context ctx, int32_t fd, void* virt_addr, uint32_t size,
                                         int32_t offset);
rknn_tensor_mem* rknn_create_mem_from_phys(rknn_context ctx, uint64_t phys_addr, void* virt_addr,
                                           uint32_t size);
int rknn_destroy_mem(rknn_context ctx, rknn_tensor_mem* mem);
/* Makes what the CPU wrote visible to the device, or the other way round. */
int rknn_mem_sync(rknn_context ctx, rknn_tensor_mem* mem, rknn_mem_sync_mode mode);
/* RKNN_QUERY_SDK_VERSION into a rknn_sdk_version. */
int rknn_query(rknn_context ctx, rknn_query_cmd cmd, void* info, uint32_t size);
/* Returns -1: it belongs to neural networks, which are not simulated. */
int rknn_dup_context(rknn_context* context_in, rknn_context* context_out);

#ifdef __cplusplus
}
#endif

/* For messages, under the names that programs know. */
static inline const char* get_format_string(rknn_tensor_format format) {
    static const char* const names[] = {"NCHW", "NHWC", "NC1HWC2", "UNDEFINED"};
    const int number = (int)format;
    return number >= 0 && number < (int)(sizeof names / sizeof names[0]) ? names[number] : "UNKNOW";
}

static inline const char* get_type_string(rknn_tensor_type type) {
    static const char* const names[] = {"FP32",  "FP16",   "INT8",  "UINT8", "INT16", "UINT16",
                                        "INT32", "UINT32", "INT64", "BOOL",  "INT4",  "BF16"};
    const int number = (int)type;
    return number >= 0 && number < (int)(sizeof names / sizeof names[0]) ? names[number] : "UNKNOW";
}

#endif
