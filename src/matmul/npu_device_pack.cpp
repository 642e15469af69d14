// From a stored weight to one that the NPU can multiply: its recipe, its place in device memory, its bytes
// from the cache of packed weights or from the packer.
#include <algorithm>

#include "base/system_memory.hpp"
#include "matmul/npu_device.hpp"
#include "matmul/packer.hpp"
#include "matmul/rotation_choice.hpp"

namespace rknpu2 {

void NpuDevice::use_statistics(std::unique_ptr<StatisticsLibrary> library) {
    library_ = std::move(library);
}

Recipe NpuDevice::recipe_for(const std::optional<StatisticsLibrary::Found>& found) const {
    Recipe recipe = recipe_of(config_.precision);
    // A run that measures sensitivities compares with two planes everywhere.
    if (recipe.rotate && found && config_.sensitivity_file.empty())
        recipe.planes = std::min(recipe.planes, found->planes.planes);
    return recipe;
}

Status NpuDevice::allocate_cells(PackedWeight& packed) {
    const PhaseTimer timer(statistics_, Phase::kMemory);
    const WeightPlan& plan = packed.plan;
    std::vector<size_t> sizes;
    for (const KSegment& segment : plan.segments) {
        for (const NTile& tile : plan.tiles)
            sizes.push_back(plan.cell_bytes(segment, tile));
    }
    std::vector<DeviceMemoryPool::Slice> slices;
    {
        const std::lock_guard lock(mutex_);
        Result<std::vector<DeviceMemoryPool::Slice>> allocated = memory_.allocate_together(sizes);
        RKNPU2_RETURN_IF_ERROR(allocated.status());
        slices = allocated.take();
        auto next = slices.begin();
        for (size_t s = 0; s < plan.segments.size(); ++s) {
            const auto count = static_cast<std::ptrdiff_t>(plan.tiles.size());
            packed.cells.emplace_back(next, next + count);
            next += count;
        }
        ++packed_weights_;
        packed.release = [device = shared_from_this()](const PackedWeight& weight) {
            device->release(weight);
        };
    }
    // A driver has the pages when memory is made; where they come with the first write (the simulator) this
    // keeps their cost out of the time for packing.
    const auto bring = [&](size_t i) { bring_pages(slices[i].data(), sizes[i], PageUse::kWrite); };
    pool_.parallel_for(slices.size(), bring, plan.packed_bytes());
    return {};
}

// The weight's bytes: from the cache, or packed and kept there.
Status NpuDevice::fill(const WeightSource& source, const ChannelStatistics* statistics,
                       PackedWeight& packed) {
    Digest key;
    {
        PhaseTimer timer(statistics_, Phase::kPack);
        if (cache_ != nullptr) {
            key = WeightCache::key_of(source, packed.plan, statistics, pool_);
            if (cache_->load(key, statistics != nullptr, packed, pool_)) {
                timer.becomes(Phase::kLoad);
                return {};
            }
        }
        // Without statistics, only a weight that rotation does not harm is rotated. A file knows already.
        if (packed.plan.recipe.rotate && statistics == nullptr) {
            const Result<double> cost = cost_of_rotation(source);
            RKNPU2_RETURN_IF_ERROR(cost.status());
            packed.plan.recipe.rotate = cost.value() <= kRotationMayCost;
        }
        RKNPU2_RETURN_IF_ERROR(pack_weight(source, statistics, packed, pool_));
        progress_.add(packed.plan.packed_bytes());
    }
    if (cache_ == nullptr) return {};
    const PhaseTimer timer(statistics_, Phase::kStore);
    cache_->store(key, packed, pool_);
    return {};
}

Result<std::shared_ptr<PackedWeight>> NpuDevice::pack(const WeightSource& source) {
    auto packed = std::make_shared<PackedWeight>();
    const std::optional<StatisticsLibrary::Found> found =
        library_ == nullptr ? std::nullopt : library_->find(source);
    packed->plan = plan_weight(source.N, source.K, recipe_for(found), config_.cores);
    const WeightPlan& plan = packed->plan;
    RKNPU2_RETURN_IF_ERROR(allocate_cells(*packed));
    RKNPU2_RETURN_IF_ERROR(fill(source, found && plan.recipe.rotate ? &found->entry : nullptr, *packed));
    statistics_.add_weight({source.name, source.type_name, source.K, source.N,
                            dtype_name(operand_type(plan.recipe.arithmetic)), plan.packed_bytes(),
                            !packed->bias.empty(), plan.recipe.planes, plan.recipe.rotate, source.expert});
    return packed;
}

}  // namespace rknpu2
