// SPDX-License-Identifier: MIT
// Device memory: few large buffers with many slices for weights, buffers of their own for work areas.
//
// Every buffer of the vendor's runtime costs a file descriptor, so weights do not get one each. The pool
// allocates slabs through one tiny "allocator" context a domain. A context that needs a slice imports it,
// without a copy. When a domain, one of the NPU's address spaces, is full, the next one is used. A slab without slices is given back.
//
// Work areas change hands between CPU and NPU all the time, and only a buffer's own handle is sure to do that
// (coherency.hpp). So each is a slab with one slice, which is bound as it is.
//
// A slice's id is never used again: nothing can be confused with what lay at the same address before. Not
// thread safe: the device's lock guards it.
#pragma once

#include <cstdint>
#include <vector>

#include "device/coherency.hpp"

namespace rknpu2 {

// What one buffer can hold: the runtime counts its bytes, and where a part of it begins, in int32.
inline constexpr size_t kMostBufferBytes = INT32_MAX / 64 * 64;

struct Slab;

struct Slice {
    uint64_t id = 0;  // 0: no slice
    Slab* slab = nullptr;
    size_t offset = 0;  // from the slab's first byte
    size_t bytes = 0;
    int domain = 0;

    std::byte* data() const;
    NpuMemory& memory() const;  // of the slab
    bool alone() const;         // Does the slab begin with it, and have no other one?
};

class DeviceMemoryPool {
  public:
    explicit DeviceMemoryPool(NpuRuntime& runtime);
    ~DeviceMemoryPool();

    using Blocks = std::vector<std::vector<size_t>>;  // sizes
    // Slices of the given sizes (1 to kMostBufferBytes), block by block, or none. Those of a block lie one
    // behind the other, as far as a buffer of the runtime reaches (2 GiB); all lie in one domain, the first
    // that has room. They start at multiples of 64 bytes; each is given back by itself. What comes to
    // kMostWeightBytes or less fits into an empty domain, however it is cut.
    Result<std::vector<Slice>> allocate_together(const Blocks& blocks);
    // A buffer of its own, rounded up to pages. Work areas must lie in the domain of the context.
    Result<Slice> allocate_alone(int domain, size_t bytes);
    void give_back(const Slice& slice);

    // The CPU has written weights there.
    void note_written(const Slice& slice);
    // Hands all weights that were noted to the NPU, once for each slab. Before they are multiplied by.
    Status publish(Coherency& coherency);
    // A context of the domain that has memory, for calls about it.
    NpuContext& allocator(int domain);

    size_t bytes_in_use() const { return bytes_in_use_; }

  private:
    struct Domain;
    Status allocate_blocks(Domain& where, const Blocks& blocks, bool fills, std::vector<Slice>& slices);
    Status allocate_block(Domain& where, const std::vector<size_t>& sizes, std::vector<Slice>& slices);
    Result<Slab*> add_slab(Domain& where, size_t bytes);
    Result<Slab*> add_slab_of(Domain& where, size_t size);

    NpuRuntime& runtime_;
    std::vector<Domain> domains_;
    uint64_t next_id_ = 1;
    size_t bytes_in_use_ = 0;
    size_t bytes_reserved_ = 0;
    bool unpublished_ = false;  // is there a slab with something to publish?
};

}  // namespace rknpu2
