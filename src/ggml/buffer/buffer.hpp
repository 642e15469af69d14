// SPDX-License-Identifier: MIT
// A buffer of ours: raw bytes, and the packed weights derived from them.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

#include "ggml/buffer/cpu_copies.hpp"
#include "ggml/node/node.hpp"
#include "weights/weight_store.hpp"

namespace rknpu2 {

struct Buffer {
    explicit Buffer(Host& owner) : host(&owner) {}

    size_t offset_of(const void* data) const {
        return static_cast<size_t>(static_cast<const std::byte*>(data) - base);
    }
    // These bytes of the buffer have been or are about to be written: drops what was derived from them.
    void invalidate(const void* data, size_t bytes) {
        weights.invalidate(offset_of(data), bytes);
        copies.invalidate(offset_of(data), bytes);
    }

    Host* const host;
    AlignedBuffer owned;  // empty for borrowed memory
    std::byte* base = nullptr;
    bool shared_file_mapping = false;  // pages may be given back once they are packed
    // Bytes of the tensors that the host has put here. A buffer over a mapped file may hold other devices' tensors between ours.
    std::atomic<size_t> tensor_bytes{0};
    std::atomic<bool> poisoned{false};  // a write failed: its content is not to be trusted
    std::atomic<bool> is_begun{false};  // packing its plain matrices
    WeightStore<std::shared_ptr<const PackedWeight>> weights;
    WeightStore<CpuCopy> copies;
    // May its plain matrices be kept in both forms (ggml/graph/placement.hpp)? Not known before a graph has them.
    enum class Forms { kUnknown, kBoth, kPacked };
    std::atomic<Forms> forms{Forms::kUnknown};
    // A stack of experts: was there memory to pack it when that was first asked? Then it is promised, and taken by and by.
    struct Stack {
        bool allowed = false;
        size_t packed_bytes = 0;  // of all its experts
        size_t taken = 0;
    };
    std::mutex stacks_mutex;
    std::map<size_t, Stack> stacks;  // by offset
};

// The Buffer behind a buffer of the host's buffer type; null for any other.
Buffer* our_buffer(const Host& host, const ggml_backend_buffer* buffer);

// The packed form of the weight of `op`, a multiplication that the NPU can do, or of one expert of its stack;
// made if it is not there. `reserved`: where to pack it, used up then; or null for anywhere. Pages of the raw
// bytes are given back, unless the CPU may multiply by them, too.
Result<std::shared_ptr<const PackedWeight>> packed_weight(Host& host, const ggml_tensor* op, int expert = -1,
                                                          ReservedWeight* reserved = nullptr);
// The one that there is already; null: there is none.
std::shared_ptr<const PackedWeight> known_weight(const Host& host, const ggml_tensor* op);
inline bool is_packed(const Host& host, const ggml_tensor* op) {
    return known_weight(host, op) != nullptr;
}

// Has any expert of the stack of `op` been packed?
bool is_stack_packed(const Host& host, const ggml_tensor* op);

// Fills `weights` with the packed weights of multiplications by the same activations. If none was packed
// before, they are packed side by side, so that one run of the NPU can do several of them.
Status pack_together(Host& host, Nodes matmuls, std::vector<std::shared_ptr<const PackedWeight>>& weights);

// The copy of the weight of `node`, a multiplication, for the CPU. Null if there is none.
CpuCopy cpu_copy(Host& host, const ggml_tensor* node);

// May a stack of experts be packed, to `packed_bytes` in all, by the memory that is left when all that waits is packed?
// Decided once for each stack; the first no is a warning.
bool may_hold_packed(Host& host, const ggml_tensor* stack, size_t packed_bytes);

// Raw bytes of plain weights that wait to be packed; bytes that are promised to stacks of experts and not taken yet; and what
// packing both will take.
size_t waiting_raw_bytes(Host& host);
size_t promised_bytes(Host& host);
size_t bytes_to_pack(Host& host);

// Is there memory for all that waits to be packed? kOutOfMemory: "take 9000 MiB when they are packed, and 7000 MiB are free".
Status memory_to_pack(Host& host);

// A node of a graph writes `tensor`: drops what was derived from those bytes.
void note_write(const Host& host, const ggml_tensor* tensor);

}  // namespace rknpu2
