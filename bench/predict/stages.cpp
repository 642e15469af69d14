// SPDX-License-Identifier: MIT
#include "predict/stages.hpp"

#include <algorithm>
#include <cmath>

namespace rknpu2 {
namespace {

// The budget of second planes: this share of the layers' multiplications once more (docs/quality.md).
constexpr double kSecondPlanes = 0.25;
// The weights that measurements give a second plane first; the remainder of the budget goes to the next ones.
constexpr std::array kPlaneOrder = {Group::kAttentionOutput, Group::kDown, Group::kQkv, Group::kGateUp};

constexpr double kFloat = 4, kSum = 4, kHalf = 2;

double weights_in(const ModelShape& model, Group group) {
    double sum = 0;
    for (const WeightShape& weight : weights_of(model, group))
        sum += static_cast<double>(weight.N * weight.K);
    return sum;
}

// Adds up the stages of one layer.
class Stages {
  public:
    Stages(const Setting& setting, int64_t layer)
        : s_(setting), m_(setting.model), layer_(layer), H_(static_cast<double>(m_.hidden_size)) {}

    std::vector<Stage> layer() {
        const auto q = static_cast<double>(m_.q_size()), kv = static_cast<double>(m_.kv_size());
        if (!s_.design.fused) norm();
        if (s_.design.fused) {
            const double kept = kFloat * q + 2 * kHalf * kv;
            multiply_grouped(Group::kQkv, false, kept);
        } else {
            multiply(Group::kQkv);
            pass("rope, KV cache", 2 * kFloat * (q + kv) + 2 * kFloat * kv + 2 * kHalf * kv, true);
        }
        attention();
        const double to_ffn =
            2 * kFloat * H_ + planes(Group::kGateUp) * H_;  // residual in, out; input of FFN
        if (s_.design.fused) {
            multiply_grouped(Group::kAttentionOutput, true, to_ffn);
        } else {
            multiply(Group::kAttentionOutput);
            pass("residual", 3 * kFloat * H_, true);
            norm();
        }
        ffn();
        return std::move(stages_);
    }

    std::vector<Stage> first() {
        const double out = planes(Group::kQkv) * H_;
        if (s_.design.fused) pass("norm, quantise", kFloat * H_ + out, true);
        return std::move(stages_);
    }

    std::vector<Stage> head() {
        pass("norm", 2 * kFloat * H_, true);
        multiply(Group::kHead);
        return std::move(stages_);
    }

  private:
    double planes(Group group) const { return s_.planes_of(layer_, group); }

    // How a loop begins: with a region of the whole team, at a hand-over between threads that are at it
    // already, or as a part of the loop before it.
    enum class Start { kRegion, kHandOver, kGoesOn };

    void pass(const char* what, double bytes_a_row, bool block_begins, const char* phase = "float passes",
              Start start = Start::kRegion) {
        BoardProfile board = s_.board;
        if (start == Start::kHandOver) board.region_us = board.hand_over_us;
        if (start == Start::kGoesOn) board.region_us = 0;
        stages_.push_back({.phase = phase,
                           .what = what,
                           .cost =
                               [board, bytes_a_row](int64_t, int64_t rows) {
                                   return std::vector{
                                       cpu_pass(bytes_a_row * static_cast<double>(rows), board)};
                               },
                           .block_begins = block_begins});
    }

    // The plug-in computes all nodes between two multiplications in one call, and a single token's on one
    // thread: what follows a residual or a rotary embedding there begins nothing.
    Start if_token(Start start) const { return s_.design.flows && !s_.design.wave ? start : Start::kRegion; }

    // Half of a layer's norms, those of attention or of the FFN.
    // They follow a residual, that of the layer before or this one's.
    void norm() {
        pass("norm", static_cast<double>(m_.norms_per_layer) / 2 * 2 * kFloat * H_, true, "float passes",
             if_token(Start::kGoesOn));
    }

    void attention() {
        BoardProfile board = s_.board;
        if (if_token(Start::kGoesOn) == Start::kGoesOn) board.region_us = 0;
        stages_.push_back({.phase = "attention",
                           .what = "attention",
                           .cost =
                               [board, q = m_.q_size(), kv = m_.kv_size()](int64_t first, int64_t rows) {
                                   return std::vector{cpu_attention(first, rows, q, kv, board)};
                               },
                           .block_begins = true,
                           .causal = true});
    }

    void ffn() {
        const auto F = static_cast<double>(m_.ffn_size);
        if (s_.design.fused) {
            multiply_grouped(Group::kGateUp, false, planes(Group::kDown) * F);
            const double to_next = 2 * kFloat * H_ + planes(Group::kQkv) * H_;
            multiply_grouped(Group::kDown, false, to_next);
            return;
        }
        if (s_.design.gated) {
            multiply_grouped(Group::kGateUp, true, kFloat * F);
            multiply(Group::kDown);
        } else {
            multiply(Group::kGateUp);
            pass("SiLU, multiply", 3 * kFloat * F, true);
            multiply(Group::kDown);
        }
        pass("residual", 3 * kFloat * H_, true);
    }

    // Quantise, run, dequantise to floats; for every weight apart where the design does not group.
    void multiply(Group group) {
        if (s_.design.grouped) {
            double N = 0;
            for (const WeightShape& weight : weights_of(m_, group))
                N += static_cast<double>(weight.N);
            multiply_grouped(group, true, kFloat * N);
            return;
        }
        for (const WeightShape& weight : weights_of(m_, group))
            run(group, weight.name, weight.N, weight.K, true, kFloat * static_cast<double>(weight.N));
    }

    // One run for all weights of the group, and one pass over the results that leaves `out` bytes a row.
    void multiply_grouped(Group group, bool quantises, double out) {
        int64_t N = 0;
        for (const WeightShape& weight : weights_of(m_, group))
            N += weight.N;
        run(group, group_name(group), N, weights_of(m_, group).front().K, quantises, out);
    }

    void run(Group group, const char* what, int64_t N, int64_t K, bool quantises, double out) {
        const std::string name = what;
        const auto found = s_.plan.grids.find(group);
        const Grid grid = found == s_.plan.grids.end() ? smallest_grid(N, K, s_.board) : found->second;
        const int rows_each = s_.planes_of(layer_, group);
        const double in = static_cast<double>(K) * rows_each;
        if (quantises) {
            pass("quantise", kFloat * static_cast<double>(K) + in, true, "quantise",
                 if_token(Start::kGoesOn));
            stages_.back().what = "quantise for " + name;
        }
        const bool native = s_.design.native;
        stages_.push_back({.phase = "NPU",
                           .what = name,
                           .cost =
                               [=, board = s_.board, sync = s_.sync](int64_t, int64_t rows) {
                                   auto rounds = npu_rounds(rows * rows_each, N, K, grid, native, board);
                                   if (sync == Sync::kOwner)
                                       add_syncs(&rounds, rows * rows_each, N, K, grid, board);
                                   return rounds;
                               },
                           .block_begins = !quantises});
        const double sums = kSum * static_cast<double>(N * grid.segments * rows_each);
        if (!native) {
            stages_.push_back({.phase = "convert layouts",
                               .what = "convert " + name,
                               .cost = [=, board = s_.board](int64_t, int64_t rows) {
                                   const auto count = static_cast<double>(rows);
                                   return std::vector{cpu_conversion(in * count, sums * count, board)};
                               }});
        }
        // Without fusion every further segment is added to floats in memory; a token's are still in a cache.
        const bool token = if_token(Start::kHandOver) == Start::kHandOver;
        const double again =
            s_.design.fused || token ? 0 : 2 * kFloat * static_cast<double>(N * (grid.segments - 1));
        // Results of one round of runs are taken while the next one goes on; only the last round's are waited
        // for.
        const double waited_for =
            token ? 1 / std::ceil(static_cast<double>(grid.segments * grid.tiles) / rknnsim::kCores) : 1;
        int64_t widest = 0;
        for (const WeightShape& weight : weights_of(m_, group))
            widest = std::max(widest, std::min(weight.N, N));
        results(name, widest, rows_each, (sums + again) * waited_for, out * waited_for,
                sums * waited_for + in);
    }

    // A pass over what the NPU has written: `sums` bytes a row of it, and `out` bytes of all else. `shared`:
    // of memory that the NPU reads or writes.
    void results(const std::string& name, int64_t N, int rows_each, double sums, double out, double shared) {
        BoardProfile board = s_.board;
        if (if_token(Start::kHandOver) == Start::kHandOver) board.region_us = board.hand_over_us;
        stages_.push_back({.phase = "results",
                           .what = "results of " + name,
                           .cost = [=, native = s_.design.native, sync = s_.sync](int64_t, int64_t rows) {
                               const auto count = static_cast<double>(rows);
                               Operation pass = cpu_pass(out * count, board);
                               const double gbps = native ? results_gbps(N, rows * rows_each, board)
                                                          : pass.parts.front().gbps;
                               pass.parts.front().gbps = std::min(pass.parts.front().gbps, gbps);
                               pass.parts.push_back({.bytes = sums * count, .gbps = gbps});
                               if (sync == Sync::kLines)
                                   pass.parts.push_back({.compute_ns = line_ns(shared * count, board)});
                               return std::vector{pass};
                           }});
    }

    const Setting& s_;
    const ModelShape& m_;
    const int64_t layer_;
    const double H_;
    std::vector<Stage> stages_;
};

}  // namespace

double Setting::share_with_two_planes(Group group) const {
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
    const double share = share_with_two_planes(group);
    const auto at = [share](int64_t count) { return std::floor(static_cast<double>(count) * share + 1e-9); };
    return at(layer + 1) > at(layer) ? 2 : 1;
}

std::vector<Stage> layer_stages(const Setting& setting, int64_t layer) {
    return Stages(setting, layer).layer();
}

std::vector<Stage> first_stages(const Setting& setting) {
    return Stages(setting, 0).first();
}

std::vector<Stage> head_stages(const Setting& setting) {
    return Stages(setting, 0).head();
}

}  // namespace rknpu2
