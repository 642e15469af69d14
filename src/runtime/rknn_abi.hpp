// SPDX-License-Identifier: MIT
// The part of the vendor's matmul C ABI that we call, declared from its documented facts (SDK 2.3.2); not a
// vendor header.
//
// Sizes and offsets were compared with a compiled program and are pinned below: a change of any of them is
// another ABI.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknpu2::rknn {

using Context = uint64_t;

// Types of A, B and C that the RK3588 has.
inline constexpr int kTypeFloat16ToFloat32 = 1;
inline constexpr int kTypeInt8ToInt32 = 2;
inline constexpr int kTypeInt8ToInt8 = 3;
inline constexpr int kTypeFloat16ToFloat16 = 4;
inline constexpr int kTypeInt4ToInt16 = 10;

inline constexpr int16_t kLayoutNormal = 0;
inline constexpr int16_t kLayoutNative = 1;
inline constexpr int16_t kLayoutTransposed = 2;
inline constexpr int kQueryVersion = 5;

inline constexpr uint64_t kMemoryNonCacheable = 2;

inline constexpr int kSyncToDevice = 1;
inline constexpr int kSyncFromDevice = 2;

struct MatmulInfo {
    int32_t M;
    int32_t K;
    int32_t N;
    int32_t type;
    int16_t B_layout;
    int16_t B_quant_type;
    int16_t AC_layout;
    int16_t AC_quant_type;
    int32_t iommu_domain_id;
    int16_t group_size;
    int8_t reserved[34];
};

struct TensorAttr {
    char name[256];
    uint32_t n_dims;
    uint32_t dims[16];
    uint32_t size;
    int32_t type;
};

struct IoAttr {
    TensorAttr A;
    TensorAttr B;
    TensorAttr C;
};

struct Shape {
    int32_t M;
    int32_t K;
    int32_t N;
};

struct TensorMem {
    void* virt_addr;
    uint64_t phys_addr;
    int32_t fd;
    int32_t offset;
    uint32_t size;
    uint32_t flags;
    void* priv_data;
};

struct Version {
    char api_version[256];
    char drv_version[256];
};

static_assert(sizeof(MatmulInfo) == 64 && offsetof(MatmulInfo, type) == 12 &&
              offsetof(MatmulInfo, B_layout) == 16);
static_assert(offsetof(MatmulInfo, AC_layout) == 20 && offsetof(MatmulInfo, iommu_domain_id) == 24);
static_assert(offsetof(MatmulInfo, group_size) == 28 && offsetof(MatmulInfo, reserved) == 30);
static_assert(sizeof(TensorAttr) == 332 && offsetof(TensorAttr, dims) == 260 &&
              offsetof(TensorAttr, size) == 324);
static_assert(sizeof(IoAttr) == 996 && sizeof(Shape) == 12 && sizeof(Version) == 512);
static_assert(sizeof(TensorMem) == 40 && offsetof(TensorMem, fd) == 16 &&
              offsetof(TensorMem, priv_data) == 32);

// The entry points we need: a library without one of them is refused by name.
struct Functions {
    int (*matmul_create_dynamic_shape)(Context*, MatmulInfo*, int, Shape*, IoAttr*);
    int (*matmul_set_dynamic_shape)(Context, Shape*);
    int (*matmul_set_io_mem)(Context, TensorMem*, TensorAttr*);
    int (*matmul_set_core_mask)(Context, int);
    int (*matmul_run)(Context);
    int (*matmul_destroy)(Context);
    TensorMem* (*create_mem)(Context, uint32_t);
    TensorMem* (*create_mem_from_fd)(Context, int32_t, void*, uint32_t, int32_t);
    int (*destroy_mem)(Context, TensorMem*);
    int (*mem_sync)(Context, TensorMem*, int);
    int (*query)(Context, int, void*, uint32_t);
};

// What older libraries may lack, and only rknpu2-doctor wants: null when it is not there.
struct OptionalFunctions {
    TensorMem* (*create_mem2)(Context, uint64_t, uint64_t);
    int (*b_normal_layout_to_native_layout)(void*, void*, int, int, MatmulInfo*);
};

}  // namespace rknpu2::rknn
