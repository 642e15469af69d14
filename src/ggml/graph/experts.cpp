// SPDX-License-Identifier: MIT
#include "ggml/graph/experts.hpp"

#include <algorithm>

#include "base/format.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/node/describe.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {
namespace {

// The row of A that a use reads: choices may share one, as those of up and gate do.
const float* source_row(const ggml_tensor* a, int32_t nth, int32_t token) {
    const auto row = static_cast<size_t>(nth % a->ne[1]);
    const auto* const data = static_cast<const std::byte*>(a->data);
    return reinterpret_cast<const float*>(data + row * a->nb[1] + static_cast<size_t>(token) * a->nb[2]);
}

float* result_row(const ggml_tensor* node, int32_t nth, int32_t token) {
    auto* const data = static_cast<std::byte*>(node->data);
    return reinterpret_cast<float*>(data + static_cast<size_t>(nth) * node->nb[1] +
                                    static_cast<size_t>(token) * node->nb[2]);
}

}  // namespace

TargetChoice ExpertsMultiplication::target(Host& host, const ggml_tensor* node) {
    const ExpertsCall call = experts_call(node);
    TargetChoice choice = host.targets.of(call, host.config);
    if (choice.reason != TargetReason::kFasterOnNpu) return choice;
    if (!may_hold_packed(host, node->src[0], choice.packed_bytes)) {
        choice.target = Target::kCpu;
        choice.reason = TargetReason::kNoMemory;
    }
    return choice;
}

bool ExpertsMultiplication::together(const ggml_tensor* node, const ggml_tensor* next) {
    return next->op == GGML_OP_MUL_MAT_ID && next->src[1] == node->src[1] && next->src[2] == node->src[2] &&
           next->src[0]->ne[0] == node->src[0]->ne[0] && next->src[0]->ne[2] == node->src[0]->ne[2];
}

// A counting sort by expert.
Status ExpertsMultiplication::sort_uses(const ggml_tensor* node) {
    const ggml_tensor* const choice = node->src[2];
    const int64_t experts = node->src[0]->ne[2];
    const auto chosen = [&](int64_t token) {
        return reinterpret_cast<const int32_t*>(static_cast<const std::byte*>(choice->data) +
                                                static_cast<size_t>(token) * choice->nb[1]);
    };
    first_.assign(static_cast<size_t>(experts) + 1, 0);
    for (int64_t token = 0; token < choice->ne[1]; ++token) {
        for (int64_t nth = 0; nth < choice->ne[0]; ++nth) {
            const int32_t expert = chosen(token)[nth];
            if (expert < 0 || expert >= experts) {
                return {StatusCode::kInvalidArgument,
                        format("token %lld chooses expert %d of %lld", static_cast<long long>(token), expert,
                               static_cast<long long>(experts))};
            }
            ++first_[static_cast<size_t>(expert) + 1];
        }
    }
    for (size_t e = 1; e < first_.size(); ++e)
        first_[e] += first_[e - 1];
    uses_.resize(first_.back());
    next_ = first_;
    for (int64_t token = 0; token < choice->ne[1]; ++token) {
        for (int64_t nth = 0; nth < choice->ne[0]; ++nth) {
            const auto expert = static_cast<size_t>(chosen(token)[nth]);
            uses_[next_[expert]++] = {static_cast<int32_t>(nth), static_cast<int32_t>(token)};
        }
    }
    return {};
}

// The warm-up, which chooses all experts, is also the time to copy what the CPU will compute for single
// tokens. How many experts a token will use is not known then, and does not matter: both costs grow with it
// alike.
void ExpertsMultiplication::prepare_for_tokens(const ggml_tensor* node) {
    ExpertsCall token = experts_call(node);
    if (host_.config.experts != Experts::kAuto || token.used < token.experts || token.experts < 2) return;
    token.used = token.tokens = 1;
    if (host_.targets.of(token, host_.config).target == Target::kCpu) cpu_copy(host_, node);
}

std::vector<ExpertsMultiplication::Packed> ExpertsMultiplication::pack_used(
    std::span<const PlannedMatmul> matmuls) {
    std::vector<Packed> packed;
    if (host_.config.precision == Precision::kReference) return packed;
    for (size_t e = 0; e + 1 < first_.size(); ++e) {
        if (first_[e] == first_[e + 1]) continue;
        for (const PlannedMatmul& matmul : matmuls) {
            packed.push_back(packed_weight(host_, matmul, static_cast<int>(e)));
            const Status& status = packed.back().status();
            if (!status.ok() && !host_.npu->does_without_packing(status)) return packed;
        }
    }
    return packed;
}

Status ExpertsMultiplication::multiply(std::span<const PlannedMatmul> matmuls) {
    RKNPU2_RETURN_IF_ERROR(sort_uses(matmuls.front().node));
    const std::vector<Packed> packed = pack_used(matmuls);
    packed_ = packed;
    for (size_t e = 0; e + 1 < first_.size(); ++e) {
        const std::span<const Use> uses(uses_.data() + first_[e], first_[e + 1] - first_[e]);
        if (!uses.empty()) RKNPU2_RETURN_IF_ERROR(multiply_expert(matmuls, static_cast<int>(e), uses));
    }
    for (const PlannedMatmul& matmul : matmuls)
        prepare_for_tokens(matmul.node);
    return {};
}

Status ExpertsMultiplication::multiply_expert(std::span<const PlannedMatmul> matmuls, int expert,
                                              std::span<const Use> uses) {
    const ggml_tensor* const a = matmuls.front().node->src[1];
    const auto K = static_cast<size_t>(a->ne[0]);
    // The gathered rows are a matrix of their own for as long as this expert lasts.
    const uint64_t version = host_.config.fuse ? host_.npu->new_version() : 0;
    const float* rows = source_row(a, uses[0].nth, uses[0].token);
    if (uses.size() > 1) {
        RKNPU2_RETURN_IF_ERROR(rows_.grow((uses.size() * K) * sizeof(float)));
        auto* const gathered = rows_.as<float>();
        for (size_t i = 0; i < uses.size(); ++i)
            std::copy_n(source_row(a, uses[i].nth, uses[i].token), K, gathered + i * K);
        rows = gathered;
    }
    for (const PlannedMatmul& matmul : matmuls) {
        const ggml_tensor* const node = matmul.node;
        if (uses.size() == 1) {
            float* const out = result_row(node, uses[0].nth, uses[0].token);
            RKNPU2_RETURN_IF_ERROR(multiply_rows(matmul, expert, rows, 1, version, out));
            continue;
        }
        const auto N = static_cast<size_t>(node->ne[0]);
        RKNPU2_RETURN_IF_ERROR(results_.grow((uses.size() * N) * sizeof(float)));
        auto* const results = results_.as<float>();
        RKNPU2_RETURN_IF_ERROR(multiply_rows(matmul, expert, rows, uses.size(), version, results));
        for (size_t i = 0; i < uses.size(); ++i)
            std::copy_n(results + i * N, N, result_row(node, uses[i].nth, uses[i].token));
    }
    return {};
}

Status ExpertsMultiplication::multiply_rows(const PlannedMatmul& matmul, int expert, const float* a, size_t M,
                                            uint64_t version, float* out) {
    const ggml_tensor* const stack = matmul.node->src[0];
    const auto source = [&] { return weight_source(host_, matmul.node, expert); };
    const auto context = [&] { return format("expert %d of %s", expert, stack->name); };
    if (host_.config.precision == Precision::kReference) {
        Status status = host_.npu->multiply_reference(source(), a, M, out);
        return status.ok() ? std::move(status) : std::move(status).with_context(context());
    }
    const Packed& packed = packed_.front();
    packed_ = packed_.subspan(1);
    Status status = packed.status();
    if (status.ok()) {
        status = host_.npu->multiply(*packed.value(), {a, M, version}, out);
    } else if (host_.npu->does_without_packing(status)) {
        const NpuDevice::StoredProduct product{source(), out};
        status = host_.npu->multiply_stored({&product, 1}, {a, M, 0});
    } else {
        status = std::move(status).with_context("packing");
    }
    return status.ok() ? std::move(status) : std::move(status).with_context(context());
}

}  // namespace rknpu2
