// A buffer of ours: raw bytes, and the packed weights derived from them.
#pragma once

#include <atomic>
#include <cstddef>

#include "base/aligned_buffer.hpp"
#include "ggml/host.hpp"
#include "matmul/weight_store.hpp"

namespace rknpu2 {

struct Buffer {
    explicit Buffer(Host& owner);
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    Host* host;
    ggml_backend_buffer_t handle = nullptr;
    AlignedBuffer owned;  // empty for borrowed memory
    std::byte* base = nullptr;
    size_t size = 0;
    bool shared_file_mapping = false;   // pages may be given back once they are packed
    std::atomic<bool> poisoned{false};  // a write failed: its content is not to be trusted
    WeightStore weights;
};

// The Buffer behind a buffer of the host's buffer type; null for any other.
Buffer* our_buffer(const Host& host, const ggml_backend_buffer* buffer);

// Raw bytes in weight buffers that no packed form was made of yet.
size_t unpacked_weight_bytes(Host& host);

// A node of a graph wrote `tensor` (or will): packed weights made from those bytes are dropped.
void note_write(const Host& host, const ggml_tensor* tensor);

}  // namespace rknpu2
