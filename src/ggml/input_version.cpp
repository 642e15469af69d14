#include "ggml/input_version.hpp"

#include "ggml/host.hpp"

namespace rknpu2 {
namespace {

// Operations that call functions of the user's, or update their sources.
bool may_write_elsewhere(ggml_op op) {
    switch (op) {
        case GGML_OP_MAP_CUSTOM1:
        case GGML_OP_MAP_CUSTOM2:
        case GGML_OP_MAP_CUSTOM3:
        case GGML_OP_CUSTOM:
        case GGML_OP_OPT_STEP_ADAMW:
        case GGML_OP_OPT_STEP_SGD:
            return true;
        default:
            return false;
    }
}

}  // namespace

void InputVersion::begin_graph() {
    version_ = host_.npu->new_version();
    begin_ = end_ = 0;
}

uint64_t InputVersion::of(const ggml_tensor* activations) {
    begin_ = reinterpret_cast<uintptr_t>(activations->data);
    end_ = begin_ + host_.ggml.ggml_nbytes(activations);
    return version_;
}

void InputVersion::note_write(const ggml_tensor* node) {
    const auto begin = reinterpret_cast<uintptr_t>(node->data);
    const bool overlaps = begin < end_ && begin_ < begin + host_.ggml.ggml_nbytes(node);
    if (overlaps || may_write_elsewhere(node->op)) begin_graph();
}

}  // namespace rknpu2
