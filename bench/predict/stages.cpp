// SPDX-License-Identifier: MIT
#include "predict/stages.hpp"

#include <algorithm>
#include <cmath>

#include "matrix/layout.hpp"
#include "soc/rk3588.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

// Bytes of an element.
constexpr double kFloat = 4, kSum = 4, kHalf = 2;

// The largest of `count` parts, in whole units of the alignment.
int64_t part_of(int64_t size, size_t count) {
    const size_t units = ceil_div(static_cast<size_t>(size), rk3588::kAlignK);
    return static_cast<int64_t>(ceil_div(units, count) * rk3588::kAlignK);
}

// Segments whose activations the round `index` is the first to read: cells go segment by segment.
size_t new_segments(size_t index, const CellGrid& grid) {
    const auto until = [&](size_t round) {
        const size_t cells = round * rknnsim::kCores;
        return std::min(ceil_div(cells, grid.tiles), grid.segments);
    };
    return until(index + 1) - until(index);
}

// The budget of second planes: this share of the layers' multiplications once more (docs/quality.md).
constexpr double kSecondPlanes = 0.25;
// The weights that measurements give a second plane first; the remainder of the budget goes to the next ones.
constexpr std::array kPlaneOrder = {Group::kAttentionOutput, Group::kDown, Group::kQkv, Group::kGateUp};

double weights_in(const ModelShape& model, Group group) {
    double sum = 0;
    for (const WeightShape& weight : weights_of(model, group))
        sum += static_cast<double>(weight.N * weight.K);
    return sum;
}

// How a loop begins: with a region of the whole team, at a hand-over between threads that are at it already,
// or as a part of the loop before it.
enum class Start { kRegion, kHandOver, kGoesOn };

// Adds up the stages of one layer. Bytes are those of a row.
class Stages {
  public:
    Stages(const Setting& setting, Way way, int64_t layer, const Rows& rows, const Stage* attention)
        : s_(setting),
          m_(setting.model),
          way_(way),
          layer_(layer),
          rows_(rows),
          attention_(attention),
          count_(static_cast<double>(rows.count)) {}

    std::vector<Stage> take() { return std::move(stages_); }

    void add_layer() {
        const double to_next = 2 * kFloat * H_ + planes(Group::kQkv) * H_;
        const double to_ffn =
            2 * kFloat * H_ + planes(Group::kGateUp) * H_;  // residual in, out; input of FFN
        if (way_ == Way::kFlow) {
            multiply(Group::kQkv, false, kFloat * q_ + 2 * kHalf * kv_);
            attention();
            multiply(Group::kAttentionOutput, true, to_ffn);
            multiply(Group::kGateUp, false, planes(Group::kDown) * F_);
            multiply(Group::kDown, false, to_next);
            return;
        }
        norm();
        multiply(Group::kQkv);
        pass(2 * kFloat * (q_ + kv_) + 2 * kFloat * kv_ + 2 * kHalf * kv_);  // rope, KV cache
        attention();
        multiply(Group::kAttentionOutput);
        pass(3 * kFloat * H_);  // residual
        norm();
        if (way_ == Way::kTogether) {
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
        add("attention", cpu_attention(rows_.first, rows_.count, m_.window_of(layer_), m_, s_.board),
            Start::kGoesOn, true);
        stages_.back().causal = true;
    }

    // Quantise, run, results to floats.
    void multiply(Group group) {
        for (const Product& product : products_of(s_, group))
            multiply(product, group, true, kFloat * static_cast<double>(product.N));
    }

    // One pass over the results leaves `out` bytes.
    void multiply(Group group, bool quantises, double out) {
        multiply(products_of(s_, group).front(), group, quantises, out);
    }

    void multiply(const Product& product, Group group, bool quantises, double out) {
        const int rows_each = s_.planes_of(layer_, group);
        const auto K = static_cast<double>(product.K);
        const double in = K * rows_each;
        if (quantises) {
            add("quantise", cpu_pass((kFloat * K + in) * count_, s_.board), Start::kGoesOn, true);
        }
        int64_t rows = rows_.count * rows_each;
        if (s_.design == Design::kPlugin && rows <= static_cast<int64_t>(kMaxRows))
            rows = static_cast<int64_t>(row_buckets()[bucket_for(static_cast<size_t>(rows))]);
        const std::vector<Operation> rounds =
            npu_rounds(rows, product.N, product.K, product.grid, s_.sync, s_.board);
        stages_.push_back(
            {.phase = "NPU",
             .operations = way_ == Way::kFlow ? job_of(rounds, s_.engine.runs_between != 0) : rounds,
             .block_begins = !quantises});
        const auto N = static_cast<double>(product.N);
        const auto segments = static_cast<double>(product.grid.segments);
        const double sums = kSum * (N * segments * rows_each);
        // Without a flow every further segment is added to floats in memory; a token's are still in a cache.
        const double again = way_ == Way::kPlain ? 2 * kFloat * (N * (segments - 1)) : 0;
        // Results of one round of runs are taken while the next one goes on; only the last round's are waited
        // for.
        const double cells = segments * static_cast<double>(product.grid.tiles);
        const double waited_for = way_ == Way::kTogether ? 1 / std::ceil(cells / rknnsim::kCores) : 1;
        results(product, rows_each, (sums + again) * waited_for, out * waited_for, sums * waited_for + in);
    }

    // A pass over what the NPU has written: `sums` bytes of it, and `out` bytes of all else. `shared`: of
    // memory that the NPU reads or writes.
    void results(const Product& product, int rows_each, double sums, double out, double shared) {
        const BoardProfile& board = s_.board;
        Operation pass = cpu_pass(out * count_, board);
        const double gbps =
            results_gbps(board.results_gbps_narrow, board.results_gbps_wide,
                         static_cast<size_t>(rows_.count * rows_each), static_cast<size_t>(product.width));
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
    const double count_;
    const double H_ = static_cast<double>(m_.hidden_size), F_ = static_cast<double>(m_.ffn_size);
    const double q_ = static_cast<double>(m_.q_size()), kv_ = static_cast<double>(m_.kv_size());
    std::vector<Stage> stages_;
};

}  // namespace

CellGrid smallest_grid(int64_t N, int64_t K, const BoardProfile& board) {
    const auto columns = static_cast<size_t>(board.npu_columns);
    return {.segments = ceil_div(static_cast<size_t>(K), static_cast<size_t>(board.npu.k_segment)),
            .tiles = 3 * ceil_div(static_cast<size_t>(N), rknnsim::kCores * columns)};
}

Operation run_on_core(size_t core, const rknnsim::MatmulShape& shape, const BoardProfile& board) {
    Operation run{.server = core};
    run.fixed_ns = (board.npu.submit_us + board.npu.bind_us) * 1e3;
    const rknnsim::Work work = rknnsim::work_of(shape, board.npu);
    Gbps gbps;
    for (int cores = 1; cores <= rknnsim::kCores; ++cores)
        gbps.with[static_cast<size_t>(cores) - 1] = rknnsim::bandwidth(work, board.npu, cores);
    for (const rknnsim::Work::Segment& segment : work.segments) {
        for (const rknnsim::Block* block : {&segment.full, &segment.rest}) {
            if (block->count * segment.count == 0) continue;
            run.parts.push_back({.count = static_cast<double>(block->count * segment.count),
                                 .compute_ns = rknnsim::mac_ns(shape, board.npu, block->macs),
                                 .bytes = static_cast<double>(block->bytes()),
                                 .gbps = gbps});
        }
    }
    return run;
}

std::vector<Operation> npu_rounds(int64_t rows, int64_t N, int64_t K, const CellGrid& grid, Sync sync,
                                  const BoardProfile& board) {
    rknnsim::MatmulShape shape;
    shape.ac_native = true;
    shape.M = static_cast<uint32_t>(rows);
    shape.K = static_cast<uint32_t>(part_of(K, grid.segments));
    shape.N = static_cast<uint32_t>(part_of(N, grid.tiles));
    // A call syncs a whole buffer, and buffers come in sizes of which each is a quarter larger than the last.
    constexpr double kBuffer = 1.25;
    const auto call_ns = [&](double bytes) {
        return board.npu.sync_us * 1e3 + bytes * kBuffer / board.npu.sync_gbps;
    };
    const auto count = static_cast<double>(rows);
    const double activations_ns = call_ns(count * shape.K);
    const double results_ns = call_ns(count * shape.N * kSum);
    std::vector<Operation> rounds;
    const size_t cells = grid.segments * grid.tiles;
    std::vector<size_t> before;
    for (size_t first = 0; first < cells; first += rknnsim::kCores) {
        const auto fresh = static_cast<double>(new_segments(first / rknnsim::kCores, grid));
        std::vector<size_t> round;
        for (size_t core = 0; core < std::min<size_t>(cells - first, rknnsim::kCores); ++core) {
            Operation run = run_on_core(core, shape, board);
            if (sync == Sync::kOwner) run.fixed_ns += fresh * activations_ns + results_ns;
            run.after = before;
            round.push_back(rounds.size());
            rounds.push_back(std::move(run));
        }
        before = std::move(round);
    }
    return rounds;
}

std::vector<Operation> job_of(const std::vector<Operation>& rounds, bool something_between) {
    std::vector<Operation> job;
    std::array<size_t, kNpuCores> last{};
    for (const Operation& run : rounds) {
        const bool first = run.after.empty();
        if (!first && !something_between) {
            Operation& core = job[last[run.server]];
            core.fixed_ns += run.fixed_ns;
            core.parts.insert(core.parts.end(), run.parts.begin(), run.parts.end());
            continue;
        }
        job.push_back(run);
        if (!first) job.back().after = {last[run.server]};
        last[run.server] = job.size() - 1;
    }
    return job;
}

double line_ns(double bytes, const BoardProfile& board) {
    constexpr double kLine = 64;
    return bytes / kLine * board.npu.line_ns / board.cpu_threads;
}

Operation cpu_pass(double bytes, const BoardProfile& board) {
    return {.fixed_ns = board.region_us * 1e3,
            .parts = {{.bytes = bytes, .gbps = board.cpu_copy_gbps * board.cpu_in_place}}};
}

Operation cpu_attention(int64_t first, int64_t rows, int64_t window, const ModelShape& model,
                        const BoardProfile& board) {
    double positions = 0;  // of all rows together
    for (int64_t row = first; row < first + rows; ++row)
        positions += static_cast<double>(window == 0 ? row + 1 : std::min(row + 1, window));
    const auto q_size = static_cast<double>(model.q_size());
    const double operations = 4 * positions * q_size;  // two products, two each
    const int64_t seen = window == 0 ? first + rows : std::min(first + rows, window + rows);
    const double cache = 2 * kHalf * static_cast<double>(seen * model.kv_size());
    const double rows_in_and_out = 2 * kFloat * static_cast<double>(rows) * q_size;
    return {.fixed_ns = board.region_us * 1e3,
            .parts = {{.compute_ns = operations / board.attention_gflops,
                       .bytes = cache + rows_in_and_out,
                       .gbps = board.cpu_read_gbps}}};
}

int64_t Setting::chunk_rows(int64_t rows) const {
    if (design == Design::kPlain) return 256;
    if (engine.chunk_rows > 0) return engine.chunk_rows;
    std::vector<ProductShape> shapes;
    for (const Group group : kLayerGroups)
        for (const WeightShape& weight : weights_of(model, group))
            shapes.push_back({static_cast<size_t>(weight.K), static_cast<size_t>(weight.N)});
    return attends_on_npu(rows, rows) ? flow_chunk_rows(kBoardRates, NpuArithmetic::kInt8, shapes, rows)
                                      : kFlowChunkRows;
}

bool Setting::attends_on_npu(int64_t tokens, int64_t positions) const {
    if (design == Design::kPlain || attention == AttentionOn::kCpu) return false;
    return attention == AttentionOn::kNpu || (tokens >= static_cast<int64_t>(kFewestTokens) &&
                                              positions >= static_cast<int64_t>(kFewestPositions));
}

Way way_of(Design design, int64_t rows) {
    if (design == Design::kPlain) return Way::kPlain;
    return rows >= kFewestFlowRows ? Way::kFlow : Way::kTogether;
}

// Under statistics, the share of the layers in which that group has two planes.
static double share_with_two_planes(const ModelShape& model, Group group) {
    double left = kSecondPlanes * static_cast<double>(model.layer_weights());
    for (const Group next : kPlaneOrder) {
        const double share = std::min(1.0, left / weights_in(model, next));
        if (next == group) return share;
        left -= share * weights_in(model, next);
    }
    return 0;
}

int Setting::planes_of(int64_t layer, Group group) const {
    if (planes == Planes::kFast) return 1;
    if (planes == Planes::kBalanced || group == Group::kHead) return 2;
    // Spread evenly over the layers.
    const double share = share_with_two_planes(model, group);
    const auto at = [share](int64_t count) { return std::floor(static_cast<double>(count) * share + 1e-9); };
    return at(layer + 1) > at(layer) ? 2 : 1;
}

std::vector<Product> products_of(const Setting& setting, Group group) {
    std::vector<Product> products;
    for (const WeightShape& weight : weights_of(setting.model, group)) {
        products.push_back({weight.N, weight.K, weight.N, {}});
        if (setting.design == Design::kPlain || products.size() == 1) continue;
        Product& all = products.front();
        all.N += weight.N;
        all.width = std::max(all.width, weight.N);
        products.pop_back();
    }
    for (Product& product : products) {
        product.grid = smallest_grid(product.N, product.K, setting.board);
        if (setting.design == Design::kPlain) continue;
        if (group == Group::kHead) continue;
        product.grid.segments =
            best_segments(kBoardRates, NpuArithmetic::kInt8, static_cast<size_t>(product.K));
        product.grid.tiles =
            tile_count(static_cast<size_t>(product.N), product.grid.segments, rknnsim::kCores);
    }
    return products;
}

std::vector<Stage> stages_of(const Setting& setting, Way way, int64_t layer, const Rows& rows,
                             const Stage* attention) {
    Stages stages(setting, way, std::max<int64_t>(layer, 0), rows, attention);
    if (layer < 0) {
        stages.add_first();
    } else if (layer < setting.model.layers) {
        stages.add_layer();
    } else {
        stages.add_head();
    }
    return stages.take();
}

}  // namespace rknpu2
