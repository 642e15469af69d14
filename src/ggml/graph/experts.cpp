// SPDX-License-Identifier: MIT
#include "ggml/graph/experts.hpp"

#include <algorithm>

#include "base/format.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/host/graph_status.hpp"
#include "ggml/node/describe.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {
namespace {

class ExpertsMultiplication {
  public:
    ExpertsMultiplication(Host& host, ExpertsMemory& memory, Nodes matmuls)
        : host_(host), memory_(memory), matmuls_(matmuls), activations_(matmuls.front()->src[1]) {}

    Status run(ggml_abort_callback abort, void* abort_data) {
        RKNPU2_RETURN_IF_ERROR(sort_uses());
        std::vector<size_t> used;
        for (size_t expert = 0; expert < uses_.size(); ++expert)
            if (!uses_[expert].empty()) used.push_back(expert);
        // All before the first product: whatever was packed is handed to the NPU by whole slabs, before the next
        // product.
        for (const size_t expert : used) {
            if (abort(abort_data)) return asked_to_stop();
            if (!pack(expert)) break;
        }
        for (const size_t expert : used) {
            if (abort(abort_data)) return asked_to_stop();
            RKNPU2_RETURN_IF_ERROR(multiply_expert(static_cast<int>(expert)));
        }
        for (const ggml_tensor* const matmul : matmuls_)
            prepare_for_tokens(matmul);
        return {};
    }

  private:
    // One use of an expert: the token's `nth` choice.
    struct Use {
        int64_t nth;
        int64_t token;
    };

    // Choices of a token may share a row of activations, as those of up and gate do.
    const float* source_row(const Use& use) const {
        return row_of<const float>(activations_, use.nth % activations_->ne[1], use.token);
    }
    static float* result_row(const ggml_tensor* matmul, const Use& use) {
        return row_of<float>(matmul, use.nth, use.token);
    }

    Status sort_uses() {
        const ggml_tensor* const choice = matmuls_.front()->src[2];
        const int64_t experts = matmuls_.front()->src[0]->ne[2];
        uses_.resize(static_cast<size_t>(experts));
        for (int64_t token = 0; token < choice->ne[1]; ++token) {
            for (int64_t nth = 0; nth < choice->ne[0]; ++nth) {
                const int32_t expert = row_of<const int32_t>(choice, token)[nth];
                if (expert < 0 || expert >= experts) {
                    return {StatusCode::kInvalidArgument,
                            format("token %lld chooses expert %d of %lld", static_cast<long long>(token),
                                   expert, static_cast<long long>(experts))};
                }
                uses_[static_cast<size_t>(expert)].push_back({nth, token});
            }
        }
        return {};
    }

    // False: at a weight without which the graph fails.
    bool pack(size_t expert) {
        if (host_.config.precision == Precision::kReference) return true;
        for (const ggml_tensor* const matmul : matmuls_) {
            packed_.push_back(packed_weight(host_, matmul, static_cast<int>(expert)));
            if (!packed_.back().ok() && !host_.npu->does_without_packing(packed_.back().status()))
                return false;
        }
        return true;
    }

    Status multiply_expert(int expert) {
        const std::vector<Use>& uses = uses_[static_cast<size_t>(expert)];
        const bool alone = uses.size() == 1;
        const auto K = static_cast<size_t>(activations_->ne[0]);
        // The gathered rows are a matrix of their own for as long as this expert lasts.
        Activations rows{source_row(uses[0]), uses.size(), host_.config.fuse ? host_.npu->new_version() : 0};
        if (!alone) {
            RKNPU2_RETURN_IF_ERROR(memory_.rows.grow(uses.size() * K * sizeof(float)));
            auto* const gathered = memory_.rows.as<float>();
            for (size_t i = 0; i < uses.size(); ++i)
                std::copy_n(source_row(uses[i]), K, gathered + i * K);
            rows.data = gathered;
        }
        for (const ggml_tensor* const matmul : matmuls_) {
            const auto N = static_cast<size_t>(matmul->ne[0]);
            if (!alone) RKNPU2_RETURN_IF_ERROR(memory_.results.grow(uses.size() * N * sizeof(float)));
            float* const out = alone ? result_row(matmul, uses[0]) : memory_.results.as<float>();
            if (Status status = multiply(matmul, expert, rows, out); !status.ok())
                return std::move(status).with_context(
                    format("expert %d of %s", expert, matmul->src[0]->name));
            for (size_t i = 0; !alone && i < uses.size(); ++i)
                std::copy_n(out + i * N, N, result_row(matmul, uses[i]));
        }
        return {};
    }

    Status multiply(const ggml_tensor* matmul, int expert, const Activations& rows, float* out) {
        const auto source = [&] { return weight_source(host_, matmul, expert); };
        if (host_.config.precision == Precision::kReference)
            return host_.npu->multiply_reference(source(), rows.data, rows.M, out);
        const Result<std::shared_ptr<const PackedWeight>>& packed = packed_[products_++];
        if (packed.ok()) return host_.npu->multiply(*packed.value(), rows, out);
        if (!host_.npu->does_without_packing(packed.status())) return packed.status().with_context("packing");
        const NpuDevice::StoredProduct product{source(), out};
        return host_.npu->multiply_stored({&product, 1}, {rows.data, rows.M, 0});
    }

    // The warm-up, which chooses all experts, is also the time to copy what the CPU will compute for single
    // tokens. How many experts a token will use is not known then, and does not matter: both costs grow with
    // it alike.
    void prepare_for_tokens(const ggml_tensor* matmul) {
        ExpertsCall token = experts_call(matmul);
        if (host_.config.experts != Experts::kAuto || token.used < token.experts || token.experts < 2) return;
        token.used = token.tokens = 1;
        if (host_.targets.of(token, host_.config, host_.rates).target == Target::kCpu)
            cpu_copy(host_, matmul);
    }

    Host& host_;
    ExpertsMemory& memory_;
    const Nodes matmuls_;
    const ggml_tensor* const activations_;
    std::vector<std::vector<Use>> uses_;                               // by expert, in the order of tokens
    std::vector<Result<std::shared_ptr<const PackedWeight>>> packed_;  // of all products, in their order
    size_t products_ = 0;                                              // that have begun
};

}  // namespace

TargetChoice experts_choice(Host& host, const ggml_tensor* node) {
    ExpertsCall call = experts_call(node);
    call.is_packed = is_stack_packed(host, node);
    TargetChoice choice = host.targets.of(call, host.config, host.rates);
    if (choice.reason == TargetReason::kFasterOnNpu &&
        !may_hold_packed(host, node->src[0], choice.packed_bytes)) {
        choice.target = Target::kCpu;
        choice.reason = TargetReason::kNoMemory;
    }
    return choice;
}

bool choose_alike(const GgmlFunctions& ggml, const ggml_tensor* node, const ggml_tensor* next) {
    return ggml.op(next) == Op::kMatMulExperts && next->src[1] == node->src[1] &&
           next->src[2] == node->src[2] && next->src[0]->ne[0] == node->src[0]->ne[0] &&
           next->src[0]->ne[2] == node->src[0]->ne[2];
}

Status multiply_experts(Host& host, ExpertsMemory& memory, Nodes matmuls, ggml_abort_callback abort,
                        void* abort_data) {
    return ExpertsMultiplication(host, memory, matmuls).run(abort, abort_data);
}

}  // namespace rknpu2
