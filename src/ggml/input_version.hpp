// Whether two multiplications of one graph read the same numbers: what lets the second one use the
// activations that the first one has quantised (Activations::version, matmul/activations.hpp).
//
// A version begins with each graph, and anew whenever a node writes where the last multiplication read, or
// may write somewhere else than to its own tensor. ggml's allocators reuse memory within a graph, so
// addresses alone say nothing. One for each backend, used by one thread.
#pragma once

#include <cstdint>

#include "ggml.h"

namespace rknpu2 {

struct Host;

class InputVersion {
  public:
    explicit InputVersion(Host& host) : host_(host) {}

    void begin_graph();

    // The version of what `activations` holds now; its memory is watched from here on.
    uint64_t of(const ggml_tensor* activations);

    // `node` is about to be computed, by whomever.
    void note_write(const ggml_tensor* node);

  private:
    Host& host_;
    uint64_t version_ = 0;
    uintptr_t begin_ = 0;  // of what is watched
    uintptr_t end_ = 0;
};

}  // namespace rknpu2
