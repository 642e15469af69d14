// SPDX-License-Identifier: MIT
#include "matmul/npu_device.hpp"

#include <algorithm>
#include <functional>
#include <new>

#include "base/format.hpp"
#include "base/log.hpp"
#include "calibration/weight_recipe.hpp"
#include "device/cpu_team.hpp"
#include "system/system_memory.hpp"

namespace rknpu2 {
namespace {

// A packed weight of this size takes some milliseconds to load: many times what it takes to wake a team.
constexpr uint64_t kTeamBytes = uint64_t{8} << 20;

// A weight of a model, by its name: others belong to an adapter or to a graph that somebody has made.
bool is_of_model(const WeightSource& source) {
    return source.name.ends_with(".weight");
}

}  // namespace

NpuDevice::NpuDevice(std::unique_ptr<NpuRuntime> runtime, const Config& config, Counters& counters,
                     std::unique_ptr<Coherency> coherency)
    : npu_(std::move(runtime), config, counters, std::move(coherency)),
      buffers_(std::min(npu_.pool.most_spinning(), cpu_threads(config))) {
    if (config.weight_cache_directory.empty()) return;
    cache_ = std::make_unique<WeightCache>(config.weight_cache_directory,
                                           static_cast<uint64_t>(config.weight_cache_mb) << 20, counters);
}

bool NpuDevice::is_full() {
    const std::lock_guard lock(npu_.mutex);
    return full_;
}

Status NpuDevice::multiply(std::span<const Product> products, const Activations& input, Epilogue* epilogue) {
    RKNPU2_RETURN_IF_ERROR(check_process());
    std::unique_lock lock(npu_.mutex, std::try_to_lock);
    if (!lock.owns_lock()) {
        ++waits_;
        lock.lock();
    }
    return Multiplication(npu_, buffers_, products, input).multiply(epilogue);
}

uint64_t NpuDevice::disturbances() const {
    const FaultCounters& faults = npu_.counters.faults;
    return waits_ + npu_.counters.device_lock.waits + faults.failed + faults.by_cpu;
}

bool NpuDevice::does_without_packing(const Status& failure) const {
    const std::vector<OnError>& remedies = npu_.config.on_error;
    return may_pass(failure) && !remedies.empty() && remedies.back() == OnError::kCpu;
}

Status NpuDevice::multiply_stored(std::span<const StoredProduct> products, const Activations& input,
                                  Epilogue* epilogue) {
    for (const StoredProduct& product : products)
        RKNPU2_RETURN_IF_ERROR(multiply_after_fault(npu_, product.source, input.data, input.M, product.out));
    if (epilogue != nullptr) apply_to_all(*epilogue, products, input.M, products[0].source.N);
    return {};
}

Status NpuDevice::multiply_reference(const WeightSource& source, const float* a, size_t M, float* out) {
    RKNPU2_RETURN_IF_ERROR(rknpu2::multiply_stored(npu_, source, a, M, out));
    WeightRecord record{source.name, source.type_name, source.K, source.N, "reference"};
    record.expert = source.expert;
    record.data = source.data;
    npu_.counters.add_weight(record);
    ++npu_.counters.reference_matmuls;
    return {};
}

Recipe NpuDevice::recipe_for(const WeightSource& source,
                             const std::optional<StatsLibrary::Found>& found) const {
    // A run that measures sensitivities compares with two planes everywhere.
    const bool measures = !npu_.config.sensitivity_file.empty();
    return recipe_of_weight(npu_.config.precision, measures ? std::nullopt : found, source.float_activations);
}

// Four bits without second moments would be poor, and eight are not what was asked for. But of a model with moments a
// few weights may have none, and so may a second model that comes after it, such as a draft or one for pictures.
Status NpuDevice::check_moments(const WeightSource& source, const std::optional<StatsLibrary::Found>& found) {
    // Experts have no statistics.
    if (npu_.config.precision != Precision::kCompact || source.float_activations || source.expert >= 0)
        return {};
    if (!is_of_model(source) || (found && found->entry.moments != nullptr)) return {};
    if (library_ == nullptr || !library_->has_moments()) {
        return {
            StatusCode::kUnsupported,
            format(
                "%s: precision compact needs second moments of the activations, and there are none for this "
                "model: scripts/calibrate.sh makes them",
                source.name.c_str())};
    }
    if (!eight_bits_told_.exchange(true)) {
        log(LogLevel::kWarning, "%s has no second moments of its activations, and keeps eight bits",
            source.name.c_str());
    }
    return {};
}

// The cells that one core multiplies by the same segment lie side by side, weight by weight, strip by strip.
// Weights may be cut differently: each has the cells of its own plan.
Status NpuDevice::allocate_cells(std::span<ReservedWeight> group) {
    const PhaseTimer timer(npu_.counters, Phase::kMemory);
    std::vector<WeightCells> grids;
    size_t segments = 0;
    uint64_t total = 0;
    for (const ReservedWeight& weight : group) {
        const WeightPlan& plan = weight.plan;
        grids.emplace_back(plan.segments.size(), std::vector<Slice>(plan.tiles.size()));
        segments = std::max(segments, plan.segments.size());
        total += plan.packed_bytes();
    }
    std::vector<Slice*> cells;
    DeviceMemoryPool::Blocks blocks;
    for (size_t core = 0; core < rk3588::kCores; ++core) {
        for (size_t s = 0; s < segments; ++s) {
            std::vector<size_t> block;
            for (size_t w = 0; w < group.size(); ++w) {
                const WeightPlan& plan = group[w].plan;
                for (size_t t = 0; s < plan.segments.size() && t < plan.tiles.size(); ++t) {
                    if (plan.core_of(s, t) != core) continue;
                    cells.push_back(&grids[w][s][t]);
                    block.push_back(plan.cell_bytes(plan.segments[s], plan.tiles[t]));
                }
            }
            if (!block.empty()) blocks.push_back(std::move(block));
        }
    }
    {
        const std::lock_guard lock(npu_.mutex);
        const std::vector<Slice> slices = RKNPU2_TAKE(npu_.memory.allocate_together(blocks));
        for (size_t i = 0; i < cells.size(); ++i)
            *cells[i] = slices[i];
        packed_weights_ += group.size();
        full_ = false;
    }
    const auto give_back = [device = shared_from_this()](const WeightCells* gone) {
        device->release(*gone);
        delete gone;
    };
    for (size_t w = 0; w < group.size(); ++w)
        group[w].cells = {new WeightCells(std::move(grids[w])), give_back};
    // A driver has the pages when memory is made; where they come with the first write (the simulator) this
    // keeps their cost out of the time for packing.
    const auto bring = [&](size_t i) { bring_pages(cells[i]->data(), cells[i]->bytes, PageUse::kWrite); };
    npu_.pool.parallel_for(cells.size(), bring, total);
    return {};
}

// Looks for the weight's file, once, and reads it.
void NpuDevice::look_up(ReservedWeight& reserved, ThreadPool& pool) {
    if (reserved.cache_key) return;
    const Digest key = WeightCache::key_of(reserved, pool);
    reserved.loaded = cache_->load(key, reserved, pool);
    reserved.cache_key = key;
}

void NpuDevice::load(std::span<ReservedWeight> weights) {
    if (cache_ == nullptr || weights.empty() || !npu_.owner.is_this_one()) return;
    PhaseTimer timer(npu_.counters, Phase::kLoad);
    // The largest come first, so that no thread is left with one when the others are done. All threads share
    // those that are worth waking a team for.
    std::vector<ReservedWeight*> order;
    for (ReservedWeight& reserved : weights)
        order.push_back(&reserved);
    const auto bytes = [](const ReservedWeight* weight) { return weight->plan.packed_bytes(); };
    std::ranges::stable_sort(order, std::greater(), bytes);
    const auto small = std::ranges::find_if(
        order, [](size_t count) { return count < kTeamBytes; }, bytes);
    const auto look_up_one = [&](ReservedWeight& reserved, ThreadPool& pool) {
        try {
            look_up(reserved, pool);
        } catch (const std::bad_alloc&) {
            // pack() begins anew, and can say that there is no memory.
        }
    };
    for (auto large = order.begin(); large != small; ++large)
        look_up_one(**large, npu_.pool);
    const auto alone = [&](size_t i) {
        ThreadPool caller(1);
        look_up_one(*small[static_cast<std::ptrdiff_t>(i)], caller);
    };
    npu_.pool.parallel_for(static_cast<size_t>(order.end() - small), alone);
    size_t loaded = 0;
    for (const ReservedWeight& reserved : weights) {
        if (reserved.loaded == nullptr) continue;
        ++loaded;
        loading_.add(reserved.plan.packed_bytes());
    }
    npu_.counters.weight_cache.loaded_ahead += loaded;
    if (loaded == 0) timer.becomes(Phase::kPack);  // as for one weight that has no file
}

// Takes it from the cache, or packs it and keeps it there.
Result<std::shared_ptr<const PackedWeight>> NpuDevice::load_or_pack(ReservedWeight& reserved) {
    const bool keeps = cache_ != nullptr && !reserved.is_trial;
    std::optional<PackedWeight> packed;
    {
        PhaseTimer timer(npu_.counters, Phase::kPack);
        if (keeps) look_up(reserved, npu_.pool);
        if (reserved.loaded != nullptr) {
            timer.becomes(Phase::kLoad);
            loading_.add(reserved.plan.packed_bytes());
            return reserved.loaded;
        }
        packed.emplace(RKNPU2_TAKE(pack_weight(reserved, npu_.pool)));
        packing_.add(reserved.plan.packed_bytes());
    }
    if (keeps) {
        const PhaseTimer timer(npu_.counters, Phase::kStore);
        cache_->store(*reserved.cache_key, *packed, npu_.pool);
    }
    separate_far_channels(*packed);
    return std::shared_ptr<const PackedWeight>(std::make_shared<PackedWeight>(std::move(*packed)));
}

// Dropping what can be made again leaves more memory for weights. That is tried for one weight; the others
// that find none would only take from each other what multiplications need.
Status NpuDevice::allocate_or_recover(std::span<ReservedWeight> group, const std::string& names,
                                      Attempts attempts) {
    Recovery recovery = npu_.recovery();
    const auto again_after = [&](Status& failure) {
        if (start_wait_ != nullptr && may_pass(failure) && start_wait_->again_after(failure)) return true;
        if (attempts == Attempts::kTrial) return false;
        const std::lock_guard lock(npu_.mutex);
        // With kCpu it is the caller who does without.
        if (!full_) full_ = !recovery.again_after(failure, names, [&] { npu_.drop_all(); });
        return !full_;
    };
    return retry([&] { return allocate_cells(group); }, again_after);
}

void NpuDevice::release(const WeightCells& cells) {
    const std::lock_guard lock(npu_.mutex);
    full_ = false;
    ++npu_.given_back;
    for (const auto& row : cells) {
        for (const Slice& cell : row) {
            npu_.contexts.forget(cell);
            npu_.memory.give_back(cell);
        }
    }
    // With the last weight gone nothing is worth keeping: an idle process holds no NPU memory and no context.
    if (--packed_weights_ == 0) npu_.drop_all();
}

void NpuDevice::drop_if_idle() {
    if (!check_process().ok()) return;
    const std::lock_guard lock(npu_.mutex);
    if (packed_weights_ == 0) npu_.drop_all();
}

Result<std::vector<ReservedWeight>> NpuDevice::reserve(std::span<const WeightSource> sources,
                                                       Attempts attempts) {
    RKNPU2_RETURN_IF_ERROR(check_process());
    std::vector<ReservedWeight> group;
    uint64_t bytes = 0;
    for (const WeightSource& source : sources) {
        const std::optional<StatsLibrary::Found> found =
            library_ == nullptr ? std::nullopt : library_->find(source);
        RKNPU2_RETURN_IF_ERROR(check_moments(source, found));
        const Recipe recipe = recipe_for(source, found);
        const ActivationStats* const stats = found && recipe.rotate ? &found->entry : nullptr;
        group.push_back({source,
                         plan_weight(source.N, source.K, recipe, npu_.config.cores,
                                     static_cast<size_t>(npu_.config.columns)),
                         stats});
        group.back().is_trial = attempts == Attempts::kTrial;
        bytes += group.back().plan.packed_bytes();
    }
    // Weights that no domain can hold together get their memory one by one.
    const size_t together = bytes > kMostWeightBytes ? 1 : group.size();
    for (size_t i = 0; i < group.size(); i += together) {
        const std::span part(group.begin() + static_cast<std::ptrdiff_t>(i), together);
        RKNPU2_RETURN_IF_ERROR(
            attempts == Attempts::kOne
                ? allocate_cells(part)
                : allocate_or_recover(part, name_and_others(sources[i].name, together), attempts));
        if (start_wait_ != nullptr && attempts != Attempts::kTrial) start_wait_->over();
    }
    return group;
}

Result<std::shared_ptr<const PackedWeight>> NpuDevice::pack(ReservedWeight reserved) {
    RKNPU2_RETURN_IF_ERROR(check_process());
    std::shared_ptr<const PackedWeight> packed = reserved.loaded;
    if (packed == nullptr) {
        Status status;
        try {
            auto made = load_or_pack(reserved);
            status = made.status();
            if (status.ok()) packed = made.take();
        } catch (const std::exception&) {
            status = Status::of_exception();
        }
        if (!status.ok()) {
            note_unpacked(status, reserved.source.name);
            return status;
        }
    }
    note_written(*packed->cells);
    if (reserved.is_trial) return packed;
    const WeightSource& source = packed->source;
    const Recipe& recipe = packed->plan.recipe;
    npu_.counters.add_weight({source.name, source.type_name, source.K, source.N,
                              dtype_name(operand_type(recipe.arithmetic)), packed->plan.packed_bytes(),
                              !packed->bias.empty(), packed->planes, recipe.rotate, source.expert,
                              source.data});
    return packed;
}

// Packing has failed for want of something other than the weight's device memory.
void NpuDevice::note_unpacked(const Status& failure, const std::string& name) {
    const std::lock_guard lock(npu_.mutex);
    FaultCounters& faults = npu_.counters.faults;
    ++faults.failed;
    if (!does_without_packing(failure)) {
        ++faults.given_up;
    } else if (npu_.fault_lines.allows()) {
        log(LogLevel::kWarning, "%s: %s; computing it on the CPU%s", name.c_str(),
            failure.to_string().c_str(), npu_.fault_lines.left_out().c_str());
    }
}

// The next multiplication tells the NPU.
void NpuDevice::note_written(const WeightCells& cells) {
    const std::lock_guard lock(npu_.mutex);
    for (const auto& row : cells)
        for (const Slice& cell : row)
            npu_.memory.note_written(cell);
}

Result<std::shared_ptr<const PackedWeight>> NpuDevice::pack(const WeightSource& source) {
    auto reserved = RKNPU2_TAKE(reserve({&source, 1}));
    return pack(std::move(reserved.front()));
}

}  // namespace rknpu2
