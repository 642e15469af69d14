// SPDX-License-Identifier: MIT
#include "api/translate.hpp"

#include <algorithm>
#include <cstring>

#include "base/format.hpp"

namespace rknnsim {
namespace {

// The runtime's tensor type numbers.
struct TypeNumber {
    DType type;
    rknn_tensor_type number;
};
constexpr TypeNumber kTypeNumbers[] = {{DType::kFloat32, 0}, {DType::kFloat16, 1}, {DType::kInt8, 2},
                                       {DType::kInt16, 4},   {DType::kInt32, 6},   {DType::kInt4, 10}};

}  // namespace

Request to_request(const rknn_matmul_info& info) {
    Request request;
    request.type = info.type;
    request.b_layout = info.B_layout;
    request.b_quant = info.B_quant_type;
    request.ac_layout = info.AC_layout;
    request.ac_quant = info.AC_quant_type;
    request.domain = info.iommu_domain_id;
    request.group_size = info.group_size;
    request.info = {info.M, info.K, info.N};
    return request;
}

RequestedShape to_shape(const rknn_matmul_shape& shape) {
    return {shape.M, shape.K, shape.N};
}

void fill_attr(const OperandDesc& desc, rknn_matmul_tensor_attr* attr) {
    *attr = {};
    attr->name[0] = *operand_name(desc.which);
    attr->n_dims = static_cast<uint32_t>(desc.dims.size());
    for (size_t i = 0; i < desc.dims.size(); ++i)
        attr->dims[i] = static_cast<uint32_t>(desc.dims[i]);
    attr->size = static_cast<uint32_t>(desc.bytes);
    for (const TypeNumber& entry : kTypeNumbers) {
        if (entry.type == desc.type) attr->type = entry.number;
    }
}

void fill_io_attr(const Problem& problem, const Shape& shape, rknn_matmul_io_attr* io_attr) {
    fill_attr(describe(problem, Operand::kA, shape), &io_attr->A);
    fill_attr(describe(problem, Operand::kB, shape), &io_attr->B);
    fill_attr(describe(problem, Operand::kC, shape), &io_attr->C);
}

Outcome to_operand(const char (&name)[256], Operand* which) {
    for (const Operand operand : {Operand::kA, Operand::kB, Operand::kC}) {
        if (std::strncmp(name, operand_name(operand), sizeof name) == 0) {
            *which = operand;
            return {};
        }
    }
    return {Code::kInvalidParameter, rknpu2::format("the name \"%.16s\" must be A, B or C", name)};
}

Outcome to_desc(const rknn_matmul_tensor_attr& attr, OperandDesc* desc) {
    RKNNSIM_RETURN_IF_ERROR(to_operand(attr.name, &desc->which));
    desc->dims.assign(attr.dims, attr.dims + std::min<uint32_t>(attr.n_dims, 16));
    desc->bytes = attr.size;
    for (const TypeNumber& entry : kTypeNumbers) {
        if (entry.number != attr.type) continue;
        desc->type = entry.type;
        return {};
    }
    return {Code::kInvalidParameter, rknpu2::format("tensor type %d of %s is unknown", attr.type, attr.name)};
}

}  // namespace rknnsim
