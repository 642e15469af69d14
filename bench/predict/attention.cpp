// SPDX-License-Identifier: MIT
#include "predict/attention.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "matrix/layout.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {
namespace {

constexpr double kHalf = 2, kFloat = 4;
// llama.cpp shows attention a multiple of so many positions.
constexpr size_t kPositionStep = 256;

// How much longer a loop takes whose tasks the team cannot share evenly.
double uneven(size_t tasks, const BoardProfile& board) {
    const auto threads = static_cast<size_t>(board.cpu_threads);
    return tasks == 0 ? 1
                      : static_cast<double>(ceil_div(tasks, threads) * threads) / static_cast<double>(tasks);
}

// Rows of a KV head and a block, as AttentionUnit.
struct Unit {
    size_t block = 0, head = 0, piece = 0, rows = 0;
    size_t positions = 0, columns = 0;
    std::array<bool, kPartsOfBlock> sees{};

    size_t values() const { return static_cast<size_t>(std::count(sees.begin(), sees.end(), true)); }
    double weighed = 0;  // scores that the CPU reads: up to the last one that a row sees

    size_t scores() const { return rows * positions; }
    std::pair<size_t, size_t> rows_of() const { return {head, piece}; }
};

// Puts the operations of one attention one behind the other.
class Chain {
  public:
    Chain(const Setting& setting, int64_t layer, const Rows& rows, const Rows& graph)
        : s_(setting),
          board_(setting.board),
          m_(setting.model),
          sizes_(attention_sizes(m_)),
          layer_(layer),
          rows_(rows),
          graph_(graph),
          group_(static_cast<size_t>(m_.heads / m_.kv_heads)),
          pieces_(static_cast<size_t>(rows.count), group_),
          positions_(positions_of(setting, layer, graph)),
          stage_{.phase = "attention", .causal = true} {}

    Stage take(const PackedBlocks& packed) {
        begin();
        for (const PackedBlocks::Group& group : packed.groups) {
            pack(group);
            std::vector<Unit> units = units_of(group.blocks);
            std::ranges::stable_sort(units, {}, &Unit::rows_of);
            compute(units);
        }
        const double out = kFloat * static_cast<double>(rows_.count * m_.q_size());
        on_cpu("attention sums", cpu_pass(2 * out, board_));
        stage_.operations.back().section = Operation::Section::kEnds;
        return std::move(stage_);
    }

  private:
    size_t on_cpu(const char* phase, Operation operation, std::vector<size_t> after = {}) {
        operation.phase = phase;
        operation.section = last_ == kNothing ? Operation::Section::kBegins : Operation::Section::kGoesOn;
        if (last_ != kNothing) after.push_back(last_);
        operation.after = std::move(after);
        stage_.operations.push_back(std::move(operation));
        return last_ = stage_.operations.size() - 1;
    }

    // By the leading thread alone.
    double lead_ns(size_t buffers, double buffer_bytes, double bytes) const {
        constexpr double kLine = 64;
        if (s_.sync == Sync::kOwner) return static_cast<double>(buffers) * sync_ns(buffer_bytes, board_);
        return s_.sync == Sync::kLines ? bytes / kLine * board_.npu.line_ns : 0;
    }

    // Reads the mask, clears the output, and makes the queries halves.
    void begin() {
        const auto tokens = static_cast<double>(rows_.count);
        const auto q = static_cast<double>(m_.q_size());
        const size_t parts = ceil_div(positions_, kValueBlock);
        const double mask = kHalf * tokens * static_cast<double>(positions_) * uneven(parts, board_);
        Operation operation = cpu_pass(mask + (kFloat + kFloat + kHalf) * tokens * q, board_);
        const size_t cubes = static_cast<size_t>(m_.kv_heads) * pieces_.count;
        const double bytes = kHalf * tokens * q;
        operation.fixed_ns =
            3 * board_.region_us * 1e3 + lead_ns(cubes, bytes / static_cast<double>(cubes), bytes);
        for (size_t piece = 0; piece < pieces_.count; ++piece) {
            const size_t room = bucket_rows(pieces_.rows(piece));
            operation.counts.activation_bytes += sizes_.kv_heads * sizes_.queries(room);
        }
        on_cpu("attention packing", std::move(operation));
    }

    void pack(const PackedBlocks::Group& group) {
        const double keys = kHalf * static_cast<double>(sizes_.kv_heads * sizes_.key_width);
        const double values = kHalf * static_cast<double>(sizes_.kv_heads * sizes_.value_width);
        const double bytes = (keys + values) * (group.rows_read + group.rows_written);
        Operation operation = cpu_pass(bytes * uneven(group.tasks, board_), board_);
        const double published = keys * group.rows_published + values * group.values_published;
        operation.fixed_ns += lead_ns(group.buffers, static_cast<double>(sizes_.block()), published);
        operation.counts.packed_bytes = static_cast<uint64_t>(published);
        on_cpu("attention packing", std::move(operation));
    }

    std::vector<Unit> units_of(const std::vector<size_t>& blocks) const {
        std::vector<SeenParts> seen;
        for (size_t piece = 0; piece < pieces_.count; ++piece) {
            const auto first = static_cast<int64_t>(pieces_.first(piece) / group_);
            const auto last = static_cast<int64_t>((pieces_.first(piece) + pieces_.rows(piece) - 1) / group_);
            seen.push_back(seen_parts(s_, layer_, {rows_.first + first, last - first + 1}, graph_));
        }
        std::vector<Unit> units;
        for (const size_t block : blocks) {
            for (size_t i = 0; i < static_cast<size_t>(m_.kv_heads) * pieces_.count; ++i) {
                const size_t piece = i % pieces_.count;
                Unit unit{.block = block, .head = i / pieces_.count, .piece = piece};
                unit.rows = pieces_.rows(piece);
                size_t last = 0;
                for (size_t part = 0; part < kPartsOfBlock; ++part) {
                    unit.sees[part] = sees(seen[piece], block * kPartsOfBlock + part);
                    if (unit.sees[part]) last = part + 1;
                }
                if (last == 0) continue;
                const size_t end = seen_until(seen[piece], block, last);
                unit.positions = std::min(end, positions_ - block * kAttentionBlock);
                unit.columns = round_up(unit.positions, kColumnStep);
                unit.weighed = weighed(unit);
                units.push_back(unit);
            }
        }
        return units;
    }

    // Tasks end where their rows do. What a window shows of a ring is taken as a whole.
    double weighed(const Unit& unit) const {
        double scores = 0;
        for (size_t row = 0; row < unit.rows; row += kRowsOfAttentionTask) {
            const size_t count = std::min(kRowsOfAttentionTask, unit.rows - row);
            const size_t last = (pieces_.first(unit.piece) + row + count - 1) / group_;
            const size_t end = static_cast<size_t>(rows_.first) + last + 1;
            const size_t begin = unit.block * kAttentionBlock;
            const bool all = m_.window_of(layer_) != 0 || end >= begin + unit.positions;
            scores += static_cast<double>(count * (all ? unit.positions : end - std::min(end, begin)));
        }
        return scores;
    }

    // The end of what a row sees of the block, whose parts from `parts` on nothing sees.
    size_t seen_until(const SeenParts& seen, size_t block, size_t parts) const {
        const auto& bits = seen[block * kPartsOfBlock + parts - 1];
        size_t end = kValueBlock;
        while (!bits[end - 1])
            --end;
        return round_up((parts - 1) * kValueBlock + end, static_cast<size_t>(s_.engine.position_step));
    }

    // Runs of one shape on a core, one after the other, each of whose results has an area of so many bytes.
    Operation runs(size_t core, size_t count, size_t rows, size_t K, size_t N, size_t area) const {
        rknnsim::MatmulShape shape;
        shape.type = rknnsim::MatmulType::kF16F16F32;
        shape.ac_native = true;
        shape.M = static_cast<uint32_t>(rows);
        shape.K = static_cast<uint32_t>(K);
        shape.N = static_cast<uint32_t>(N);
        Operation operation = run_on_core(core, shape, board_);
        if (s_.sync == Sync::kOwner) operation.fixed_ns += sync_ns(static_cast<double>(area), board_);
        operation.fixed_ns *= static_cast<double>(count);
        for (Part& part : operation.parts)
            part.count *= static_cast<double>(count);
        operation.phase = "attention on the NPU";
        operation.counts.attention_runs = operation.counts.runs *= count;
        operation.counts.weight_bytes *= count;
        operation.counts.result_bytes *= count;
        operation.order = kFirst + static_cast<int64_t>(submitted_);
        return operation;
    }

    std::vector<size_t> submit(std::vector<Operation> job) {
        std::vector<size_t> indices;
        ++submitted_;
        for (Operation& operation : job) {
            operation.after = {last_};
            indices.push_back(stage_.operations.size());
            stage_.operations.push_back(std::move(operation));
        }
        return indices;
    }

    Operation weigh(std::span<const Unit> units) const {
        double scores = 0, weighed = 0, bytes = 0;
        size_t tasks = 0;
        for (const Unit& unit : units) {
            const size_t weights = unit.rows * round_up(unit.positions, depth(unit));
            scores += static_cast<double>(unit.scores());
            weighed += unit.weighed;
            bytes += kFloat * unit.weighed + kHalf * static_cast<double>(weights);
            tasks += ceil_div(unit.rows, kRowsOfAttentionTask);
        }
        const double slower = uneven(tasks, board_);
        Operation operation = cpu_pass(bytes * slower, board_);
        operation.counts.scores = static_cast<uint64_t>(scores);
        operation.parts.front().compute_ns = board_.block_pass_ns * weighed * slower;
        if (s_.sync == Sync::kLines) operation.parts.push_back({.compute_ns = line_ns(bytes, board_)});
        return operation;
    }

    Operation add(std::span<const Unit> units) const {
        double bytes = 0;
        size_t tasks = 0;
        for (size_t i = 0; i < units.size(); ++i) {
            const auto elements = static_cast<double>(units[i].rows * static_cast<size_t>(m_.head_dim));
            bytes += elements * kFloat * static_cast<double>(products(units[i]));
            // What rows have been given goes through memory once for all blocks of a group.
            if (i > 0 && units[i].rows_of() == units[i - 1].rows_of()) continue;
            bytes += elements * 2 * kFloat;
            tasks += ceil_div(units[i].rows, kRowsOfAttentionTask);
        }
        Operation operation = cpu_pass(bytes * uneven(tasks, board_), board_);
        if (s_.sync == Sync::kLines) operation.parts.push_back({.compute_ns = line_ns(bytes, board_)});
        return operation;
    }

    // As AttentionSteps, turn by turn.
    void compute(const std::vector<Unit>& units) {
        constexpr size_t kCores = rknnsim::kCores;
        const size_t groups = ceil_div(units.size(), kCores);
        const auto group = [&](size_t g) {
            return std::span(units).subspan(g * kCores, std::min(kCores, units.size() - g * kCores));
        };
        std::vector<std::vector<size_t>> scores(groups), values(groups);
        const size_t weighed = static_cast<size_t>(s_.engine.attention_groups) - 1;  // groups behind
        const size_t added = weighed + static_cast<size_t>(s_.engine.added_later);
        for (size_t g = 0; g < groups + added; ++g) {
            if (g < groups) scores[g] = submit(score_runs(group(g)));
            if (g >= weighed && g - weighed < groups) {
                on_cpu("attention weights", weigh(group(g - weighed)), scores[g - weighed]);
                values[g - weighed] = submit(value_runs(group(g - weighed)));
            }
            if (g >= added) on_cpu("attention sums", add(group(g - added)), values[g - added]);
        }
    }

    std::vector<Operation> score_runs(std::span<const Unit> units) const {
        std::vector<Operation> job;
        for (size_t i = 0; i < units.size(); ++i)
            job.push_back(runs(i, 1, bucket_rows(units[i].rows), sizes_.key_width, units[i].columns,
                               sizes_.scores(pieces_.room, units[i].columns)));
        return job;
    }

    // Positions that a product by values takes, and how many products there are.
    size_t depth(const Unit& unit) const {
        return value_depth(unit.block, static_cast<size_t>(s_.engine.value_rows));
    }
    size_t products(const Unit& unit) const { return depth(unit) > kValueBlock ? 1 : unit.values(); }

    // To hand over the areas of its weights.
    double weights_ns(const Unit& unit) const {
        double ns = 0;
        const bool whole = depth(unit) > kValueBlock;
        for (size_t part = 0; part < kPartsOfBlock && s_.sync == Sync::kOwner; ++part) {
            if (whole ? part > 0 : !unit.sees[part]) continue;
            const size_t positions = whole ? depth(unit) : sizes_.weight_depth(0, part);
            ns += sync_ns(kHalf * static_cast<double>(pieces_.room * positions), board_);
        }
        return ns;
    }

    std::vector<Operation> value_runs(std::span<const Unit> units) const {
        std::vector<Operation> job;
        for (size_t i = 0; i < units.size(); ++i) {
            job.push_back(runs(i, products(units[i]), bucket_rows(units[i].rows), depth(units[i]),
                               sizes_.value_width, sizes_.values(pieces_.room)));
            job.back().fixed_ns += weights_ns(units[i]);
        }
        return job;
    }

    static constexpr size_t kNothing = SIZE_MAX;
    static constexpr int64_t kFirst = std::numeric_limits<int64_t>::min() / 2;  // before all that flows

    const Setting& s_;
    const BoardProfile& board_;
    const ModelShape& m_;
    const AttentionSizes sizes_;
    const int64_t layer_;
    const Rows rows_, graph_;
    const size_t group_;
    const AttentionPieces pieces_;
    const size_t positions_;
    Stage stage_;
    size_t last_ = kNothing;  // on the CPU
    size_t submitted_ = 0;
};

}  // namespace

size_t positions_of(const Setting& setting, int64_t layer, const Rows& graph) {
    const auto all = static_cast<size_t>(graph.first + graph.count);
    const int64_t window = setting.model.window_of(layer);
    const size_t there = window == 0 ? all : std::min(all, static_cast<size_t>(window + setting.ubatch));
    return round_up(there, kPositionStep);
}

SeenParts seen_parts(const Setting& setting, int64_t layer, const Rows& rows, const Rows& graph) {
    const size_t positions = positions_of(setting, layer, graph);
    SeenParts parts(ceil_div(positions, kValueBlock));
    const int64_t window = setting.model.window_of(layer);
    const size_t ring = round_up(static_cast<size_t>(window + setting.ubatch), kPositionStep);
    const int64_t first = window == 0 ? 0 : std::max<int64_t>(0, rows.first - window + 1);
    for (int64_t at = first; at < rows.first + rows.count; ++at) {
        const size_t cell = window == 0 ? static_cast<size_t>(at) : static_cast<size_t>(at) % ring;
        parts[cell / kValueBlock].set(cell % kValueBlock);
    }
    return parts;
}

Stage npu_attention(const Setting& setting, int64_t layer, const Rows& rows, const Rows& graph,
                    const PackedBlocks& packed) {
    return Chain(setting, layer, rows, graph).take(packed);
}

}  // namespace rknpu2
