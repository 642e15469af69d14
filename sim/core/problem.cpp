// SPDX-License-Identifier: MIT
#include "core/problem.hpp"

#include <algorithm>

#include "base/format.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

constexpr int kTransposedB = 2;
constexpr int kPerChannelSym = 2;
constexpr int kPerGroupSym = 4;
constexpr int kDomains = 16;

Outcome refuse(std::string text) {
    return {Code::kInvalidParameter, std::move(text)};
}

bool native_only(const Request& request) {
    return request.b_layout == 1 && request.ac_layout == 1;
}

Outcome check_type(const Request& request, const Settings& settings) {
    switch (request.type) {
        case 1:
        case 2:
        case 3:
        case 4:
        case 10:
            return {};
        case 9:  // accepted in one form only, which then answers with zeros
            if (request.b_quant == kPerGroupSym && native_only(request) &&
                settings.quant != QuantReading::kReject)
                return {};
            break;
        default:
            break;
    }
    return refuse(format("type %d is not supported on RK3588 (1, 2, 3, 4 and 10 are)", request.type));
}

Outcome check_quant(const Request& request, const Settings& settings, QuantMode* mode) {
    *mode = QuantMode::kPerLayer;
    if (request.ac_quant != 0) return refuse(format("AC_quant_type=%d must be 0", request.ac_quant));
    if (request.b_quant == 0) return {};
    const bool channel = request.b_quant == kPerChannelSym && (request.type == 2 || request.type == 3);
    const bool group = request.b_quant == kPerGroupSym && request.type == 9;
    if (settings.quant == QuantReading::kReject || (!channel && !group)) {
        return refuse(format("B_quant_type=%d is not supported for type %d (0, per layer and symmetric, is)",
                             request.b_quant, request.type));
    }
    *mode = channel ? QuantMode::kPerChannel : QuantMode::kPerGroup;
    if (group && (request.group_size <= 0 || request.group_size % 32 != 0)) {
        return refuse(format("group_size=%d must be a multiple of 32", request.group_size));
    }
    return {};
}

bool listed(const std::vector<int>& list, int value) {
    return std::find(list.begin(), list.end(), value) != list.end();
}

Outcome check_layouts(const Request& request, const Settings& settings) {
    if (request.ac_layout != 0 && request.ac_layout != 1) {
        return refuse(format("AC_layout=%d must be 0 (normal) or 1 (native)", request.ac_layout));
    }
    if (request.b_layout < 0 || request.b_layout > 2) {
        return refuse(
            format("B_layout=%d must be 0 (normal), 1 (native) or 2 (transposed)", request.b_layout));
    }
    if (request.b_layout == kTransposedB && !listed(settings.tp_norm_types, request.type)) {
        return refuse(format("B_layout=2 is not supported for type %d", request.type));
    }
    if (request.b_layout == 0 && request.type == 10 && settings.int4_normal_b == Int4NormalB::kReject) {
        return refuse("type 10 needs B_layout=1 (native)");
    }
    return {};
}

Outcome check_shape(const RequestedShape& shape, DType type, const Settings& settings) {
    const auto align_n = static_cast<int64_t>(rknpu2::kernel_group(type));
    const auto align_k = static_cast<int64_t>(rknpu2::kTileK);
    const auto M = static_cast<long long>(shape.M);
    const auto K = static_cast<long long>(shape.K);
    const auto N = static_cast<long long>(shape.N);
    if (M < 1 || K < 1 || N < 1) return refuse(format("M=%lld K=%lld N=%lld must be positive", M, K, N));
    if (K % align_k != 0) return refuse(format("K=%lld must be a multiple of %lld", K, (long long)align_k));
    if (N % align_n != 0) return refuse(format("N=%lld must be a multiple of %lld", N, (long long)align_n));
    const auto over = [](const char* name, long long value, int64_t limit) {
        return refuse(format("%s=%lld is over the limit of %lld (RKNNSIM_%s_MAX)", name, value,
                             static_cast<long long>(limit), name));
    };
    if (M > settings.m_max) return over("M", M, settings.m_max);
    if (K > settings.k_max) return over("K", K, settings.k_max);
    if (N > settings.n_max) return over("N", N, settings.n_max);
    return {};
}

// An attribute has 32 bits for the size of its operand.
Outcome check_sizes(const Problem& problem) {
    for (const Shape& shape : problem.shapes) {
        for (const Operand which : {Operand::kA, Operand::kB, Operand::kC}) {
            const size_t bytes = describe(problem, which, shape).bytes;
            if (bytes <= UINT32_MAX) continue;
            return refuse(format("M=%zu K=%zu N=%zu: %s has %zu bytes, but an operand must be below 4 GiB",
                                 shape.M, shape.K, shape.N, operand_name(which), bytes));
        }
    }
    return {};
}

Outcome check_dynamic(const Request& request, const Settings& settings) {
    const RequestedShape& first = request.shapes.front();
    for (const RequestedShape& shape : request.shapes) {
        if (shape.K == first.K && shape.N == first.N) continue;
        if (request.b_layout == kTransposedB && !settings.dynamic_rows_only) return {};
        return refuse("the shapes must have the same K and N unless B is transposed; only M may differ");
    }
    if (settings.dynamic_info_matters && (request.info.K != first.K || request.info.N != first.N)) {
        return refuse(
            format("K and N of the shapes (%lld, %lld) should be the same as those of the info (%lld, %lld)",
                   static_cast<long long>(first.K), static_cast<long long>(first.N),
                   static_cast<long long>(request.info.K), static_cast<long long>(request.info.N)));
    }
    return {};
}

}  // namespace

Outcome check_request(const Request& request, const Settings& settings, Problem* problem) {
    RKNNSIM_RETURN_IF_ERROR(check_type(request, settings));
    QuantMode quant{};
    RKNNSIM_RETURN_IF_ERROR(check_quant(request, settings, &quant));
    RKNNSIM_RETURN_IF_ERROR(check_layouts(request, settings));
    if (request.domain < 0 || request.domain >= kDomains) {
        return refuse(format("iommu_domain_id=%d must be 0 to %d", request.domain, kDomains - 1));
    }
    if (request.shapes.empty() || request.shapes.size() > kMaxShapes) {
        return refuse(format("the number of shapes must be 1 to %zu", kMaxShapes));
    }
    const auto type = static_cast<MatmulType>(request.type);
    for (const RequestedShape& shape : request.shapes)
        RKNNSIM_RETURN_IF_ERROR(check_shape(shape, input_type(type), settings));
    if (request.dynamic) RKNNSIM_RETURN_IF_ERROR(check_dynamic(request, settings));

    problem->type = type;
    problem->b_layout = request.b_layout == 0   ? Layout::kNormal
                        : request.b_layout == 1 ? Layout::kNative
                                                : Layout::kTransposed;
    problem->ac_native = request.ac_layout == 1;
    problem->quant = quant;
    problem->group_size = quant == QuantMode::kPerGroup ? static_cast<size_t>(request.group_size) : 0;
    problem->domain = request.domain;
    problem->dynamic = request.dynamic;
    problem->K = static_cast<size_t>(request.shapes.front().K);
    problem->N = static_cast<size_t>(request.shapes.front().N);
    problem->shapes.clear();
    for (const RequestedShape& shape : request.shapes) {
        problem->shapes.push_back(
            {static_cast<size_t>(shape.M), static_cast<size_t>(shape.K), static_cast<size_t>(shape.N)});
    }
    return check_sizes(*problem);
}

bool Problem::varies() const {
    return std::any_of(shapes.begin(), shapes.end(), [&](const Shape& shape) {
        return shape.K != shapes.front().K || shape.N != shapes.front().N;
    });
}

OperandDesc describe(const Problem& problem, Operand which, const Shape& shape) {
    const auto [M, K, N] = shape;
    OperandDesc desc;
    desc.which = which;
    desc.type = which == Operand::kC ? output_type(problem.type) : input_type(problem.type);
    const size_t atom = rknpu2::atom_elements(desc.type);
    switch (which) {
        case Operand::kA:
            desc.dims =
                problem.ac_native ? std::vector<size_t>{K / atom, M, atom} : std::vector<size_t>{M, K};
            break;
        case Operand::kB: {
            const size_t group = rknpu2::kernel_group(desc.type);
            if (problem.b_layout == Layout::kNative) {
                desc.dims = {N / group, K / rknpu2::kTileK, group, rknpu2::kTileK};
            } else if (problem.b_layout == Layout::kNormal) {
                desc.dims = {K, N};
            } else {
                desc.dims = {N, K};
            }
            break;
        }
        case Operand::kC:
            desc.dims =
                problem.ac_native ? std::vector<size_t>{N / atom, M, atom} : std::vector<size_t>{M, N};
            break;
    }
    size_t elements = 1;
    for (const size_t dim : desc.dims)
        elements *= dim;
    desc.bytes = rknpu2::dtype_bytes(desc.type, elements);
    return desc;
}

}  // namespace rknnsim
