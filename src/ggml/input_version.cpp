#include "ggml/input_version.hpp"

#include "ggml/host.hpp"
#include "ggml/node.hpp"

namespace rknpu2 {
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
    if (overlaps || may_write_elsewhere(node)) begin_graph();
}

}  // namespace rknpu2
