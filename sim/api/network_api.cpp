// SPDX-License-Identifier: MIT
// The vendor's library also runs neural networks, and programs that can do both must find those functions to
// be loaded at all. Here each of them says what it is and fails: only matmul is simulated.
#include "api/messages.hpp"
#include "api/rknn_abi.h"

namespace rknnsim {
constexpr const char* kNotSimulated = "neural networks are not simulated, only rknn_matmul_*";
}

// Callers pass arguments; a function that looks at none of them needs to name none in the C calling
// convention.
#define RKNNSIM_NOT_SIMULATED(name)                                     \
    extern "C" __attribute__((visibility("default"))) int name() {      \
        rknnsim::print_limited("error", #name, rknnsim::kNotSimulated); \
        return RKNN_ERR_FAIL;                                           \
    }

RKNNSIM_NOT_SIMULATED(rknn_init)
RKNNSIM_NOT_SIMULATED(rknn_destroy)
RKNNSIM_NOT_SIMULATED(rknn_inputs_set)
RKNNSIM_NOT_SIMULATED(rknn_set_batch_core_num)
RKNNSIM_NOT_SIMULATED(rknn_set_core_mask)
RKNNSIM_NOT_SIMULATED(rknn_run)
RKNNSIM_NOT_SIMULATED(rknn_wait)
RKNNSIM_NOT_SIMULATED(rknn_outputs_get)
RKNNSIM_NOT_SIMULATED(rknn_outputs_release)
RKNNSIM_NOT_SIMULATED(rknn_set_weight_mem)
RKNNSIM_NOT_SIMULATED(rknn_set_internal_mem)
RKNNSIM_NOT_SIMULATED(rknn_set_io_mem)
RKNNSIM_NOT_SIMULATED(rknn_set_input_shape)
RKNNSIM_NOT_SIMULATED(rknn_set_input_shapes)
RKNNSIM_NOT_SIMULATED(rknn_register_custom_ops)
RKNNSIM_NOT_SIMULATED(rknn_custom_op_get_op_attr)

extern "C" __attribute__((visibility("default"))) int rknn_dup_context(rknn_context* /*in*/,
                                                                       rknn_context* /*out*/) {
    rknnsim::print_limited("error", "rknn_dup_context", rknnsim::kNotSimulated);
    return RKNN_ERR_FAIL;
}

// Memory of the chip's media library. A program takes the answer for a pointer: the failure is NULL.
extern "C" __attribute__((visibility("default"))) rknn_tensor_mem* rknn_create_mem_from_mb_blk(rknn_context,
                                                                                               void*,
                                                                                               int32_t);
rknn_tensor_mem* rknn_create_mem_from_mb_blk(rknn_context /*ctx*/, void* /*block*/, int32_t /*offset*/) {
    rknnsim::print_limited("error", "rknn_create_mem_from_mb_blk",
                           "blocks of the media library are not simulated");
    return nullptr;
}
