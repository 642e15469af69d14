// SPDX-License-Identifier: MIT
// Between the runtime's structures and the core's.
#pragma once

#include "api/rknn_abi.h"
#include "core/problem.hpp"

namespace rknnsim {

// Everything of the info but the shapes.
Request to_request(const rknn_matmul_info& info);

RequestedShape to_shape(const rknn_matmul_shape& shape);

void fill_attr(const OperandDesc& desc, rknn_matmul_tensor_attr* attr);
void fill_io_attr(const Problem& problem, const Shape& shape, rknn_matmul_io_attr* io_attr);

// The operand that the name says, with the caller's dimensions, size and type; an error for an unknown name.
Outcome to_desc(const rknn_matmul_tensor_attr& attr, OperandDesc* desc);

// "A", "B" or "C".
Outcome to_operand(const char (&name)[256], Operand* which);

}  // namespace rknnsim
