// SPDX-License-Identifier: MIT
// The same names in C++, where enumerations are types of their own.
#include <type_traits>

#include "names.c"  // NOLINT(bugprone-suspicious-include)

static_assert(sizeof(rknn_matmul_type) == sizeof(int) && sizeof(rknn_tensor_type) == sizeof(int));
static_assert(std::is_enum_v<rknn_matmul_type> && std::is_enum_v<rknn_core_mask>);
static_assert(!std::is_same_v<rknn_matmul_layout, rknn_matmul_quant_type>);
static_assert(rknn_core_mask::RKNN_NPU_CORE_ALL == static_cast<rknn_core_mask>(0xffff));
static_assert(std::is_trivially_copyable_v<rknn_matmul_info> && sizeof(rknn_matmul_info) == 64);
