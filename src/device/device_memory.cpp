// SPDX-License-Identifier: MIT
#include "device/device_memory.hpp"

#include <algorithm>
#include <iterator>
#include <map>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kSliceAlignment = 64;
constexpr size_t kPage = 4096;
constexpr size_t kSmallestSlab = size_t{16} << 20;
constexpr size_t kLargestSlab = size_t{256} << 20;
// Weights and work areas together take no more.
constexpr uint64_t kMostOfAll = rk3588::kDomainBytes - (uint64_t{256} << 20);

size_t size_of(const std::vector<size_t>& block) {
    size_t total = 0;
    for (const size_t bytes : block)
        total += round_up(bytes, kSliceAlignment);
    return total;
}

// Blocks that are larger than a buffer, in several.
std::vector<std::vector<size_t>> cut(const std::vector<std::vector<size_t>>& blocks) {
    std::vector<std::vector<size_t>> pieces;
    for (const auto& block : blocks) {
        size_t total = 0;
        pieces.emplace_back();
        for (const size_t bytes : block) {
            const size_t rounded = round_up(bytes, kSliceAlignment);
            if (total + rounded > kMostBufferBytes) {
                pieces.emplace_back();
                total = 0;
            }
            pieces.back().push_back(bytes);
            total += rounded;
        }
    }
    return pieces;
}

}  // namespace

struct Slab {
    std::unique_ptr<NpuMemory> memory;
    std::map<size_t, size_t> gaps;  // offset -> bytes, never adjacent
    size_t slices = 0;
    bool alone = false;               // one slice, for good
    std::vector<Extent> unpublished;  // what the CPU has written and the NPU was not told of

    // Takes `bytes` from the smallest gap that holds them; SIZE_MAX if there is none.
    size_t take(size_t bytes) {
        auto best = gaps.end();
        for (auto gap = gaps.begin(); gap != gaps.end(); ++gap)
            if (gap->second >= bytes && (best == gaps.end() || gap->second < best->second)) best = gap;
        if (best == gaps.end()) return SIZE_MAX;
        const auto [offset, length] = *best;
        gaps.erase(best);
        if (length > bytes) gaps.emplace(offset + bytes, length - bytes);
        ++slices;
        return offset;
    }

    void give_back(size_t offset, size_t bytes) {
        --slices;
        auto next = gaps.lower_bound(offset);
        if (next != gaps.end() && offset + bytes == next->first) {
            bytes += next->second;
            next = gaps.erase(next);
        }
        if (next != gaps.begin()) {
            const auto previous = std::prev(next);
            if (previous->first + previous->second == offset) {
                previous->second += bytes;
                return;
            }
        }
        gaps.emplace(offset, bytes);
    }
};

struct DeviceMemoryPool::Domain {
    int index = 0;
    uint64_t reserved = 0;
    std::unique_ptr<NpuContext> allocator;  // made at the first allocation; destroyed after the slabs
    std::vector<std::unique_ptr<Slab>> slabs;
    bool was_full = false;  // for what was last asked of it; a device without memory is another thing

    Status is_full() {
        was_full = true;
        return {StatusCode::kOutOfMemory, format("IOMMU domain %d is full", index)};
    }
};

std::byte* Slice::data() const {
    return slab->memory->data() + offset;
}

NpuMemory& Slice::memory() const {
    return *slab->memory;
}

bool Slice::alone() const {
    return slab->alone && offset == 0;
}

DeviceMemoryPool::DeviceMemoryPool(NpuRuntime& runtime) : runtime_(runtime), domains_(rk3588::kDomains) {
    for (size_t i = 0; i < domains_.size(); ++i)
        domains_[i].index = static_cast<int>(i);
}
DeviceMemoryPool::~DeviceMemoryPool() = default;

Result<std::vector<Slice>> DeviceMemoryPool::allocate_together(const Blocks& blocks) {
    const Blocks pieces = cut(blocks);
    size_t total = 0;
    for (const auto& piece : pieces)
        total += size_of(piece);
    Status last;
    for (Domain& where : domains_) {
        std::vector<Slice> slices;
        where.was_full = false;
        last = allocate_blocks(where, pieces, where.slabs.empty() && total > kLargestSlab, slices);
        if (last.ok()) return slices;
        for (const Slice& slice : slices)
            give_back(slice);
        // Only a full domain is a reason to try the next; a device that is out of memory stays so.
        if (!where.was_full) break;
    }
    return std::move(last).with_context(format("%zu bytes for the NPU", total));
}

// `fills`: into slabs that the blocks fill to the last byte, so that a domain holds as much as its limit says.
Status DeviceMemoryPool::allocate_blocks(Domain& where, const Blocks& blocks, bool fills,
                                         std::vector<Slice>& slices) {
    for (auto first = blocks.begin(); first != blocks.end();) {
        auto end = std::next(first);
        if (fills) {
            size_t bytes = size_of(*first);
            for (; end != blocks.end() && bytes + size_of(*end) <= kLargestSlab; ++end)
                bytes += size_of(*end);
            if (where.reserved + bytes > kMostWeightBytes) return where.is_full();
            RKNPU2_RETURN_IF_ERROR(add_slab_of(where, bytes).status());
        }
        for (; first != end; ++first)
            RKNPU2_RETURN_IF_ERROR(allocate_block(where, *first, slices));
    }
    return {};
}

Status DeviceMemoryPool::allocate_block(Domain& where, const std::vector<size_t>& sizes,
                                        std::vector<Slice>& slices) {
    const size_t bytes = size_of(sizes);
    Slab* home = nullptr;
    size_t offset = SIZE_MAX;
    for (size_t i = 0; i < where.slabs.size() && offset == SIZE_MAX; ++i) {
        home = where.slabs[i].get();
        offset = home->take(bytes);
    }
    if (offset == SIZE_MAX) {
        home = RKNPU2_TAKE(add_slab(where, bytes));
        offset = home->take(bytes);
    }
    for (const size_t size : sizes) {
        slices.push_back({next_id_++, home, offset, round_up(size, kSliceAlignment), where.index});
        offset += slices.back().bytes;
    }
    home->slices += sizes.size() - 1;
    bytes_in_use_ += bytes;
    return {};
}

Result<Slice> DeviceMemoryPool::allocate_alone(int index, size_t bytes) {
    Domain& where = domains_[static_cast<size_t>(index)];
    const size_t rounded = round_up(std::max<size_t>(bytes, 1), kPage);
    if (where.reserved + rounded > kMostOfAll) return where.is_full();
    Slab& slab = *RKNPU2_TAKE(add_slab_of(where, rounded));
    slab.alone = true;
    slab.take(rounded);
    bytes_in_use_ += rounded;
    return Slice{next_id_++, &slab, 0, rounded, index};
}

void DeviceMemoryPool::note_written(const Slice& slice) {
    std::vector<Extent>& extents = slice.slab->unpublished;
    const bool follows = !extents.empty() && extents.back().offset + extents.back().bytes == slice.offset;
    if (!follows) extents.push_back({slice.offset, 0});
    extents.back().bytes += slice.bytes;
    unpublished_ = true;
}

Status DeviceMemoryPool::publish(Coherency& coherency) {
    if (!unpublished_) return {};
    for (const Domain& where : domains_) {
        for (const auto& slab : where.slabs) {
            if (slab->unpublished.empty()) continue;
            RKNPU2_RETURN_IF_ERROR(
                coherency.weights_written(*where.allocator, *slab->memory, slab->unpublished)
                    .with_context("handing weights to the NPU"));
            slab->unpublished.clear();
        }
    }
    unpublished_ = false;
    return {};
}

NpuContext& DeviceMemoryPool::allocator(int index) {
    return *domains_[static_cast<size_t>(index)].allocator;
}

Result<Slab*> DeviceMemoryPool::add_slab(Domain& where, size_t bytes) {
    // Slabs grow with what is there already: few descriptors for a large model, little waste for a small one.
    const size_t wish =
        round_up(std::clamp(bytes_reserved_ / 8, kSmallestSlab, kLargestSlab), kSliceAlignment);
    const size_t room = kMostWeightBytes - std::min<uint64_t>(kMostWeightBytes, where.reserved);
    const size_t size = std::max(bytes, std::min(wish, room));
    if (size > room) return where.is_full();
    return add_slab_of(where, size);
}

Result<Slab*> DeviceMemoryPool::add_slab_of(Domain& where, size_t size) {
    if (!where.allocator)
        where.allocator = RKNPU2_TAKE(runtime_.create_context(ContextSpec::smallest(where.index)));
    Result<std::unique_ptr<NpuMemory>> memory = where.allocator->allocate(size);
    if (!memory.ok() && where.slabs.empty()) where.allocator.reset();
    RKNPU2_RETURN_IF_ERROR(memory.status());
    auto slab = std::make_unique<Slab>();
    slab->memory = memory.take();
    slab->gaps.emplace(0, size);
    where.reserved += size;
    bytes_reserved_ += size;
    where.slabs.push_back(std::move(slab));
    return where.slabs.back().get();
}

void DeviceMemoryPool::give_back(const Slice& slice) {
    if (slice.id == 0) return;
    Domain& where = domains_[static_cast<size_t>(slice.domain)];
    slice.slab->give_back(slice.offset, slice.bytes);
    bytes_in_use_ -= slice.bytes;
    if (slice.slab->slices > 0) return;
    where.reserved -= slice.slab->memory->size();
    bytes_reserved_ -= slice.slab->memory->size();
    std::erase_if(where.slabs, [&](const auto& slab) { return slab.get() == slice.slab; });
    if (where.slabs.empty()) where.allocator.reset();
}

}  // namespace rknpu2
