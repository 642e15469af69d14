// SPDX-License-Identifier: MIT
#include "predict/stages.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "matrix/layout.hpp"
#include "predict/kv_blocks.hpp"
#include "predict/matrices.hpp"

namespace rknpu2 {
namespace {

// Bytes of an element.
constexpr double kFloat = 4, kSum = 4, kHalf = 2;

// How a loop begins: with a region of the whole team, at a hand-over between threads that are at it already,
// or as a part of the loop before it.
enum class Start { kRegion, kHandOver, kGoesOn };

// Adds up the stages of one layer. Bytes are those of a row.
class Stages {
  public:
    Stages(const Setting& setting, Way way, int64_t layer, const Rows& rows, const Stage* attention,
           const Places& places)
        : s_(setting),
          m_(setting.model),
          way_(way),
          layer_(layer),
          rows_(rows),
          attention_(attention),
          places_(places),
          count_(static_cast<double>(rows.count)) {}

    std::vector<Stage> take() { return std::move(stages_); }

    // Attention and its products.
    void add_attention(bool last) {
        if (way_ == Way::kFlow) {
            const double to_ffn =
                2 * kFloat * H_ + planes(Group::kGateUp) * H_;  // residual in, out; input of FFN
            multiply(Group::kQkv, false, kFloat * q_ + 2 * kHalf * kv_);
            attention();
            multiply(Group::kAttentionOutput, true, last ? kFloat * H_ : to_ffn);
            return;
        }
        norm();
        multiply(Group::kQkv);
        pass(2 * kFloat * (q_ + kv_) + 2 * kFloat * kv_ + 2 * kHalf * kv_);  // rope, KV cache
        attention();
        multiply(Group::kAttentionOutput);
    }

    void add_ffn() {
        if (way_ == Way::kFlow) {
            multiply(Group::kGateUp, false, planes(Group::kDown) * F_);
            multiply(Group::kDown, false, 2 * kFloat * H_ + planes(Group::kQkv) * H_);  // to the next layer
            return;
        }
        pass(3 * kFloat * H_);  // residual
        norm();
        if (way_ == Way::kTogether && place_of(Group::kGateUp) == Place::kNpu) {
            multiply(Group::kGateUp, true, kFloat * F_);
        } else {
            multiply(Group::kGateUp);
            pass(3 * kFloat * F_);  // SiLU, multiply
        }
        multiply(Group::kDown);
        pass(3 * kFloat * H_);  // residual
    }

    void add_first() {
        if (way_ == Way::kFlow) pass(kFloat * H_ + planes(Group::kQkv) * H_);  // norm, quantise
    }

    void add_head() {
        pass(2 * kFloat * H_);  // norm
        multiply(Group::kHead);
    }

  private:
    double planes(Group group) const { return s_.planes_of(layer_, group); }

    // The plug-in computes all nodes between two multiplications in one call, and a single token's on one
    // thread: what follows a residual or a rotary embedding there begins nothing.
    double start_ns(Start start) const {
        if (way_ != Way::kTogether || start == Start::kRegion) return s_.board.region_us * 1e3;
        return start == Start::kHandOver ? s_.board.hand_over_us * 1e3 : 0;
    }

    void add(const char* phase, Operation operation, Start start, bool block_begins) {
        operation.fixed_ns = start_ns(start);
        stages_.push_back(
            {.phase = phase, .operations = {std::move(operation)}, .block_begins = block_begins});
    }

    void pass(double bytes, Start start = Start::kRegion) {
        add("float passes", cpu_pass(bytes * count_, s_.board), start, true);
    }

    // Half of a layer's norms, those of attention or of the FFN.
    // They follow a residual, that of the layer before or this one's.
    void norm() { pass(static_cast<double>(m_.norms_per_layer) / 2 * 2 * kFloat * H_, Start::kGoesOn); }

    void attention() {
        if (attention_ != nullptr) {
            stages_.push_back(*attention_);
            stages_.back().block_begins = true;
            return;
        }
        const bool own = s_.attends_by_own_kernel(rows_.count);
        Operation operation = (own ? cpu_attention_of_few : cpu_attention)(
            rows_.first, rows_.count, m_.window_of(layer_), m_, s_.board);
        operation.counts.few_tokens = own ? 1 : 0;
        add("attention", std::move(operation), Start::kGoesOn, true);
        stages_.back().causal = true;
    }

    Place place_of(Group group) const {
        const size_t at = group == Group::kHead ? places_.size() - 1
                                                : static_cast<size_t>(layer_) * kLayerGroups.size() +
                                                      static_cast<size_t>(group);
        return places_.empty() ? Place::kNpu : places_[at];
    }

    void multiply_on_cpu(Group group) {
        for (const WeightShape& weight : weights_of(m_, group))
            stages_.push_back({.phase = "CPU's matrices",
                               .operations = {cpu_product(weight, rows_.count, s_)},
                               .block_begins = true});
        const size_t first = stages_.size() - weights_of(m_, group).size();
        if (place_of(group) == Place::kWokenCpu)
            stages_[first].operations.front().fixed_ns += s_.board.wake_us * 1e3;
    }

    // Quantise, run, results to floats.
    void multiply(Group group) {
        if (place_of(group) != Place::kNpu) return multiply_on_cpu(group);
        for (const Product& product : products_of(s_, layer_, group))
            multiply(product, group, true, kFloat * static_cast<double>(product.N));
    }

    // One pass over the results leaves `out` bytes.
    void multiply(Group group, bool quantises, double out) {
        const std::vector<Product> products = products_of(s_, layer_, group);
        double columns = 0;
        for (const Product& product : products)
            columns += static_cast<double>(product.N);
        for (const Product& product : products)
            multiply(product, group, quantises, out * static_cast<double>(product.N) / columns);
    }

    void multiply(const Product& product, Group group, bool quantises, double out) {
        const bool int4 = product.arithmetic == NpuArithmetic::kInt4;
        const int rows_each = int4 ? product.digits : s_.planes_of(layer_, group);
        const auto K = static_cast<double>(product.K);
        const double in = K * rows_each * (int4 ? 0.5 : 1);
        if (quantises) {
            add("quantise", cpu_pass((kFloat * K + in) * count_, s_.board), Start::kGoesOn, true);
        }
        const std::vector<Operation> rounds = rounds_of(product, rows_each);
        const size_t runs = rounds.size();
        stages_.push_back(
            {.phase = "NPU",
             .operations = way_ == Way::kFlow ? job_of(rounds, s_.engine.runs_between != 0) : rounds,
             .block_begins = !quantises});
        const auto N = static_cast<double>(product.N);
        const auto segments = static_cast<double>(product.grid.segments);
        const double sums = (int4 ? kHalf : kSum) * (N * segments * rows_each);
        // Without a flow every further segment is added to floats in memory; a token's are still in a cache.
        const double again = way_ == Way::kPlain ? 2 * kFloat * (N * (segments - 1)) : 0;
        // Results of a strip of one chunk are taken while the next one goes on, when all segments are there; only the last
        // one's are waited for.
        const auto parts = static_cast<double>(runs / product.runs.size() * product.strips);
        const double waited_for = way_ == Way::kTogether ? 1 / parts : 1;
        results(product, (sums + again) * waited_for, out * waited_for, sums * waited_for + in);
    }

    // The plug-in's runs have as many rows as contexts are made for; without a flow, rows are cut where that is sooner
    // (Multiplication::form).
    std::vector<Operation> rounds_of(const Product& product, int rows_each) const {
        if (s_.design == Design::kPlain)
            return npu_rounds(rows_.count * rows_each, product.runs, s_.sync, s_.board);
        const auto M = static_cast<size_t>(rows_.count), planes = static_cast<size_t>(rows_each);
        size_t most = most_cube_rows(product.arithmetic);
        if (way_ == Way::kTogether) {
            const size_t widest = std::ranges::max(product.runs, {}, &ProductRun::N).N;
            const size_t best =
                best_chunk_rows(kBoardRates, product.arithmetic, M * planes, static_cast<size_t>(product.K),
                                static_cast<size_t>(product.N), product.grid);
            most = std::min(best, most_result_rows(widest));
        }
        std::vector<RowChunk> chunks;
        plan_rows(M, planes, most, chunks);
        std::vector<Operation> all;
        std::vector<size_t> last;
        for (const RowChunk& chunk : chunks) {
            const size_t first = all.size();
            const auto rows = static_cast<int64_t>(row_buckets()[chunk.bucket]);
            for (Operation& run : npu_rounds(rows, product.runs, s_.sync, s_.board)) {
                for (size_t& earlier : run.after)
                    earlier += first;
                if (run.after.empty()) run.after = last;
                all.push_back(std::move(run));
            }
            last.clear();
            for (size_t i = all.size(); i > first && all[i - 1].after == all.back().after; --i)
                last.push_back(i - 1);
        }
        return all;
    }

    // A pass over what the NPU has written: `sums` bytes of it, and `out` bytes of all else. `shared`: of
    // memory that the NPU reads or writes.
    void results(const Product& product, double sums, double out, double shared) {
        const BoardProfile& board = s_.board;
        Operation pass = cpu_pass(out * count_, board);
        const double gbps =
            results_gbps(board.results_gbps_narrow, board.results_gbps_wide, static_cast<size_t>(rows_.count),
                         static_cast<size_t>(product.width));
        pass.parts.front().gbps = std::min(pass.parts.front().gbps.with[0], gbps);
        pass.parts.push_back({.bytes = sums * count_, .gbps = gbps});
        if (s_.sync == Sync::kLines) pass.parts.push_back({.compute_ns = line_ns(shared * count_, board)});
        add("results", std::move(pass), Start::kHandOver, false);
        stages_.back().takes_results = true;
    }

    const Setting& s_;
    const ModelShape& m_;
    const Way way_;
    const int64_t layer_;
    const Rows rows_;
    const Stage* const attention_;
    const Places& places_;
    const double count_;
    const double H_ = static_cast<double>(m_.hidden_size), F_ = static_cast<double>(m_.ffn_size);
    const double q_ = static_cast<double>(m_.q_size()), kv_ = static_cast<double>(m_.kv_size());
    std::vector<Stage> stages_;
};

}  // namespace

double line_ns(double bytes, const BoardProfile& board) {
    constexpr double kLine = 64;
    return bytes / kLine * board.npu.line_ns / board.cpu_threads;
}

Operation cpu_pass(double bytes, const BoardProfile& board) {
    return {.fixed_ns = board.region_us * 1e3,
            .parts = {{.bytes = bytes, .gbps = board.cpu_copy_gbps * board.cpu_in_place}}};
}

namespace {

// Positions that a causal attention sees, of all rows together, and those that at least one sees.
struct SeenPositions {
    double of_rows = 0;
    int64_t of_any = 0;
};
SeenPositions seen_positions(int64_t first, int64_t rows, int64_t window) {
    SeenPositions seen;
    for (int64_t row = first; row < first + rows; ++row)
        seen.of_rows += static_cast<double>(window == 0 ? row + 1 : std::min(row + 1, window));
    seen.of_any = window == 0 ? first + rows : std::min(first + rows, window + rows);
    return seen;
}

// Keys, values, queries and results pass through memory once.
Operation attention_of(double compute_ns, const SeenPositions& seen, int64_t rows, const ModelShape& model,
                       const BoardProfile& board) {
    const double cache = 2 * kHalf * static_cast<double>(seen.of_any * model.kv_size());
    const double rows_in_and_out = 2 * kFloat * static_cast<double>(rows * model.q_size());
    return {
        .fixed_ns = board.region_us * 1e3,
        .parts = {{.compute_ns = compute_ns, .bytes = cache + rows_in_and_out, .gbps = board.cpu_read_gbps}}};
}

}  // namespace

Operation cpu_attention(int64_t first, int64_t rows, int64_t window, const ModelShape& model,
                        const BoardProfile& board) {
    const SeenPositions seen = seen_positions(first, rows, window);
    const double operations =
        4 * seen.of_rows * static_cast<double>(model.q_size());  // two products, two each
    return attention_of(operations / board.attention_gflops, seen, rows, model, board);
}

// Vector instructions as counted (ctest -R cross.instructions): for each position of a KV head, those that make a key and a value
// floats, for up to four rows with the first of these, else for each range of 32 rows; and those of each row.
Operation cpu_attention_of_few(int64_t first, int64_t rows, int64_t window, const ModelShape& model,
                               const BoardProfile& board) {
    const SeenPositions seen = seen_positions(first, rows, window);
    const int64_t group = model.heads / model.kv_heads, queries = rows * group;
    const auto widths = static_cast<double>(2 * model.head_dim);
    double loading = 0.75 * static_cast<double>((queries + 31) / 32);
    if (queries <= 4) loading = queries == 3 ? 1 : 0.5;
    if (queries == 1)
        loading = 0.75 - 11.5 / widths;  // conversions go to one of two pipes, and take longer than the rest
    const double instructions = loading * widths * static_cast<double>(seen.of_any) +
                                (widths / 4 + 11.5) * seen.of_rows * static_cast<double>(group);
    return attention_of(instructions * static_cast<double>(model.kv_heads) * board.few_tokens_ns, seen, rows,
                        model, board);
}

int64_t Setting::chunk_rows(int64_t rows, int64_t positions) const {
    if (design == Design::kPlain) return 256;
    if (engine.chunk_rows > 0) return engine.chunk_rows;
    std::vector<ProductShape> shapes;
    for (const Group group : kLayerGroups)
        for (const WeightShape& weight : weights_of(model, group))
            shapes.push_back({static_cast<size_t>(weight.K), static_cast<size_t>(weight.N)});
    const NpuArithmetic arithmetic = planes == Planes::kCompact ? NpuArithmetic::kInt4 : NpuArithmetic::kInt8;
    return attends_on_npu(rows, positions) ? flow_chunk_rows(kBoardRates, arithmetic, shapes, rows)
                                           : kFlowChunkRows;
}

int64_t Setting::chunk_skew(int64_t rows, int64_t positions, size_t chunks) const {
    if (design == Design::kPlain) return 0;
    if (engine.chunk_skew > 0) return engine.chunk_skew;
    const size_t blocks =
        attends_on_npu(rows, positions) ? ceil_div(static_cast<size_t>(positions), kAttentionBlock) : 0;
    return flow_skew(chunks, blocks, attention_sizes(model).block());
}

bool Setting::attends_on_npu(int64_t tokens, int64_t positions) const {
    if (design == Design::kPlain || attention == AttentionOn::kCpu || matrices == MatricesOn::kCpu)
        return false;
    const AttentionCall call{static_cast<size_t>(tokens), static_cast<size_t>(model.heads / model.kv_heads),
                             static_cast<size_t>(positions)};
    if (attention == AttentionOn::kNpu) return true;
    if (engine.npu_queries > 0 && call.tokens < kFewestTokens)
        return tokens * model.heads / model.kv_heads >= engine.npu_queries;
    return faster_attention(call) == AttentionReason::kOnNpu;
}

bool Setting::attends_by_own_kernel(int64_t tokens) const {
    return design != Design::kPlain && attention == AttentionOn::kAuto && matrices != MatricesOn::kCpu &&
           is_for_few_tokens(AttentionReason::kFewTokens, static_cast<size_t>(tokens), Precision::kFast);
}

Way way_of(Design design, int64_t rows) {
    if (design == Design::kPlain) return Way::kPlain;
    return rows >= kFewestFlowRows ? Way::kFlow : Way::kTogether;
}

std::vector<Product> products_of(const Setting& setting, int64_t layer, Group group) {
    const std::vector<WeightShape> weights = weights_of(setting.model, group);
    const std::vector<NpuArithmetic> arithmetics = setting.arithmetics_of(layer, group);
    const bool together = setting.design != Design::kPlain;
    std::vector<Product> products;
    std::vector<std::vector<WeightPlan>> plans;  // of each product's weights
    for (size_t i = 0; i < weights.size(); ++i) {
        const WeightShape& weight = weights[i];
        size_t at = 0;
        while (at < products.size() && !(together && products[at].arithmetic == arithmetics[i]))
            ++at;
        if (at == products.size()) {
            products.push_back({.N = 0, .K = weight.K, .width = 0, .arithmetic = arithmetics[i]});
            plans.emplace_back();
        }
        products[at].N += weight.N;
        products[at].width = std::max(products[at].width, weight.N);
        plans[at].push_back(plan_weight(static_cast<size_t>(weight.N), static_cast<size_t>(weight.K),
                                        {.arithmetic = arithmetics[i]}, rknnsim::kCores,
                                        static_cast<size_t>(setting.board.npu_columns)));
    }
    for (size_t at = 0; at < products.size(); ++at) {
        Product& product = products[at];
        if (!together) {
            product.grid = smallest_grid(product.N, product.K, setting.board);
            product.runs = even_runs(product.N, product.K, product.grid);
            continue;
        }
        const WeightPlan& first = plans[at][0];
        product.digits = static_cast<int>(first.recipe.planes);
        product.grid = {.segments = first.segments.size(), .tiles = first.tiles.size()};
        for (const WeightPlan& plan : plans[at])
            product.strips = std::max(product.strips, plan.strips());
        product.runs = joined_runs(plans[at]);
    }
    return products;
}

std::vector<Stage> stages_of(const Setting& setting, Way way, int64_t layer, const Rows& rows,
                             const Stage* attention, const Places& places) {
    const int64_t last = setting.model.layers - 1;
    Stages stages(setting, way, std::clamp<int64_t>(layer, 0, last), rows, attention, places);
    if (layer < 0) {
        stages.add_first();
    } else if (layer <= last) {
        stages.add_attention(layer == last);
        if (layer < last) stages.add_ffn();
    } else {
        stages.add_ffn();
        stages.add_head();
    }
    return stages.take();
}

}  // namespace rknpu2
