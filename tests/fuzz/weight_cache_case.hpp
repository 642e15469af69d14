// SPDX-License-Identifier: MIT
// A packed weight with known bytes and the file that the cache keeps of it: what weight_cache_fuzz.cpp
// damages and make_corpus.cpp starts from.
#pragma once

#include <string>

#include "calibration/activation_stats.hpp"
#include "fuzz/place.hpp"
#include "support/fake_runtime.hpp"
#include "weights/weight_cache.hpp"

namespace rknpu2::fuzz {

class WeightCacheCase {
  public:
    WeightCacheCase() : cache_(place_.file("weights"), uint64_t{1} << 30, counters_), pool_(1) {
        uint8_t byte = 1;
        for (const auto& segment : *stored_.cells) {
            for (const auto& cell : segment) {
                for (size_t i = 0; i < cell.bytes; ++i)
                    cell.data()[i] = std::byte(byte = static_cast<uint8_t>(byte * 5 + 3));
            }
        }
        const size_t segments = stored_.plan.segments.size();
        stored_.channel_scales.assign(segments, std::vector<float>(kN, 0.5F));
        stored_.channel_offsets.assign(segments, std::vector<float>(kN, -2.0F));
        stored_.input_factors.assign(kK, 1.5F);
        stored_.bias.assign(kN, 3.0F);
        cache_.store(key_, stored_, pool_);
    }

    std::string path() const { return place_.file("weights/") + key_.hex() + kPackedWeightSuffix; }

    // True if the file is taken for the weight.
    bool load() {
        loaded_ = cache_.load(key_, room_, pool_);
        return loaded_ != nullptr;
    }
    const PackedWeight& stored() const { return stored_; }

    // The same weight, byte by byte?
    bool equal() const {
        for (size_t s = 0; s < stored_.cells->size(); ++s) {
            for (size_t t = 0; t < (*stored_.cells)[s].size(); ++t) {
                const size_t bytes = stored_.plan.cell_bytes(stored_.plan.segments[s], stored_.plan.tiles[t]);
                if (std::memcmp((*stored_.cells)[s][t].data(), (*room_.cells)[s][t].data(), bytes) != 0)
                    return false;
            }
        }
        return stored_.plan.recipe == loaded_->plan.recipe &&
               stored_.channel_scales == loaded_->channel_scales &&
               stored_.channel_offsets == loaded_->channel_offsets &&
               stored_.input_factors == loaded_->input_factors && stored_.bias == loaded_->bias;
    }

  private:
    static constexpr size_t kN = 5, kK = 40;

    ReservedWeight reserve() {
        const WeightPlan plan = plan_weight(kN, kK, recipe_of(Precision::kFast), 1);
        WeightCells cells;
        for (const KSegment& segment : plan.segments) {
            auto& row = cells.emplace_back();
            for (const NTile& tile : plan.tiles)
                row.push_back(memory_.allocate_together({{plan.cell_bytes(segment, tile)}}).take()[0]);
        }
        return {{}, plan, &of_activations_, std::make_shared<WeightCells>(std::move(cells))};
    }

    Target place_;
    testing::FakeState state_;
    testing::FakeRuntime runtime_{state_};
    DeviceMemoryPool memory_{runtime_};
    Counters counters_;
    WeightCache cache_;
    ThreadPool pool_;
    const Digest key_{0x0123456789abcdef, 0xfedcba9876543210};
    const ActivationStats of_activations_;  // only that there are some counts
    PackedWeight stored_{reserve(), true};
    const ReservedWeight room_ = reserve();
    std::shared_ptr<const PackedWeight> loaded_;
};

}  // namespace rknpu2::fuzz
