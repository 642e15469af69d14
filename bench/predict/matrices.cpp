// SPDX-License-Identifier: MIT
#include "predict/matrices.hpp"

#include <algorithm>

#include "plan/cheapest_way.hpp"

namespace rknpu2 {
namespace {

MatrixCall call_of(const Setting& setting, int64_t layer, Group group, int64_t rows) {
    MatrixCall call{.rows = static_cast<size_t>(rows)};
    double weights = 0;
    const std::vector<NpuArithmetic> arithmetics = setting.arithmetics_of(layer, group);
    const std::vector<WeightShape> shapes = weights_of(setting.model, group);
    for (size_t i = 0; i < shapes.size(); ++i) {
        const WeightShape& weight = shapes[i];
        call.note(arithmetics[i], static_cast<size_t>(setting.planes_of(layer, group)),
                  static_cast<size_t>(weight.N));
        call.K = static_cast<size_t>(weight.K);
        call.N += static_cast<size_t>(weight.N);
        call.widest = std::max(call.widest, static_cast<size_t>(weight.N));
        weights += static_cast<double>(weight.N * weight.K);
    }
    call.weights = shapes.size();
    call.raw_bytes = static_cast<size_t>(weights * setting.stored_bits / 8);
    return call;
}

}  // namespace

BoardRates rates_of(const BoardProfile& board) {
    BoardRates rates;
    rates.run_ns = (board.npu.submit_us + board.npu.bind_us) * 1e3;
    const double clock = board.npu.ddr_mhz / rknnsim::kDdrReferenceMhz;
    for (size_t cores = 0; cores < kNpuCores; ++cores) {
        rates.stream_gbps[cores] = board.npu.stream_gbps[cores] * clock;
        rates.mixed_gbps[cores] = board.npu.mixed_gbps[cores] * clock;
    }
    rates.cpu_gbps = board.cpu_copy_gbps * board.cpu_in_place;
    rates.cpu_four_bits.read_gbps = rates.cpu_eight_bits.read_gbps = board.cpu_read_gbps;
    rates.region_ns = board.region_us * 1e3;
    rates.wake_ns = board.wake_us * 1e3;
    rates.hand_over_ns = board.hand_over_us * 1e3;
    return rates;
}

Places places_of(const Setting& setting, const Rows& rows) {
    const int64_t count = setting.model.layers * static_cast<int64_t>(kLayerGroups.size()) + 1;
    Places places(static_cast<size_t>(count), Place::kNpu);
    if (setting.matrices == MatricesOn::kCpu) std::ranges::fill(places, Place::kCpu);
    if (setting.matrices != MatricesOn::kAuto) return places;
    const BoardRates rates = rates_of(setting.board);
    Config config;
    config.precision = setting.planes == Planes::kFast      ? Precision::kFast
                       : setting.planes == Planes::kCompact ? Precision::kCompact
                                                            : Precision::kBalanced;
    std::vector<WayPoint> points;
    const auto add = [&](int64_t layer, Group group) {
        const TargetChoice choice = matrix_target(call_of(setting, layer, group, rows.count), config, rates);
        points.push_back({.npu_us = choice.npu_us,
                          .cpu_us = choice.cpu_us,
                          .may_cpu = choice.reason == TargetReason::kMatrixFasterOnNpu ||
                                     choice.reason == TargetReason::kMatrixFasterOnCpu});
    };
    for (int64_t layer = 0; layer < setting.model.layers; ++layer) {
        for (const Group group : kLayerGroups)
            add(layer, group);
    }
    add(0, Group::kHead);
    const std::vector<Target> targets = cheapest_way(points, rates.wake_ns / 1e3);
    bool asleep = true;
    for (size_t i = 0; i < places.size(); ++i) {
        const bool cpu = targets[i] == Target::kCpu;
        if (cpu) places[i] = asleep ? Place::kWokenCpu : Place::kCpu;
        asleep = !cpu;
    }
    return places;
}

Operation cpu_product(const WeightShape& weight, int64_t rows, const Setting& setting) {
    const auto elements = static_cast<double>(weight.N * weight.K);
    const double rate = CpuProducts().macs_per_ns / (setting.stored_bits < 16 ? 1 : 2);
    return {.fixed_ns = setting.board.region_us * 1e3,
            .parts = {{.compute_ns = elements * static_cast<double>(rows) / rate,
                       .bytes = elements * setting.stored_bits / 8,
                       .gbps = setting.board.cpu_read_gbps}}};
}

}  // namespace rknpu2
