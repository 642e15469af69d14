// SPDX-License-Identifier: MIT
#include "matmul/multiplication.hpp"

#include <algorithm>

#include "kernels/far.hpp"
#include "kernels/quantise.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

// What a CPU that simulates the NPU does in a nanosecond, roughly: tells whether other threads are worth
// waking.
constexpr uint64_t kBytesPerNs = 10;
constexpr uint64_t kMacsPerNs = 50;
constexpr uint64_t kQuantisedPerNs = 1;

// Activations that one thread quantises sooner than it could share them: some microseconds on an A76.
constexpr size_t kElementsAlone = 16384;

// Results that a thread turns into floats at a time: long enough to be worth the way to the queue.
constexpr size_t kElementsPerShare = 65536;
// Native results have four columns of a row side by side, rows next: a few rows at a time use whole cache
// lines.
constexpr size_t kShareAlignment = 4;

// One scale for all rows that are finite; the others become NaN by themselves.
float scale_of_rows(const float* a, size_t M, size_t K) {
    float largest = 0.0F;
    for (size_t m = 0; m < M; ++m) {
        const float here = row_absmax(a + m * K, K);
        if (here > largest) largest = here;
    }
    return int8_tensor_scale(largest);
}

// Do the strips of all weights have the same columns?
bool same_tiles(const std::vector<const PackedWeight*>& weights) {
    return std::all_of(weights.begin(), weights.end(), [&](const PackedWeight* weight) {
        return weight->plan.N == weights[0]->plan.N &&
               weight->plan.tiles.size() == weights[0]->plan.tiles.size();
    });
}

}  // namespace

Status Multiplication::multiply(Epilogue* epilogue) {
    BatchList& batches = buffers_.batches;
    batches.clear();
    for (const Product& product : products_)
        batches.add(*product.weight, product.planes);
    batches.lay_out();
    for (const Batch& batch : batches) {
        batch_ = &batch;
        const bool all = batches.size() == 1 && same_tiles(batch.weights);
        epilogue_ = all ? epilogue : nullptr;
        const Target target = RKNPU2_TAKE(multiply_batch());
        if (target == Target::kCpu) continue;
        count_matmuls(batch, npu_.counters);
        if (all) epilogue = nullptr;  // it has had everything
    }
    if (epilogue != nullptr) apply_to_all(*epilogue, products_, input_.M, products_[0].weight->plan.N);
    return {};
}

Result<Target> Multiplication::multiply_batch() {
    Recovery recovery = npu_.recovery();
    const auto again_after = [&](Status& failure) {
        npu_.activations.forget();
        if (npu_.context_limit.lowered_after(failure, batch_->name())) {
            npu_.areas.drop_results_from(0);  // a lost run may still write into its own
            return true;
        }
        return recovery.again_after(failure, batch_->name(), [&] { npu_.drop_all(); });
    };
    const Status status = retry([&] { return attempt(); }, again_after);
    if (status.ok()) return Target::kNpu;
    npu_.areas.drop_results_from(0);
    if (!recovery.wants_cpu()) return status;
    for (const size_t position : batch_->positions) {
        const Product& product = products_[position];
        RKNPU2_RETURN_IF_ERROR(
            multiply_after_fault(npu_, product.weight->source, input_.data, input_.M, product.out));
    }
    return Target::kCpu;
}

// Keeps other processes out for one attempt only, so that nobody waits long.
Status Multiplication::attempt() {
    const DeviceLock::Turn turn = RKNPU2_TAKE(DeviceLock::Turn::take(npu_.lock.get()));
    npu_.begin_call();
    const ActivationStore::Form form = this->form();
    const size_t most = kMostRowChunks * (form.chunk_rows / form.planes);
    for (first_row_ = 0; first_row_ < input_.M; first_row_ += cubes_->rows) {
        const size_t M = std::min(most, input_.M - first_row_);
        cubes_ = RKNPU2_TAKE(npu_.activations.get(*batch_->weights[0], input_, first_row_, M, form));
        if (first_row_ == 0) {
            const size_t quantised = cubes_->quantised ? 0 : 1;
            npu_.counters.activations_quantised += quantised;
            npu_.counters.activations_shared += batch_->weights.size() - quantised;
        }
        RKNPU2_RETURN_IF_ERROR(multiply_cubes());
        npu_.activations.keep();
    }
    return {};
}

// Cuts chunks so long that CPU and NPU work side by side, without too many runs.
ActivationStore::Form Multiplication::form() const {
    const WeightPlan& plan = batch_->plan();
    ActivationStore::Form form;
    form.planes = batch_->planes;
    // Results have no more room; that of a row fits in any case.
    form.most_rows = std::max(most_result_rows(batch_->strips.widest()), form.planes);
    const size_t best = best_chunk_rows(kBoardRates, plan.recipe.arithmetic, input_.M * form.planes, plan.K,
                                        batch_->columns(), {plan.segments.size(), plan.tiles.size()});
    form.chunk_rows = std::max(std::min(best, form.most_rows), form.planes);
    if (plan.recipe.one_scale_per_tensor) form.tensor_scale = scale_of_rows(input_.data, input_.M, plan.K);
    return form;
}

Status Multiplication::multiply_cubes() {
    lay_out();
    RKNPU2_RETURN_IF_ERROR(npu_.memory.publish(*npu_.coherency));
    RKNPU2_RETURN_IF_ERROR(bind());
    quantise_alone();
    Pipeline& pipeline = buffers_.pipeline;
    pipeline.begin(buffers_.shape, cubes_->synced);
    npu_.pool.parallel_for(
        threads_of_use(), [&](size_t) { pipeline.work(*this); }, estimated_ns());
    npu_.counters.cpu_tasks += pipeline.cpu_tasks();
    npu_.counters.overlapped_tasks += pipeline.overlapped_tasks();
    if (!pipeline.status().ok()) npu_.contexts.drop_failed(ContextKey::kProducts);
    return pipeline.status();
}

// A core goes through all rows with one strip of the weights before it takes the next.
void Multiplication::lay_out() {
    Pipeline::Shape& shape = buffers_.shape;
    shape.segments = batch_->plan().segments.size();
    shape.chunk_parts = cubes_->chunk_parts;
    shape.quantised = cubes_->quantised;
    shape.rounds.clear();
    buffers_.first_bound.clear();
    size_t bound = 0;
    for (size_t s = 0; s < batch_->strips.size(); ++s) {
        const RunStrip& strip = batch_->strips[s];
        for (size_t c = 0; c < cubes_->chunks.size(); ++c) {
            shape.rounds.push_back({c, &strip, cut_of(strip, cubes_->chunks[c].count).count});
            buffers_.first_bound.push_back(bound);
            bound += strip.runs.size();
        }
    }
}

// Threads then touch nothing shared.
Status Multiplication::bind() {
    const PackedWeight& weight = *batch_->weights[0];
    buffers_.bound.clear();
    for (size_t round = 0; round < buffers_.shape.rounds.size(); ++round) {
        const size_t chunk = buffers_.shape.rounds[round].chunk;
        const std::vector<Run>& runs = buffers_.shape.rounds[round].strip->runs;
        for (size_t r = 0; r < runs.size(); ++r) {
            CachedContext* const context = RKNPU2_TAKE(npu_.contexts.get(context_key(weight, runs[r])));
            const size_t cube = chunk * weight.plan.segments.size() + runs[r].segment;
            buffers_.bound.push_back(
                RKNPU2_TAKE(bind_run(npu_.areas, *context, weight, runs[r], cubes_->chunks[chunk].bucket,
                                     cube, cubes_->slices[cube], r * kResultSlots + round % kResultSlots)));
        }
    }
    return {};
}

// Quantises few activations, such as a token's, before other threads are asked to take part.
void Multiplication::quantise_alone() {
    const bool few =
        cubes_->chunks.size() == 1 && cubes_->chunks[0].count * batch_->plan().K <= kElementsAlone;
    if (buffers_.shape.quantised || !few) return;
    for (size_t part = 0; part < cubes_->chunk_parts[0]; ++part)
        quantise(0, part);
    npu_.counters.cpu_tasks += cubes_->chunk_parts[0];
    buffers_.shape.quantised = true;
}

// A single token has a run for each core and little else, and a thread without a task would be waited for.
size_t Multiplication::threads_of_use() const {
    const Pipeline::Shape& shape = buffers_.shape;
    const auto all = static_cast<size_t>(npu_.pool.threads());
    if (shape.rounds.size() > 1) return all;
    const auto& first_run = shape.rounds[0].strip->first_run;
    size_t cores = 0;
    for (size_t core = 0; core < rk3588::kCores; ++core)
        cores += first_run[core] < first_run[core + 1] ? 1 : 0;
    const size_t parts = shape.quantised ? 0 : cubes_->chunk_parts[0];
    return std::min(all, std::max({cores, parts, shape.rounds[0].parts}));
}

// On a board several cores always have something to do at once.
uint64_t Multiplication::estimated_ns() const {
    if (!npu_.runtime->info().simulated) return UINT64_MAX;
    uint64_t bytes = 0;
    for (const PackedWeight* const weight : batch_->weights)
        bytes += weight->plan.packed_bytes();
    const size_t N = batch_->columns();
    const size_t K = batch_->plan().K;
    uint64_t ns = 0;
    for (const RowChunk& chunk : cubes_->chunks) {
        ns += std::max<uint64_t>(bytes / kBytesPerNs, row_buckets()[chunk.bucket] * N * K / kMacsPerNs);
        if (!cubes_->quantised) ns += chunk.count * K / kQuantisedPerNs;
    }
    return ns;
}

void Multiplication::quantise(size_t chunk, size_t part) {
    npu_.activations.quantise_part(chunk, part);
}

Status Multiplication::sync(size_t round, size_t run) {
    return tell(buffers_.bound[buffers_.first_bound[round] + run]);
}

Status Multiplication::run(size_t round, size_t run) {
    return execute(buffers_.bound[buffers_.first_bound[round] + run], npu_.counters);
}

Multiplication::ShareCut Multiplication::cut_of(const RunStrip& strip, size_t rows) {
    if (rows <= kFewResultRows) {
        const size_t of_tile = rows * ceil_div(strip.columns, strip.tiles);
        const size_t bands = rows == 1 ? 1 : ceil_div(of_tile, kElementsPerBand);
        return {rows, strip.tiles, bands, strip.tiles * bands};
    }
    const size_t fitting = std::max<size_t>(kElementsPerShare / std::max<size_t>(strip.columns, 1), 1);
    const size_t of_share = round_up(fitting, kShareAlignment);
    if (rows <= of_share) return {of_share, strip.tiles, 1, strip.tiles};
    return {of_share, 1, 1, ceil_div(rows, of_share)};
}

void Multiplication::dequantise(size_t round, size_t share) {
    const PhaseTimer timer(npu_.counters, Phase::kDequantise);
    const Pipeline::Round& at = buffers_.shape.rounds[round];
    const RunStrip& strip = *at.strip;
    const RowChunk& chunk = cubes_->chunks[at.chunk];
    const ShareCut cut = cut_of(strip, chunk.count);
    const size_t columns = cut.tiles * cut.bands;
    const size_t first = share / columns * cut.rows, column = share % columns;
    const StripPart part{columns > 1 ? strip.first_tile + column / cut.bands : SIZE_MAX, column % cut.bands,
                         cut.bands};
    const RowSpan rows{round, first, std::min(cut.rows, chunk.count - first), first_row_ + chunk.m0 + first,
                       part};
    if (epilogue_ != nullptr) return to_epilogue(rows);
    add_results(rows, [&](const CellResult& cell, const TileColumns& of_tile) {
        const WeightPlan& plan = batch_->weights[cell.product]->plan;
        float* const out = products_[batch_->positions[cell.product]].out;
        return FloatRows{out + rows.m * plan.N + plan.tiles[cell.tile].n0 + of_tile.first, plan.N};
    });
}

template <typename TargetOf>
void Multiplication::add_results(const RowSpan& rows, const TargetOf& target_of) const {
    const Pipeline::Round& round = buffers_.shape.rounds[rows.round];
    const size_t first_cube = round.chunk * buffers_.shape.segments;
    const BoundRun* const bound = buffers_.bound.data() + buffers_.first_bound[rows.round];
    add_strip(
        batch_->weights, *round.strip, rows.part,
        {rows.first, rows.count, cubes_->chunks[round.chunk].count, batch_->planes,
         cubes_->scales.data() + first_cube * kMaxRows, cubes_->sums.data() + first_cube * kMaxRows},
        [&](size_t run) { return bound[run].written; }, target_of);
}

// The rows of all products in a thread's own memory, and from there to the epilogue.
void Multiplication::to_epilogue(const RowSpan& rows) const {
    thread_local std::vector<float> memory;
    thread_local std::vector<float*> results;
    const RunStrip& strip = *buffers_.shape.rounds[rows.round].strip;
    const std::vector<NTile>& tiles = batch_->plan().tiles;
    const size_t products = batch_->weights.size();
    const bool all_tiles = rows.part.tile == SIZE_MAX;
    const NTile& tile = tiles[all_tiles ? strip.cells.front().tile : rows.part.tile];
    const TileColumns of_tile =
        all_tiles ? TileColumns{0, strip.columns / products} : rows.part.columns_of(tile);
    const size_t n = tile.n0 + of_tile.first, columns = of_tile.count;
    if (columns == 0) return;
    const size_t elements = rows.count * columns * products;
    if (memory.size() < elements) memory.resize(elements);
    results.clear();
    for (size_t product = 0; product < products; ++product)
        results.push_back(memory.data() + product * rows.count * columns);
    add_results(rows, [&](const CellResult& cell, const TileColumns& part) {
        return FloatRows{results[cell.product] + tiles[cell.tile].n0 + part.first - n, columns};
    });
    epilogue_->apply({rows.m, rows.count, n, columns, results, columns});
}

}  // namespace rknpu2
