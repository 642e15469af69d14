// SPDX-License-Identifier: MIT
// How the runs of a multiplication get their memory, and what the threads do with them.
#include <algorithm>

#include "matmul/npu_device.hpp"
#include "plan/limits.hpp"

namespace rknpu2 {
namespace {

// Results that a thread turns into floats at a time: long enough to be worth the way to the queue.
constexpr size_t kElementsPerPart = 65536;
// Native results have four columns of a row side by side, rows next: a few rows at a time use whole cache
// lines.
constexpr size_t kPartAlignment = 4;

// What a CPU that simulates the NPU streams and multiplies in a nanosecond, roughly, and what it quantises.
// Only tells whether other threads are worth waking.
constexpr uint64_t kBytesPerNs = 10;
constexpr uint64_t kMacsPerNs = 50;
constexpr uint64_t kQuantisedPerNs = 1;

size_t rows_per_part(size_t columns) {
    return round_up(std::max<size_t>(kElementsPerPart / std::max<size_t>(columns, 1), 1), kPartAlignment);
}

// Activations that one thread quantises sooner than it could share them: some microseconds on an A76.
constexpr size_t kElementsAlone = 16384;

}  // namespace

class NpuDevice::Execution final : public Pipeline::Work {
  public:
    Execution(NpuDevice& device, const ActivationStore::Cubes& cubes) : device_(device), cubes_(cubes) {}

    void quantise(size_t chunk, size_t part) override { device_.activations_.quantise_part(chunk, part); }

    Status sync(size_t round, size_t core, size_t run) override {
        return executor_.tell(bound_run(round, core, run), failed_);
    }

    Status run(size_t round, size_t core, size_t run) override {
        return executor_.run(bound_run(round, core, run), failed_);
    }

    void dequantise(size_t round, size_t part) override {
        const PhaseTimer timer(device_.counters_, Phase::kDequantise);
        const Pipeline::Round& at = device_.shape_.rounds[round];
        const RunStrip& strip = device_.batch_->strips[at.strip];
        const size_t count = cubes_.chunks[at.chunk].count;
        const ShareCut cut = share_cut(strip, count);
        RowSpan rows;
        rows.round = round;
        rows.chunk = at.chunk;
        rows.first = part / cut.tiles * cut.rows;
        rows.count = std::min(cut.rows, count - rows.first);
        if (cut.tiles > 1) rows.tile = strip.first_tile + part % cut.tiles;
        if (device_.epilogue_ != nullptr) return to_epilogue(strip, rows);
        add_results(strip, rows, [&](const CellResult& cell) { return target_in_output(rows, cell); });
    }

    // How the results of a strip are cut into shares: by rows, and few rows by tiles as well, so that all
    // threads have some.
    struct ShareCut {
        size_t rows;
        size_t tiles;  // 1: not by tiles
        size_t parts;
    };
    static ShareCut share_cut(const RunStrip& strip, size_t count) {
        const size_t rows = rows_per_part(strip.columns);
        if (count <= rows) return {rows, strip.tiles, strip.tiles};
        return {rows, 1, ceil_div(count, rows)};
    }

    // Contexts whose runs failed.
    const FailedContexts& failed() const { return failed_; }

  private:
    const BoundRun& bound_run(size_t round, size_t core, size_t run) const {
        const RunStrip& strip = device_.batch_->strips[device_.shape_.rounds[round].strip];
        return device_.bound_[device_.first_bound_[round] + strip.first_run[core] + run];
    }

    // Some rows of a round.
    struct RowSpan {
        size_t round;
        size_t chunk;
        size_t first;  // of the chunk
        size_t count;
        size_t tile = SIZE_MAX;  // only this one's columns; SIZE_MAX: all
    };
    FloatRows target_in_output(const RowSpan& rows, const CellResult& cell) const {
        const WeightPlan& plan = device_.batch_->weights[cell.product]->plan;
        const size_t m = device_.first_row_ + cubes_.chunks[rows.chunk].m0 + rows.first;
        return {device_.products_[device_.batch_->positions[cell.product]].out + m * plan.N +
                    plan.tiles[cell.tile].n0,
                plan.N};
    }

    template <typename TargetOf>
    void add_results(const RunStrip& strip, const RowSpan& rows, const TargetOf& target_of) const {
        const RowChunk& chunk = cubes_.chunks[rows.chunk];
        const size_t first_cube = rows.chunk * device_.shape_.segments;
        const BoundRun* const bound = device_.bound_.data() + device_.first_bound_[rows.round];
        add_strip(
            device_.batch_->weights, strip, rows.tile,
            {rows.first, rows.count, chunk.count, device_.batch_->planes, cubes_.row_scales(first_cube),
             cubes_.row_sums(first_cube)},
            [&](size_t run) { return bound[run].written; }, target_of);
    }
    void to_epilogue(const RunStrip& strip, const RowSpan& rows) const;

    NpuDevice& device_;
    const ActivationStore::Cubes& cubes_;
    const RunExecutor executor_{device_.counters_};
    FailedContexts failed_{};
};

// The rows of all products in a thread's own memory, and from there to the epilogue.
void NpuDevice::Execution::to_epilogue(const RunStrip& strip, const RowSpan& rows) const {
    thread_local std::vector<float> memory;
    thread_local std::vector<float*> results;
    const std::vector<NTile>& tiles = device_.batch_->plan().tiles;
    const size_t products = device_.batch_->weights.size();
    const bool one_tile = rows.tile != SIZE_MAX;
    const size_t n = tiles[one_tile ? rows.tile : strip.cells.front().tile].n0;
    const size_t columns = one_tile ? tiles[rows.tile].n_count : strip.columns / products;
    if (memory.size() < rows.count * strip.columns) memory.resize(rows.count * strip.columns);
    results.clear();
    for (size_t product = 0; product < products; ++product)
        results.push_back(memory.data() + product * rows.count * columns);
    add_results(strip, rows, [&](const CellResult& cell) {
        return FloatRows{results[cell.product] + tiles[cell.tile].n0 - n, columns};
    });
    const size_t m = device_.first_row_ + cubes_.chunks[rows.chunk].m0 + rows.first;
    device_.epilogue_->apply({m, rows.count, n, columns, results, columns});
}

Status NpuDevice::run(const ActivationStore::Cubes& cubes) {
    lay_out(cubes);
    RKNPU2_RETURN_IF_ERROR(memory_.publish(*coherency_));
    RKNPU2_RETURN_IF_ERROR(bind(cubes));
    Execution execution(*this, cubes);
    quantise_alone(cubes);
    pipeline_.begin(shape_, activations_.synced());
    const auto take_part = [&](size_t) { pipeline_.work(execution); };
    pool_.parallel_for(threads_of_use(cubes), take_part, estimated_ns(cubes));
    counters_.cpu_tasks += pipeline_.cpu_tasks();
    counters_.overlapped_tasks += pipeline_.overlapped_tasks();
    if (pipeline_.status().ok()) return {};
    drop_failed(contexts_, execution.failed());
    return pipeline_.status();
}

// Few activations, such as those of a single token, before other threads are asked to take part.
void NpuDevice::quantise_alone(const ActivationStore::Cubes& cubes) {
    const bool few = cubes.chunks.size() == 1 && cubes.chunks[0].count * batch_->plan().K <= kElementsAlone;
    if (shape_.quantised || !few) return;
    for (size_t part = 0; part < cubes.chunk_parts[0]; ++part)
        activations_.quantise_part(0, part);
    counters_.cpu_tasks += cubes.chunk_parts[0];
    shape_.quantised = true;
}

// As many as can have something to do at the same time: a single token has a run for each core and little
// else, and a thread that only waits would have to be waited for.
size_t NpuDevice::threads_of_use(const ActivationStore::Cubes& cubes) const {
    const auto all = static_cast<size_t>(pool_.threads());
    if (shape_.rounds.size() > 1) return all;
    size_t cores = 0;
    for (const auto& runs : shape_.strips[0].segments)
        cores += runs.empty() ? 0 : 1;
    const size_t parts = shape_.quantised ? 0 : cubes.chunk_parts[0];
    return std::min(all, std::max({cores, parts, shape_.rounds[0].parts}));
}

// The multiplication as the pipeline sees it. A core goes through all rows with one strip of the weights
// before it takes the next.
void NpuDevice::lay_out(const ActivationStore::Cubes& cubes) {
    shape_.segments = batch_->plan().segments.size();
    shape_.chunk_parts = cubes.chunk_parts;
    shape_.quantised = cubes.quantised;
    if (shape_.strips.size() < batch_->strips.size()) shape_.strips.resize(batch_->strips.size());
    shape_.rounds.clear();
    first_bound_.clear();
    size_t bound = 0;
    for (size_t s = 0; s < batch_->strips.size(); ++s) {
        const RunStrip& strip = batch_->strips[s];
        for (auto& segments : shape_.strips[s].segments)
            segments.clear();
        for (const Run& run : strip.runs)
            shape_.strips[s].segments[run.core].push_back(run.segment);
        for (size_t c = 0; c < cubes.chunks.size(); ++c) {
            shape_.rounds.push_back({c, s, Execution::share_cut(strip, cubes.chunks[c].count).parts});
            first_bound_.push_back(bound);
            bound += strip.runs.size();
        }
    }
}

// Finds the context and the memory of every run, so that the threads touch nothing shared.
Status NpuDevice::bind(const ActivationStore::Cubes& cubes) {
    const size_t segments = batch_->plan().segments.size();
    const PackedWeight& weight = *batch_->weights[0];
    bound_.clear();
    for (size_t round = 0; round < shape_.rounds.size(); ++round) {
        const Pipeline::Round& at = shape_.rounds[round];
        const size_t bucket = cubes.chunks[at.chunk].bucket;
        const RunStrip& strip = batch_->strips[at.strip];
        for (size_t r = 0; r < strip.runs.size(); ++r) {
            const Run& run = strip.runs[r];
            Result<CachedContext*> context = contexts_.get(context_key(weight, run));
            RKNPU2_RETURN_IF_ERROR(context.status());
            const size_t cube = at.chunk * segments + run.segment;
            const Result<BoundRun> bound =
                bind_run(areas_, *context.value(), weight, run, bucket, cube, cubes.slices[cube],
                         {r, round % kResultSlots, kResultSlots});
            RKNPU2_RETURN_IF_ERROR(bound.status());
            bound_.push_back(bound.value());
        }
    }
    return {};
}

// On a board several cores always have something to do at once.
uint64_t NpuDevice::estimated_ns(const ActivationStore::Cubes& cubes) const {
    if (!info().simulated) return UINT64_MAX;
    const size_t N = batch_->columns();
    uint64_t bytes = 0;
    for (const PackedWeight* const weight : batch_->weights)
        bytes += weight->plan.packed_bytes();
    const size_t K = batch_->plan().K;
    uint64_t ns = 0;
    for (const RowChunk& chunk : cubes.chunks) {
        ns += std::max<uint64_t>(bytes / kBytesPerNs, row_buckets()[chunk.bucket] * N * K / kMacsPerNs);
        if (!cubes.quantised) ns += chunk.count * K / kQuantisedPerNs;
    }
    return ns;
}

}  // namespace rknpu2
