// SPDX-License-Identifier: MIT
#include "attention/npu_attention.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/quantise.hpp"

namespace rknpu2 {
namespace {

// Columns of the first product are rounded up to a multiple, so that few contexts serve all lengths.
constexpr size_t kColumnStep = kAttentionBlock / 4;
// Rows of one query area for each of at most so many tokens and heads.
constexpr size_t kMostRowsOfStep = 16384;
// Rows that a thread weighs or adds at a time.
constexpr size_t kRowsOfTask = 16;

// Indices of work areas, from kAttentionAreas on.
constexpr size_t kAreasOfWeights = kAttentionAreas;
constexpr size_t kAreasOfQueries = kAttentionAreas + 64;
constexpr size_t kAreasOfScores = kAttentionAreas;
constexpr size_t kAreasOfValues = kAttentionAreas + 64;

constexpr size_t kMostBlockBytes = size_t{256} << 20;

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

size_t rows_of_bucket(size_t rows) {
    return row_buckets()[bucket_for(rows)];
}

}  // namespace

bool NpuAttention::possible(const AttentionProblem& problem) {
    const auto whole_floats = [](size_t bytes) { return bytes % sizeof(float) == 0; };
    if (problem.tokens == 0 || problem.positions == 0 || problem.kv_heads == 0 || problem.heads == 0 ||
        problem.heads % problem.kv_heads != 0 || problem.keys.width == 0 || problem.values.width == 0)
        return false;
    const size_t width = round_up(problem.keys.width, kTileK) + round_up(problem.values.width, kTileK);
    if (problem.keys.width > rk3588::kMaxK || problem.values.width > rk3588::kDocumentedN ||
        problem.kv_heads * width * kAttentionBlock * sizeof(uint16_t) > kMostBlockBytes)
        return false;
    return whole_floats(problem.query_token_bytes) && whole_floats(problem.query_head_bytes) &&
           whole_floats(problem.out_token_bytes) && whole_floats(problem.out_head_bytes);
}

Status NpuAttention::run(const AttentionProblem& problem, uint64_t layer, int domain, const Caller& caller) {
    domain_ = domain;
    const size_t most = std::max<size_t>(kMostRowsOfStep / problem.heads, 1);
    for (size_t first = 0; first < problem.tokens; first += most) {
        const AttentionProblem part = problem.part(first, std::min(most, problem.tokens - first));
        RKNPU2_RETURN_IF_ERROR(attempt(part, layer, caller.work));
        std::vector<size_t> by_cpu;
        for (size_t token = 0; token < part.tokens; ++token)
            if (for_cpu_[token]) by_cpu.push_back(first + token);
        npu_.counters.attention.tokens_without_halves += by_cpu.size();
        RKNPU2_RETURN_IF_ERROR(
            npu_.pool.parallel_try(by_cpu.size(), [&](size_t i) { return caller.by_cpu(by_cpu[i]); }));
    }
    return {};
}

Status NpuAttention::attempt(const AttentionProblem& problem, uint64_t layer, const Work& work) {
    Status stopped;
    const auto go_on = [&]() -> Result<bool> {
        Result<bool> did = work();
        if (!did.ok()) stopped = did.status();
        return did;
    };
    Recovery recovery = npu_.recovery();
    const auto once = [&] {
        refused_ = false;
        Status status = compute(problem, layer, go_on);
        drain();
        return status;
    };
    Status status = retry(once, [&](Status& failure) {
        if (!stopped.ok() || failure.code() == StatusCode::kUnsupported ||
            failure.code() == StatusCode::kOutOfMemory)
            return false;
        return recovery.again_after(failure, problem.name, [&] {
            npu_.contexts.drop_set(ContextKey::kAttention);
            cells_.forget();
        });
    });
    const bool by_cpu = recovery.wants_cpu();
    if (by_cpu) ++npu_.counters.faults.by_cpu;
    // What the NPU takes no operands for, the CPU computes: nobody has seen a board do it.
    if (status.ok() || !stopped.ok() || !(by_cpu || refused_)) return status;
    return {StatusCode::kUnsupported, status.to_string()};
}

Status NpuAttention::compute(const AttentionProblem& problem, uint64_t layer, const Work& work) {
    cells_.use(problem, domain_);
    visibility_.look(problem, npu_.pool);
    factors_.resize(problem.kv_heads * problem.rows());
    for_cpu_.assign(problem.tokens, false);
    sums_.begin(problem, npu_.pool);
    RKNPU2_RETURN_IF_ERROR(convert_queries(problem));
    find_units(problem);
    for (auto from = units_.begin(); from != units_.end();) {
        std::vector<size_t> blocks;
        auto to = from;
        for (; to != units_.end(); ++to) {
            if (!blocks.empty() && blocks.back() == to->block) continue;
            if (blocks.size() == cells_.room()) break;
            blocks.push_back(to->block);
        }
        RKNPU2_RETURN_IF_ERROR(cells_.pack(problem, visibility_, layer, blocks));
        for (size_t token = 0; token < problem.tokens; ++token)
            if (cells_.sees_what_has_no_half(problem, token)) for_cpu_[token] = true;
        RKNPU2_RETURN_IF_ERROR(compute_blocks(problem, {from, to}, work));
        from = to;
    }
    const PhaseTimer timer(npu_.counters, Phase::kDequantise);
    sums_.finish(problem, factors_, npu_.pool);
    return {};
}

Slice NpuAttention::queries_of(const Unit& unit) const {
    return queries_[unit.head * pieces_ + unit.row / kMaxRows];
}

Status NpuAttention::convert_queries(const AttentionProblem& problem) {
    const PhaseTimer timer(npu_.counters, Phase::kQuantise);
    pieces_ = ceil_div(problem.rows(), kMaxRows);
    queries_.clear();
    const size_t width = cells_.key_width();
    const auto rows_in = [&](size_t piece) { return std::min(kMaxRows, problem.rows() - piece * kMaxRows); };
    for (size_t i = 0; i < problem.kv_heads * pieces_; ++i) {
        const size_t bytes = rows_of_bucket(rows_in(i % pieces_)) * width * sizeof(uint16_t);
        queries_.push_back(RKNPU2_TAKE(npu_.areas.activations(domain_, kAreasOfQueries + i, bytes)));
        npu_.counters.activation_bytes += bytes;
    }
    npu_.pool.parallel_for(queries_.size(), [&](size_t i) {
        const size_t kv_head = i / pieces_;
        const size_t first = i % pieces_ * kMaxRows;
        const size_t rows = rows_in(i % pieces_);
        const size_t room = rows_of_bucket(rows);
        float* const factors = factors_.data() + kv_head * problem.rows();
        problem.for_tokens(kv_head, first, rows, [&](size_t row, size_t token, size_t head, size_t count) {
            convert_rows_fp16({problem.query(token, head), problem.query_head_bytes / sizeof(float), count,
                               problem.keys.width, width, room, row - first, halves_of(queries_[i])},
                              factors + row);
        });
        zero_rows(rows, room, width, room, halves_of(queries_[i]));
        for (size_t row = first; row < first + rows; ++row)
            factors[row] *= problem.scale * kLog2E;
    });
    for (const Slice& queries : queries_)
        RKNPU2_RETURN_IF_ERROR(npu_.coherency->activations_written(npu_.memory.allocator(domain_),
                                                                   queries.memory(), queries.bytes));
    return {};
}

// What the unit's rows see of its block; false: nothing.
bool NpuAttention::see(const AttentionProblem& problem, Unit& unit) const {
    const size_t first = unit.row / problem.group();
    const size_t tokens = (unit.row + unit.rows - 1) / problem.group() + 1 - first;
    unit.plain = true;
    size_t last = 0;
    for (size_t part = 0; part < kPartsOfBlock; ++part) {
        const size_t at = unit.block * kPartsOfBlock + part;
        if (at >= visibility_.parts()) break;
        const Visibility::Sees sees = visibility_.of(at, first, tokens);
        unit.sees[part] = sees != Visibility::Sees::kNothing;
        if (unit.sees[part]) last = part + 1;
        unit.plain = unit.plain && sees == Visibility::Sees::kEverything;
    }
    const size_t begin = unit.block * kAttentionBlock;
    unit.positions = std::min(last * kValueBlock, problem.positions - begin);
    unit.columns = round_up(unit.positions, kColumnStep);
    return last > 0;
}

// Block by block, so that what a row gets is added in the order of positions.
void NpuAttention::find_units(const AttentionProblem& problem) {
    units_.clear();
    for (size_t block = 0; block < ceil_div(problem.positions, kAttentionBlock); ++block) {
        for (size_t piece = 0; piece < problem.kv_heads * pieces_; ++piece) {
            Unit unit;
            unit.block = block;
            unit.head = piece / pieces_;
            unit.row = piece % pieces_ * kMaxRows;
            unit.rows = std::min(kMaxRows, problem.rows() - unit.row);
            if (see(problem, unit)) units_.push_back(unit);
        }
    }
}

Status NpuAttention::compute_blocks(const AttentionProblem& problem, std::span<Unit> units,
                                    const Work& work) {
    if (Status status = bind(units); !status.ok()) {
        refused_ = true;
        return status;
    }
    const auto cores = static_cast<size_t>(npu_.config.cores);
    const size_t groups = ceil_div(units.size(), cores);
    const auto group = [&](size_t g) {
        return units.subspan(g * cores, std::min(cores, units.size() - g * cores));
    };
    const auto jobs = [&](size_t g) -> Jobs& { return jobs_[g % jobs_.size()]; };
    // How many turns later. A group has its scores in the first of these spans, its weights and values in the second; so each
    // has as many slots as jobs_, and what is weighed or added up in a turn had the slot that the next turn gives away.
    constexpr size_t kWeighed = std::tuple_size_v<decltype(jobs_)> - 1;
    constexpr size_t kAdded = 2 * kWeighed;
    for (size_t g = 0; g < groups + kAdded; ++g) {
        if (g < groups) submit(group(g), false, jobs(g).scores);
        if (g >= kWeighed && g - kWeighed < groups) {
            Jobs& those = jobs(g - kWeighed);
            RKNPU2_RETURN_IF_ERROR(wait_for(those.scores, work));
            weigh(problem, group(g - kWeighed));
            submit(group(g - kWeighed), true, those.values);
        }
        if (g >= kAdded) {
            RKNPU2_RETURN_IF_ERROR(wait_for(jobs(g - kAdded).values, work));
            add(problem, group(g - kAdded));
        }
    }
    return {};
}

// All contexts, imports and areas, while nothing of ours runs.
Status NpuAttention::bind(std::span<Unit> units) {
    const auto cores = static_cast<size_t>(npu_.config.cores);
    for (auto* const state : {&block_maxima_, &block_sums_})
        state->resize(jobs_.size() * cores * kMaxRows);
    for (size_t i = 0; i < units.size(); ++i) {
        const size_t slot = i / cores % jobs_.size() * cores + i % cores;
        units[i].core = i % cores;
        units[i].state = slot * kMaxRows;
        RKNPU2_RETURN_IF_ERROR(bind_unit(units[i], slot));
    }
    return {};
}

Status NpuAttention::bind_unit(Unit& unit, size_t slot) {
    const size_t bucket = bucket_for(unit.rows);
    const size_t rows = row_buckets()[bucket];
    const auto bind_one = [&](size_t K, size_t N, const Slice& a, const Slice& b, size_t result,
                              size_t cube) -> Result<BoundRun> {
        const ContextKey key{NpuArithmetic::kFloat16,     K,       N,
                             static_cast<int>(unit.core), domain_, ContextKey::kAttention};
        CachedContext* const context = RKNPU2_TAKE(npu_.contexts.get(key));
        const Slice c = RKNPU2_TAKE(npu_.areas.result(domain_, result, rows * N * sizeof(float)));
        BoundRun run{context, bucket, cube, {}, {}, {}, {c.data(), rows}};
        run.activations = RKNPU2_TAKE(context->view(Operand::kActivations, bucket, a, a.bytes));
        run.weights = RKNPU2_TAKE(context->view(Operand::kWeights, bucket, b, b.bytes));
        run.result = RKNPU2_TAKE(context->view(Operand::kResult, bucket, c, c.bytes));
        return run;
    };
    unit.scores = RKNPU2_TAKE(bind_one(cells_.key_width(), unit.columns, queries_of(unit),
                                       cells_.keys(unit.block, unit.head, unit.columns),
                                       kAreasOfScores + slot, unit.core));
    const size_t depth = value_depth(unit.block);
    const size_t cube = rows * kValueBlock;
    for (size_t first = 0; first < unit.positions; first += depth) {
        const size_t part = first / depth;
        const size_t index = slot * kPartsOfBlock + part;
        const Slice weights = RKNPU2_TAKE(
            npu_.areas.activations(domain_, kAreasOfWeights + index, rows * depth * sizeof(uint16_t)));
        for (size_t i = 0; i < depth; i += kValueBlock)
            unit.weights[(first + i) / kValueBlock] = halves_of(weights) + i / kValueBlock * cube;
        unit.multiplies[part] = depth > kValueBlock || unit.sees[part];
        if (!unit.multiplies[part]) continue;
        unit.values[part] = RKNPU2_TAKE(bind_one(depth, cells_.value_width(), weights,
                                                 cells_.values(unit.block, unit.head, part),
                                                 kAreasOfValues + index, unit.core * kPartsOfBlock + part));
    }
    return {};
}

// The NPU knows the queries; it is told of the weights by the first run that reads them.
void NpuAttention::submit(std::span<const Unit> units, bool values, NpuLane::Job& job) {
    for (auto& runs : job.runs)
        runs.clear();
    for (const Unit& unit : units) {
        if (!values) job.runs[unit.core].push_back(unit.scores);
        for (size_t part = 0; part < kPartsOfBlock; ++part)
            if (values && unit.multiplies[part]) job.runs[unit.core].push_back(unit.values[part]);
    }
    values ? job.synced.reset(rk3588::kCores * kPartsOfBlock) : job.synced.reset_known(rk3588::kCores);
    submitted_.push_back(&job);
    npu_.lane->submit_first(job);
}

// Others work in the meantime, and whenever they can: they give the NPU more to do.
Status NpuAttention::wait_for(NpuLane::Job& job, const Work& work) {
    while (RKNPU2_TAKE(work())) {
    }
    return end(job);
}

Status NpuAttention::end(NpuLane::Job& job) {
    npu_.lane->wait_for(job);
    std::erase(submitted_, &job);
    if (!job.status.ok()) failed_.push_back(job.failed);
    return job.status;
}

// Waits for what was begun. Contexts that failed are dropped then.
void NpuAttention::drain() {
    while (!submitted_.empty())
        static_cast<void>(end(*submitted_.front()));
    for (const FailedContexts& failed : failed_)
        drop_failed(npu_.contexts, failed);
    failed_.clear();
}

void NpuAttention::weigh(const AttentionProblem& problem, std::span<const Unit> units) {
    const PhaseTimer timer(npu_.counters, Phase::kSoftmax);
    for_rows(npu_.pool, units,
             [&](const Unit& unit, size_t first, size_t count) { weigh_rows(problem, unit, first, count); });
    for (const Unit& unit : units)
        npu_.counters.attention.scores += unit.rows * unit.positions;
}

void NpuAttention::weigh_rows(const AttentionProblem& problem, const Unit& unit, size_t first, size_t count) {
    std::array<float, kRowsOfTask> factors{};
    std::array<float, kRowsOfTask> slopes{};
    std::array<const uint16_t*, kRowsOfTask> masks{};
    problem.for_tokens(
        unit.head, unit.row + first, count, [&](size_t row, size_t token, size_t head, size_t rows) {
            for (size_t i = 0; i < rows; ++i) {
                const size_t at = row - unit.row - first + i;
                const float factor = factors_[unit.head * problem.rows() + row + i];
                factors[at] = std::isnan(factor) ? 0.0F : factor;
                slopes[at] = problem.slope(head + i) * kLog2E;
                if (!unit.plain) masks[at] = problem.mask_row(token, head + i) + unit.block * kAttentionBlock;
            }
        });
    const size_t room = rows_of_bucket(unit.rows);
    const size_t state = unit.state + first;
    weigh_scores({reinterpret_cast<const float*>(unit.scores.written.data),
                  room,
                  first,
                  count,
                  unit.positions,
                  factors.data(),
                  problem.softcap * kLog2E,
                  masks.data(),
                  slopes.data(),
                  {unit.weights[0], unit.weights[1]},
                  block_maxima_.data() + state,
                  block_sums_.data() + state});
    if (first > 0) return;
    for (size_t part = 0; part < kPartsOfBlock; ++part) {
        const bool written = part * kValueBlock < unit.positions;
        if (unit.weights[part] != nullptr)
            zero_rows(written ? unit.rows : 0, room, kValueBlock, room, unit.weights[part]);
    }
}

void NpuAttention::add(const AttentionProblem& problem, std::span<const Unit> units) {
    const PhaseTimer timer(npu_.counters, Phase::kDequantise);
    // Units of the same rows one after the other, in the order of their blocks.
    for (size_t done = 0; done < units.size();) {
        size_t end = done + 1;
        const auto same_rows = [&](const Unit& other) {
            return other.head == units[end].head && other.row == units[end].row;
        };
        while (end < units.size() && std::none_of(&units[done], units.data() + end, same_rows))
            ++end;
        for_rows(npu_.pool, units.subspan(done, end - done),
                 [&](const Unit& unit, size_t first, size_t count) {
                     RowSums::Block block{
                         unit.row, block_maxima_.data() + unit.state, block_sums_.data() + unit.state, {}};
                     for (size_t part = 0; part < kPartsOfBlock; ++part)
                         if (unit.multiplies[part]) block.values[part] = unit.values[part].written;
                     sums_.add(problem, unit.head, unit.row + first, count, block);
                 });
        done = end;
    }
}

}  // namespace rknpu2
