// From a stored weight to one that the NPU can multiply: its recipe, its place in device memory, its bytes
// from the cache of packed weights or from the packer.
#include <algorithm>

#include "matmul/npu_device.hpp"
#include "matmul/packer.hpp"
#include "matmul/rotation_choice.hpp"

namespace rknpu2 {

void NpuDevice::use_statistics(std::unique_ptr<StatisticsLibrary> library) {
    library_ = std::move(library);
}

Result<Recipe> NpuDevice::recipe_for(const WeightSource& source,
                                     const std::optional<StatisticsLibrary::Found>& found) const {
    Recipe recipe = recipe_of(config_.precision);
    if (!recipe.rotate) return recipe;
    if (found) {
        // A run that measures sensitivities compares with two planes everywhere.
        if (config_.sensitivity_file.empty()) recipe.planes = std::min(recipe.planes, found->planes.planes);
        return recipe;
    }
    const Result<double> cost = cost_of_rotation(source);
    RKNPU2_RETURN_IF_ERROR(cost.status());
    recipe.rotate = cost.value() <= kRotationMayCost;
    return recipe;
}

Status NpuDevice::allocate_cells(PackedWeight& packed) {
    const WeightPlan& plan = packed.plan;
    std::vector<size_t> sizes;
    for (const KSegment& segment : plan.segments) {
        for (const NTile& tile : plan.tiles)
            sizes.push_back(plan.cell_bytes(segment, tile));
    }
    const std::lock_guard lock(mutex_);
    Result<std::vector<DeviceMemoryPool::Slice>> slices = memory_.allocate_together(sizes);
    RKNPU2_RETURN_IF_ERROR(slices.status());
    auto next = slices.value().begin();
    for (size_t s = 0; s < plan.segments.size(); ++s) {
        const auto count = static_cast<std::ptrdiff_t>(plan.tiles.size());
        packed.cells.emplace_back(next, next + count);
        next += count;
    }
    ++packed_weights_;
    packed.release = [device = shared_from_this()](const PackedWeight& weight) { device->release(weight); };
    return {};
}

Result<std::shared_ptr<PackedWeight>> NpuDevice::pack(const WeightSource& source) {
    auto packed = std::make_shared<PackedWeight>();
    Digest key;
    bool loaded = false;
    {
        PhaseTimer timer(statistics_, Phase::kPack);
        const std::optional<StatisticsLibrary::Found> found =
            library_ == nullptr ? std::nullopt : library_->find(source);
        const Result<Recipe> recipe = recipe_for(source, found);
        RKNPU2_RETURN_IF_ERROR(recipe.status());
        packed->plan = plan_weight(source.N, source.K, recipe.value(), config_.cores);
        RKNPU2_RETURN_IF_ERROR(allocate_cells(*packed));
        const ChannelStatistics* const statistics = found && recipe.value().rotate ? &found->entry : nullptr;
        if (cache_ != nullptr) {
            key = WeightCache::key_of(source, packed->plan, statistics, pool_);
            loaded = cache_->load(key, statistics != nullptr, *packed, pool_);
        }
        if (loaded) {
            timer.becomes(Phase::kLoad);
        } else {
            RKNPU2_RETURN_IF_ERROR(pack_weight(source, statistics, *packed, pool_));
            progress_.add(packed->plan.packed_bytes());
        }
    }
    if (cache_ != nullptr && !loaded) {
        const PhaseTimer timer(statistics_, Phase::kStore);
        cache_->store(key, *packed, pool_);
    }
    const WeightPlan& plan = packed->plan;
    statistics_.add_weight({source.name, source.type_name, source.K, source.N,
                            dtype_name(operand_type(plan.recipe.arithmetic)), plan.packed_bytes(),
                            !packed->bias.empty(), plan.recipe.planes, plan.recipe.rotate});
    return packed;
}

}  // namespace rknpu2
