// SPDX-License-Identifier: MIT
#include "matmul/npu_device.hpp"

#include <algorithm>
#include <array>

#include "base/format.hpp"
#include "base/log.hpp"
#include "device/cpu_team.hpp"
#include "kernels/far.hpp"
#include "kernels/quantise.hpp"
#include "plan/cost_model.hpp"
#include "plan/limits.hpp"
#include "system/descriptors.hpp"

namespace rknpu2 {
namespace {

std::unique_ptr<WeightCache> weight_cache_of(const Config& config, Counters& counters) {
    if (config.weight_cache_directory.empty()) return nullptr;
    return std::make_unique<WeightCache>(config.weight_cache_directory,
                                         static_cast<uint64_t>(config.weight_cache_mb) << 20, counters);
}

// One scale for all rows that are finite; the others become NaN by themselves.
float scale_of_rows(const float* a, size_t M, size_t K) {
    float largest = 0.0F;
    for (size_t m = 0; m < M; ++m) {
        const float here = row_absmax(a + m * K, K);
        if (here > largest) largest = here;
    }
    return int8_tensor_scale(largest);
}

// Do the strips of all of them have the same columns?
bool same_tiles(const std::vector<const PackedWeight*>& weights) {
    return std::all_of(weights.begin(), weights.end(), [&](const PackedWeight* weight) {
        return weight->plan.N == weights[0]->plan.N &&
               weight->plan.tiles.size() == weights[0]->plan.tiles.size();
    });
}

}  // namespace

NpuDevice::NpuDevice(std::unique_ptr<NpuRuntime> runtime, const Config& config, Counters& counters,
                     std::unique_ptr<Coherency> coherency)
    : runtime_(std::move(runtime)),
      config_(config),
      counters_(counters),
      coherency_(coherency != nullptr ? std::move(coherency) : make_owner_coherency(counters.coherency)),
      pool_(team_size(config, runtime_->info().simulated), cpu_affinity(config)),
      cache_(weight_cache_of(config, counters)),
      memory_(*runtime_),
      contexts_(*runtime_, *coherency_, row_buckets(), contexts_to_keep(config, descriptor_limit())),
      context_limit_(config, contexts_, counters.contexts),
      areas_(memory_, contexts_, *coherency_),
      activations_(areas_, counters, static_cast<size_t>(pool_.threads())),
      pipeline_(std::min(pool_.most_spinning(), cpu_threads(config))) {}

NpuDevice::~NpuDevice() {
    areas_.clear();
    contexts_.clear();
}

Status NpuDevice::check_process() const {
    if (owner_.is_this_one()) return {};
    return {StatusCode::kDeviceUnavailable,
            format("process %d has the NPU, and this one was forked from it: load ggml's backends after the "
                   "fork, or start another program (exec)",
                   static_cast<int>(owner_.pid()))};
}

size_t NpuDevice::device_bytes() {
    const std::lock_guard lock(mutex_);
    return memory_.bytes_in_use();
}

void NpuDevice::release(const WeightCells& cells) {
    const std::lock_guard lock(mutex_);
    full_ = false;
    for (const auto& row : cells) {
        for (const DeviceMemoryPool::Slice& cell : row) {
            contexts_.forget(cell);
            memory_.give_back(cell);
        }
    }
    // With the last weight gone nothing is worth keeping: an idle process holds no NPU memory and no context.
    if (--packed_weights_ == 0) drop_all();
}

// What a multiplication can make again: contexts, work areas, quantised activations.
void NpuDevice::drop_all() {
    areas_.clear();
    contexts_.clear();
    activations_.clear();
}

Status NpuDevice::multiply(std::span<const Product> products, const Activations& input, Epilogue* epilogue) {
    RKNPU2_RETURN_IF_ERROR(check_process());
    const std::lock_guard lock(mutex_);
    products_ = products;
    batches_.clear();
    for (const Product& product : products)
        batches_.add(*product.weight, product.planes);
    batches_.lay_out();
    for (const Batch& batch : batches_) {
        batch_ = &batch;
        const bool all = batches_.size() == 1 && same_tiles(batch.weights);
        epilogue_ = all ? epilogue : nullptr;
        const Result<Target> target = multiply_or_recover(input);
        RKNPU2_RETURN_IF_ERROR(target.status());
        if (target.value() == Target::kCpu) continue;
        count_matmuls(batch, counters_);
        if (all) epilogue = nullptr;  // it has had everything
    }
    if (epilogue == nullptr) return {};
    const size_t N = products[0].weight->plan.N;
    std::vector<float*> outputs;
    for (const Product& product : products)
        outputs.push_back(product.out);
    epilogue->apply({0, input.M, 0, N, outputs, N});
    return {};
}

// Rows of a cube: as many as let CPU and NPU work side by side without too many runs.
size_t NpuDevice::chunk_rows(size_t rows) const {
    const WeightPlan& plan = batch_->plan();
    return best_chunk_rows(kBoardRates, plan.recipe.arithmetic, rows, plan.K, batch_->columns(),
                           {plan.segments.size(), plan.tiles.size()});
}

// What is asked for from now on stays until the next call.
void NpuDevice::begin_call() {
    areas_.begin_call();
    contexts_.begin_call();
}

Status NpuDevice::multiply_together(const Activations& input) {
    begin_call();
    const WeightPlan& plan = batch_->plan();
    ActivationStore::Form form;
    form.planes = batch_->planes;
    form.most_rows = most_result_rows(batch_->strips.widest());  // results have no more room
    form.chunk_rows = std::min(chunk_rows(input.M * form.planes), form.most_rows);
    if (plan.recipe.one_scale_per_tensor) form.tensor_scale = scale_of_rows(input.data, input.M, plan.K);
    const size_t most = kMostRowChunks * (form.chunk_rows / form.planes);
    for (size_t m0 = 0; m0 < input.M;) {
        first_row_ = m0;
        const size_t M = std::min(most, input.M - m0);
        Result<ActivationStore::Cubes*> cubes = activations_.get(*batch_->weights[0], input, m0, M, form);
        RKNPU2_RETURN_IF_ERROR(cubes.status());
        if (m0 == 0) {
            const bool quantised = cubes.value()->quantised;
            counters_.activations_quantised += quantised ? 0 : 1;
            counters_.activations_shared += batch_->weights.size() - (quantised ? 0 : 1);
        }
        RKNPU2_RETURN_IF_ERROR(run(*cubes.value()));
        activations_.keep();
        m0 += cubes.value()->rows;
    }
    return {};
}

}  // namespace rknpu2
