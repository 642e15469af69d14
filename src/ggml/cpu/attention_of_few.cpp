// SPDX-License-Identifier: MIT
#include "ggml/cpu/attention_of_few.hpp"

#include <cstring>
#include <new>

#include "ggml/cpu/hand_over.hpp"
#include "ggml/node/attention.hpp"

namespace rknpu2 {

void AttentionOfFew::Attention::work() noexcept {
    HandOver::take();
    for (FewTokensAttention& sequence : sequences)
        sequence.work();
    HandOver::give_back();
}

bool AttentionOfFew::begin(Attention& attention, const ggml_tensor* node, size_t threads) {
    for (int64_t i = 0; i < node->ne[3]; ++i) {
        const auto at = static_cast<size_t>(i);
        if (at == memory_.size()) memory_.emplace_back();
        const AttentionProblem problem = attention_problem(host_, node, i);
        if (!FewTokensAttention::takes(problem) ||
            !attention.sequences.emplace_back().begin(problem, threads, &memory_[at]).ok())
            return false;
    }
    return true;
}

ggml_tensor* AttentionOfFew::stand_in(const ggml_tensor* node, size_t threads) try {
    Attention& attention = attentions_.emplace_back();
    if (!begin(attention, node, threads)) {
        attentions_.pop_back();
        return nullptr;
    }
    const ggml_custom_op_params parameters{
        [](ggml_tensor*, int, int, void* of) { static_cast<Attention*>(of)->work(); }, GGML_N_TASKS_MAX,
        &attention};
    attention.node = HostTensor(host_.ggml, *node);
    attention.node->op = host_.ggml.operations.number_of(Op::kCustom);
    std::memcpy(attention.node->op_params, &parameters, sizeof parameters);
    HandOver::give();
    return attention.node.get();
} catch (const std::bad_alloc&) {
    return nullptr;
}

void AttentionOfFew::clear() {
    HandOver::take_back();
    attentions_.clear();
}

}  // namespace rknpu2
