// SPDX-License-Identifier: MIT
// A buffer of ours: raw bytes, and the packed weights derived from them.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <mutex>

#include "base/aligned_buffer.hpp"
#include "ggml/buffer/cpu_copies.hpp"
#include "ggml/host/host.hpp"
#include "ggml/node/decision.hpp"
#include "weights/weight_store.hpp"

namespace rknpu2 {

struct Buffer {
    explicit Buffer(Host& owner);
    ~Buffer();
    // Bytes [offset, offset + bytes) have been or are about to be written: drops what was derived from them.
    void invalidate(size_t offset, size_t bytes);
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
    CpuCopies copies;
    // Stacks of experts, by offset, and whether there was memory to hold them packed when they were first
    // asked about.
    std::mutex stacks_mutex;
    std::map<size_t, bool> stacks;
};

// The Buffer behind a buffer of the host's buffer type; null for any other.
Buffer* our_buffer(const Host& host, const ggml_backend_buffer* buffer);

// The packed form of the weight of a multiplication, which lies in a buffer of ours, or of one expert of a
// stack; made if it is not there. `reserved`: where to pack it, used up then; or null for anywhere.
// Pages of the raw bytes are given back, unless the cost model may have the CPU multiply by them, too.
Result<std::shared_ptr<const PackedWeight>> packed_weight(Host& host, const PlannedMatmul& matmul,
                                                          int expert = -1,
                                                          ReservedWeight* reserved = nullptr);
// Is there one already?
bool is_packed(const Host& host, const ggml_tensor* op);

// The copy of a stack of experts for the CPU; `node` is a GGML_OP_MUL_MAT_ID. Null if there is none.
std::shared_ptr<const CpuCopy> cpu_copy(Host& host, const ggml_tensor* node);

// Whether a stack of experts may be packed, to `packed_bytes` in all: some memory must be left then. Decided
// once for each stack; the first no is a warning.
bool may_hold_packed(Host& host, const ggml_tensor* stack, size_t packed_bytes);

// Raw bytes in weight buffers that no packed form was made of yet.
size_t unpacked_weight_bytes(Host& host);

// A node of a graph wrote `tensor` (or will): packed weights made from those bytes are dropped.
void note_write(const Host& host, const ggml_tensor* tensor);

}  // namespace rknpu2
