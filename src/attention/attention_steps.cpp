// SPDX-License-Identifier: MIT
#include "attention/attention_steps.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/quantise.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kRowsOfTask = kRowsOfAttentionTask;

// Indices of the first place's work areas: of activations, and of results.
constexpr size_t kAreasOfWeights = kAttentionAreas;
constexpr size_t kAreasOfQueries = kAttentionAreas + 64;
constexpr size_t kAreasOfScores = kAttentionAreas;
constexpr size_t kAreasOfValues = kAttentionAreas + 64;

// Tasks for the rows of each unit: calls body(unit, first row, rows).
template <typename Units, typename Body>
void for_rows(ThreadPool& pool, const Units& units, const Body& body) {
    size_t tasks = 0;
    for (const auto& unit : units)
        tasks = std::max(tasks, ceil_div(unit.rows, kRowsOfTask));
    pool.parallel_for(tasks * units.size(), [&](size_t task) {
        const auto& unit = units[task % units.size()];
        const size_t first = task / units.size() * kRowsOfTask;
        if (first < unit.rows) body(unit, first, std::min(kRowsOfTask, unit.rows - first));
    });
}

uint16_t* halves_of(const Slice& slice) {
    return reinterpret_cast<uint16_t*>(slice.data());
}

}  // namespace

void AttentionSteps::begin(const AttentionProblem& problem, uint64_t layer, int domain, KvCells& cells) {
    problem_ = problem;
    pieces_ = pieces_of(problem);
    layer_ = layer;
    domain_ = domain;
    cells_ = &cells;
    begin_again();
}

// The job whose results the next step takes; null: none.
const NpuLane::Job* AttentionSteps::needed() const {
    if (at_ == At::kWeigh) return &jobs_[(turn_ - kBehind) % kGroups].scores;
    return at_ == At::kAdd ? &jobs_[(turn_ - 2 * kBehind) % kGroups].values : nullptr;
}

bool AttentionSteps::may_step() const {
    if (at_ == At::kPack) return cells_->may_pack(visibility_, layer_, blocks_, place_);
    const NpuLane::Job* const job = needed();
    return job == nullptr || npu_.lane->is_done(*job);
}

Status AttentionSteps::step() {
    switch (at_) {
        case At::kLook:
            return look();
        case At::kPack:
            return pack();
        case At::kWeigh: {
            const size_t g = turn_ - kBehind;
            RKNPU2_RETURN_IF_ERROR(wait_for(jobs(g).scores));
            weigh(group(g));
            submit(group(g), true, jobs(g).values);
            at_ = At::kAdd;
            if (!adds()) next_turn();
            return {};
        }
        case At::kAdd:
            RKNPU2_RETURN_IF_ERROR(wait_for(jobs(turn_ - 2 * kBehind).values));
            add(group(turn_ - 2 * kBehind));
            next_turn();
            return {};
        case At::kFinish:
            finish();
            at_ = At::kDone;
            return {};
        case At::kDone:
            break;
    }
    return {};
}

Status AttentionSteps::look() {
    refused_ = false;
    visibility_.look(problem_, npu_.pool);
    factors_.resize(problem_.kv_heads * problem_.rows());
    for_cpu_.assign(problem_.tokens, false);
    sums_.begin(problem_, npu_.pool);
    RKNPU2_RETURN_IF_ERROR(convert_queries());
    units_ = units_of(problem_, visibility_);
    to_ = 0;
    find_blocks();
    return {};
}

// The next units, piece by piece, and their blocks. Nothing reads those before any more: were they kept, two attentions could wait for
// each other's room.
void AttentionSteps::find_blocks() {
    cells_->release(place_);
    from_ = to_;
    blocks_.clear();
    for (; to_ < units_.size(); ++to_) {
        if (!blocks_.empty() && blocks_.back() == units_[to_].block) continue;
        if (blocks_.size() == cells_->room()) break;
        blocks_.push_back(units_[to_].block);
    }
    std::ranges::stable_sort(std::span(units_).subspan(from_, to_ - from_), {},
                             [](const AttentionUnit& unit) { return std::pair(unit.head, unit.row); });
    at_ = blocks_.empty() ? At::kFinish : At::kPack;
}

Status AttentionSteps::pack() {
    RKNPU2_RETURN_IF_ERROR(cells_->pack(problem_, visibility_, layer_, blocks_, place_));
    for (size_t token = 0; token < problem_.tokens; ++token)
        if (cells_->sees_what_has_no_half(problem_, token, place_)) for_cpu_[token] = true;
    if (Status status = bind(); !status.ok()) {
        refused_ = true;
        return status;
    }
    groups_ = ceil_div(to_ - from_, static_cast<size_t>(npu_.config.cores));
    turn_ = SIZE_MAX;  // before the first one
    next_turn();
    return {};
}

std::span<AttentionUnit> AttentionSteps::group(size_t number) {
    const auto cores = static_cast<size_t>(npu_.config.cores);
    const size_t first = from_ + number * cores;
    return std::span(units_).subspan(first, std::min(cores, to_ - first));
}

// A group has its scores in the first kBehind turns, its weights and values in the next ones. So each has kGroups
// slots, and what is weighed or added up in a turn had the slot that the next turn gives away.
void AttentionSteps::next_turn() {
    do {
        if (++turn_ == groups_ + 2 * kBehind) return find_blocks();
        if (turn_ < groups_) submit(group(turn_), false, jobs(turn_).scores);
    } while (!weighs() && !adds());
    at_ = weighs() ? At::kWeigh : At::kAdd;
}

void AttentionSteps::finish() {
    const PhaseTimer timer(npu_.counters, Phase::kDequantise);
    sums_.finish(problem_, factors_, npu_.pool);
}

Slice AttentionSteps::queries_of(const AttentionUnit& unit) const {
    return queries_[unit.head * pieces_.count + unit.row / pieces_.longest];
}

Status AttentionSteps::convert_queries() {
    const PhaseTimer timer(npu_.counters, Phase::kQuantise);
    queries_.clear();
    const AttentionSizes& sizes = cells_->sizes();
    for (size_t i = 0; i < problem_.kv_heads * pieces_.count; ++i) {
        queries_.push_back(RKNPU2_TAKE(
            npu_.areas.activations(domain_, area(kAreasOfQueries + i), sizes.queries(pieces_.room))));
        npu_.counters.activation_bytes += sizes.queries(bucket_rows(pieces_.rows(i % pieces_.count)));
    }
    npu_.pool.parallel_for(queries_.size(), [&](size_t i) {
        const size_t kv_head = i / pieces_.count;
        const size_t first = pieces_.first(i % pieces_.count);
        const size_t rows = pieces_.rows(i % pieces_.count);
        const size_t room = bucket_rows(rows);
        float* const factors = factors_.data() + kv_head * problem_.rows();
        problem_.for_tokens(kv_head, first, rows, [&](size_t row, size_t token, size_t head, size_t count) {
            convert_rows_fp16(
                {problem_.query(token, head), problem_.query_head_bytes / sizeof(float), count,
                 problem_.keys.width, sizes.key_width, room, row - first, halves_of(queries_[i])},
                factors + row);
        });
        zero_rows(rows, room, sizes.key_width, room, halves_of(queries_[i]));
        for (size_t row = first; row < first + rows; ++row)
            factors[row] *= problem_.scale * kLog2E;
    });
    for (const Slice& queries : queries_)
        RKNPU2_RETURN_IF_ERROR(npu_.coherency->activations_written(npu_.memory.allocator(domain_),
                                                                   queries.memory(), queries.bytes));
    return {};
}

// All contexts and areas, while nothing of ours runs.
Status AttentionSteps::bind() {
    const auto cores = static_cast<size_t>(npu_.config.cores);
    for (auto* const state : {&block_maxima_, &block_sums_})
        state->resize(kGroups * cores * kMaxRows);
    for (size_t i = 0; i < to_ - from_; ++i) {
        AttentionUnit& unit = units_[from_ + i];
        const size_t slot = i / cores % kGroups * cores + i % cores;
        unit.core = i % cores;
        unit.state = slot * kMaxRows;
        RKNPU2_RETURN_IF_ERROR(bind_unit(unit, slot));
    }
    return {};
}

Status AttentionSteps::bind_unit(AttentionUnit& unit, size_t slot) {
    const size_t bucket = bucket_for(unit.rows);
    const size_t rows = row_buckets()[bucket];
    const size_t room = pieces_.room;
    const AttentionSizes& sizes = cells_->sizes();
    const auto bind_one = [&](size_t K, size_t N, size_t bytes, const Slice& a, const Slice& b, size_t result,
                              size_t cube) -> Result<BoundRun> {
        const ContextKey key{NpuArithmetic::kFloat16,     K,       N,
                             static_cast<int>(unit.core), domain_, ContextKey::kAttention};
        CachedContext* const context = RKNPU2_TAKE(npu_.contexts.get(key));
        const Slice c = RKNPU2_TAKE(npu_.areas.result(domain_, result, bytes));
        BoundRun run{context, bucket, cube, {}, {}, {}, {c.data(), rows}};
        run.activations = RKNPU2_TAKE(context->described(Operand::kActivations, bucket, a, a.bytes));
        run.weights = RKNPU2_TAKE(context->tried(Operand::kWeights, bucket, b, b.bytes));
        run.result = RKNPU2_TAKE(context->described(Operand::kResult, bucket, c, c.bytes));
        return run;
    };
    unit.scores = RKNPU2_TAKE(bind_one(
        sizes.key_width, unit.columns, sizes.scores(room, unit.columns), queries_of(unit),
        cells_->keys(place_, unit.block, unit.head, unit.columns), area(kAreasOfScores + slot), unit.core));
    const size_t depth = value_depth(unit.block);
    // Where the first block's second part has the area of later blocks, its first part has the other one: two small areas of one
    // index may be the same.
    const bool swapped = unit.block == 0 && sizes.weight_depth(0, 1) > depth;
    const size_t cube = rows * kValueBlock;
    for (size_t first = 0; first < unit.positions; first += depth) {
        const size_t part = first / depth;
        const size_t index = slot * kPartsOfBlock + part;
        const size_t deep = sizes.weight_depth(unit.block, part);
        const size_t of_weights = slot * kPartsOfBlock + (swapped ? 1 - part : part);
        const Slice weights = RKNPU2_TAKE(
            npu_.areas.activations(domain_, area(kAreasOfWeights + of_weights), sizes.weights(room, deep)));
        for (size_t i = 0; i < depth; i += kValueBlock)
            unit.weights[(first + i) / kValueBlock] = halves_of(weights) + i / kValueBlock * cube;
        unit.multiplies[part] = depth > kValueBlock || unit.sees[part];
        if (!unit.multiplies[part]) continue;
        unit.values[part] =
            RKNPU2_TAKE(bind_one(depth, sizes.value_width, sizes.values(room), weights,
                                 cells_->values(place_, unit.block, unit.head, part),
                                 area(kAreasOfValues + index), unit.core * kPartsOfBlock + part));
    }
    return {};
}

// The NPU knows the queries; it is told of the weights by the first run that reads them.
void AttentionSteps::submit(std::span<const AttentionUnit> units, bool values, NpuLane::Job& job) {
    for (auto& runs : job.runs)
        runs.clear();
    for (const AttentionUnit& unit : units) {
        if (!values) job.runs[unit.core].push_back(unit.scores);
        for (size_t part = 0; part < kPartsOfBlock; ++part)
            if (values && unit.multiplies[part]) job.runs[unit.core].push_back(unit.values[part]);
    }
    values ? job.synced.reset(rk3588::kCores * kPartsOfBlock) : job.synced.reset_known(rk3588::kCores);
    submitted_.push_back(&job);
    npu_.lane->submit_first(job);
}

Status AttentionSteps::wait_for(NpuLane::Job& job) {
    npu_.lane->wait_for(job);
    std::erase(submitted_, &job);
    return job.status;
}

void AttentionSteps::drain() {
    while (!submitted_.empty())
        static_cast<void>(wait_for(*submitted_.front()));
}

void AttentionSteps::weigh(std::span<const AttentionUnit> units) {
    const PhaseTimer timer(npu_.counters, Phase::kSoftmax);
    for_rows(npu_.pool, units,
             [&](const AttentionUnit& unit, size_t first, size_t count) { weigh_rows(unit, first, count); });
    for (const AttentionUnit& unit : units)
        npu_.counters.attention.scores += unit.rows * unit.positions;
}

void AttentionSteps::weigh_rows(const AttentionUnit& unit, size_t first, size_t count) {
    std::array<float, kRowsOfTask> factors{};
    std::array<float, kRowsOfTask> slopes{};
    std::array<const uint16_t*, kRowsOfTask> masks{};
    problem_.for_tokens(
        unit.head, unit.row + first, count, [&](size_t row, size_t token, size_t head, size_t rows) {
            for (size_t i = 0; i < rows; ++i) {
                const size_t at = row - unit.row - first + i;
                const float factor = factors_[unit.head * problem_.rows() + row + i];
                factors[at] = std::isnan(factor) ? 0.0F : factor;
                slopes[at] = problem_.slope(head + i) * kLog2E;
                if (!unit.plain)
                    masks[at] = problem_.mask_row(token, head + i) + unit.block * kAttentionBlock;
            }
        });
    const SeenOfBlock seen = seen_of_block(problem_, visibility_, unit.block, unit.row + first, count);
    const size_t room = bucket_rows(unit.rows);
    const size_t state = unit.state + first;
    weigh_scores({reinterpret_cast<const float*>(unit.scores.written.data),
                  room,
                  first,
                  count,
                  std::max<size_t>(seen.end, 1),
                  factors.data(),
                  problem_.softcap * kLog2E,
                  masks.data(),
                  slopes.data(),
                  {unit.weights[0], unit.weights[1]},
                  block_maxima_.data() + state,
                  block_sums_.data() + state,
                  seen.plain});
    if (first > 0) return;
    for (uint16_t* const weights : unit.weights)
        if (weights != nullptr) zero_rows(unit.rows, room, kValueBlock, room, weights);
}

void AttentionSteps::add(std::span<const AttentionUnit> units) {
    const PhaseTimer timer(npu_.counters, Phase::kDequantise);
    // A task takes all blocks of its rows, in their order: what the rows have been given stays in a near cache.
    struct Piece {
        std::span<const AttentionUnit> units;
        size_t rows;
    };
    std::vector<Piece> pieces;
    for (size_t first = 0, end = 0; first < units.size(); first = end) {
        while (end < units.size() && units[end].has_rows_of(units[first]))
            ++end;
        pieces.push_back({units.subspan(first, end - first), units[first].rows});
    }
    for_rows(npu_.pool, pieces, [&](const Piece& piece, size_t first, size_t count) {
        for (const AttentionUnit& unit : piece.units) {
            RowSums::Block block{
                unit.row, block_maxima_.data() + unit.state, block_sums_.data() + unit.state, {}};
            for (size_t part = 0; part < kPartsOfBlock; ++part)
                if (unit.multiplies[part]) block.values[part] = unit.values[part].written;
            sums_.add(problem_, unit.head, unit.row + first, count, block);
        }
    });
}

}  // namespace rknpu2
