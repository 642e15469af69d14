// SPDX-License-Identifier: MIT
// From a stored weight to one that the NPU can multiply: its recipe, its place in device memory, its bytes
// from the cache of packed weights or from the packer.
#include <algorithm>
#include <new>

#include "calibration/rotation_choice.hpp"
#include "device/recovery.hpp"
#include "matmul/npu_device.hpp"
#include "soc/rk3588.hpp"
#include "system/system_memory.hpp"
#include "weights/packer.hpp"

namespace rknpu2 {
namespace {

// A packed weight of this size takes some milliseconds to load: many times what it takes to wake a team.
constexpr uint64_t kTeamBytes = uint64_t{8} << 20;

}  // namespace

void NpuDevice::use_stats(std::unique_ptr<StatsLibrary> library) {
    library_ = std::move(library);
}

Recipe NpuDevice::recipe_for(const WeightSource& source,
                             const std::optional<StatsLibrary::Found>& found) const {
    Recipe recipe = recipe_of(config_.precision, source.float_activations);
    // A run that measures sensitivities compares with two planes everywhere.
    if (recipe.rotate && found && config_.sensitivity_file.empty())
        recipe.planes = std::min(recipe.planes, found->planes.planes);
    return recipe;
}

// The cells that one core multiplies by the same segment lie side by side, weight by weight, strip by strip.
// Weights may be cut differently: each has the cells of its own plan.
Status NpuDevice::allocate_cells(std::span<const std::shared_ptr<PackedWeight>> group) {
    const PhaseTimer timer(counters_, Phase::kMemory);
    struct Cell {
        PackedWeight* weight;
        size_t segment;
        size_t tile;
    };
    std::vector<Cell> cells;
    std::vector<std::vector<size_t>> blocks;
    uint64_t total = 0;
    size_t segments = 0;
    for (const auto& weight : group)
        segments = std::max(segments, weight->plan.segments.size());
    for (size_t core = 0; core < rk3588::kCores; ++core) {
        for (size_t s = 0; s < segments; ++s) {
            std::vector<size_t> block;
            for (const auto& weight : group) {
                const WeightPlan& plan = weight->plan;
                for (size_t t = 0; s < plan.segments.size() && t < plan.tiles.size(); ++t) {
                    if (plan.core_of(s, t) != core) continue;
                    cells.push_back({weight.get(), s, t});
                    block.push_back(plan.cell_bytes(plan.segments[s], plan.tiles[t]));
                    total += block.back();
                }
            }
            if (!block.empty()) blocks.push_back(std::move(block));
        }
    }
    std::vector<DeviceMemoryPool::Slice> slices;
    {
        const std::lock_guard lock(mutex_);
        Result<std::vector<DeviceMemoryPool::Slice>> allocated = memory_.allocate_together(blocks);
        RKNPU2_RETURN_IF_ERROR(allocated.status());
        slices = allocated.take();
        packed_weights_ += group.size();
    }
    for (const auto& weight : group) {
        const WeightPlan& plan = weight->plan;
        weight->cells.assign(plan.segments.size(), std::vector<DeviceMemoryPool::Slice>(plan.tiles.size()));
        weight->release = [device = shared_from_this()](const PackedWeight& gone) { device->release(gone); };
    }
    for (size_t i = 0; i < cells.size(); ++i)
        cells[i].weight->cells[cells[i].segment][cells[i].tile] = slices[i];
    // A driver has the pages when memory is made; where they come with the first write (the simulator) this
    // keeps their cost out of the time for packing.
    const auto bring = [&](size_t i) { bring_pages(slices[i].data(), slices[i].bytes, PageUse::kWrite); };
    pool_.parallel_for(slices.size(), bring, total);
    return {};
}

// Looks for the weight's file, once, and reads it.
void NpuDevice::look_up(const WeightSource& source, PackedWeight& packed, ThreadPool& pool) {
    if (packed.cache_key) return;
    const Digest key = WeightCache::key_of(source, packed, pool);
    packed.loaded = cache_->load(key, packed, pool);
    packed.cache_key = key;
}

void NpuDevice::load(std::span<const Reserved> weights) {
    if (cache_ == nullptr || weights.empty() || !owner_.is_this_one()) return;
    PhaseTimer timer(counters_, Phase::kLoad);
    // The largest come first, so that no thread is left with one when the others are done; and those that are
    // worth waking a team for are every thread's.
    std::vector<const Reserved*> order;
    for (const Reserved& reserved : weights)
        order.push_back(&reserved);
    std::stable_sort(order.begin(), order.end(), [](const Reserved* a, const Reserved* b) {
        return a->weight->plan.packed_bytes() > b->weight->plan.packed_bytes();
    });
    size_t large = 0;
    while (large < order.size() && order[large]->weight->plan.packed_bytes() >= kTeamBytes)
        ++large;
    const auto look_up_one = [&](size_t i, ThreadPool& pool) {
        const auto& [source, weight] = *order[i];
        const Recipe planned = weight->plan.recipe;
        try {
            look_up(source, *weight, pool);
        } catch (const std::bad_alloc&) {
            // pack() begins anew, and can say that there is no memory.
            WeightCache::forget(*weight, planned);
        }
    };
    for (size_t i = 0; i < large; ++i)
        look_up_one(i, pool_);
    const auto alone = [&](size_t i) {
        ThreadPool caller(1);
        look_up_one(large + i, caller);
    };
    pool_.parallel_for(order.size() - large, alone);
    size_t loaded = 0;
    for (const Reserved& reserved : weights) {
        if (!reserved.weight->loaded) continue;
        ++loaded;
        loading_.add(reserved.weight->plan.packed_bytes());
    }
    counters_.weight_cache.loaded_ahead += loaded;
    if (loaded == 0) timer.becomes(Phase::kPack);  // as for one weight that has no file
}

// The weight's bytes: from the cache, or packed and kept there.
Status NpuDevice::fill(const WeightSource& source, PackedWeight& packed) {
    {
        PhaseTimer timer(counters_, Phase::kPack);
        if (cache_ != nullptr) {
            look_up(source, packed, pool_);
            if (packed.loaded) {
                timer.becomes(Phase::kLoad);
                loading_.add(packed.plan.packed_bytes());
                return {};
            }
        }
        // Without statistics, only a weight that rotation does not harm is rotated. A file knows already.
        if (packed.plan.recipe.rotate && packed.stats == nullptr) {
            const Result<double> cost = cost_of_rotation(source);
            RKNPU2_RETURN_IF_ERROR(cost.status());
            packed.plan.recipe.rotate = cost.value() <= kRotationMayCost;
        }
        RKNPU2_RETURN_IF_ERROR(pack_weight(source, packed, pool_));
        packing_.add(packed.plan.packed_bytes());
    }
    if (cache_ == nullptr) return {};
    const PhaseTimer timer(counters_, Phase::kStore);
    cache_->store(*packed.cache_key, packed, pool_);
    return {};
}

Result<std::vector<std::shared_ptr<PackedWeight>>> NpuDevice::reserve(std::span<const WeightSource> sources,
                                                                      Attempts attempts) {
    RKNPU2_RETURN_IF_ERROR(check_process());
    std::vector<std::shared_ptr<PackedWeight>> group;
    for (const WeightSource& source : sources) {
        auto packed = std::make_shared<PackedWeight>();
        const std::optional<StatsLibrary::Found> found =
            library_ == nullptr ? std::nullopt : library_->find(source);
        packed->plan = plan_weight(source.N, source.K, recipe_for(source, found), config_.cores,
                                   static_cast<size_t>(config_.columns));
        if (found && packed->plan.recipe.rotate) packed->stats = &found->entry;
        group.push_back(std::move(packed));
    }
    uint64_t bytes = 0;
    for (const auto& packed : group)
        bytes += packed->plan.packed_bytes();
    // What no domain can hold together has its place one by one.
    const size_t together = bytes > kMostWeightBytes ? 1 : group.size();
    for (size_t i = 0; i < group.size(); i += together) {
        const std::span part(group.begin() + static_cast<std::ptrdiff_t>(i), together);
        RKNPU2_RETURN_IF_ERROR(attempts == Attempts::kOne
                                   ? allocate_cells(part)
                                   : allocate_or_recover(part, name_and_others(sources[i].name, together)));
        if (start_wait_ != nullptr) start_wait_->over();
    }
    return group;
}

Result<std::shared_ptr<PackedWeight>> NpuDevice::pack(const WeightSource& source,
                                                      std::shared_ptr<PackedWeight> reserved) {
    RKNPU2_RETURN_IF_ERROR(check_process());
    const WeightPlan& plan = reserved->plan;
    reserved->source = source;
    if (!reserved->loaded) {
        Status status;
        try {
            status = fill(source, *reserved);
        } catch (const std::exception&) {
            status = Status::of_exception();
        }
        if (!status.ok()) {
            note_unpacked(status, source.name);
            return status;
        }
    }
    separate_far_channels(*reserved);
    note_written(*reserved);
    counters_.add_weight({source.name, source.type_name, source.K, source.N,
                          dtype_name(operand_type(plan.recipe.arithmetic)), plan.packed_bytes(),
                          !reserved->bias.empty(), plan.recipe.planes, plan.recipe.rotate, source.expert});
    return reserved;
}

// The first multiplication after it tells the NPU.
void NpuDevice::note_written(const PackedWeight& weight) {
    const std::lock_guard lock(mutex_);
    for (const auto& row : weight.cells)
        for (const DeviceMemoryPool::Slice& cell : row)
            memory_.note_written(cell);
}

Result<std::shared_ptr<PackedWeight>> NpuDevice::pack(const WeightSource& source) {
    auto reserved = reserve({&source, 1});
    RKNPU2_RETURN_IF_ERROR(reserved.status());
    return pack(source, std::move(reserved.value().front()));
}

}  // namespace rknpu2
