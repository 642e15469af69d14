// SPDX-License-Identifier: MIT
#include "plan/rates_of_board.hpp"

#include <algorithm>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

Status not_longer(const char* what, const TimedCall& small, const TimedCall& large) {
    return {StatusCode::kInternal, format("%s took %.1f us for %zu columns and %.1f us for %zu", what,
                                          small.us, small.call.N, large.us, large.call.N)};
}

// Bytes that the CPU reads in a nanosecond.
Result<double> read_gbps(const TimedCall& small, const TimedCall& large) {
    const double us = large.us - small.us;
    if (us <= 0) return not_longer("the CPU", small, large);
    return static_cast<double>(large.call.raw_bytes - small.call.raw_bytes) / us / 1e3;
}

double own_us(const TimedCall& call, double gbps) {
    return std::max(0.0, call.us - static_cast<double>(call.call.raw_bytes) / gbps / 1e3);
}

double macs_per_ns(const TimedCall& call, double region_us) {
    const double macs = static_cast<double>(call.call.rows) * static_cast<double>(call.call.K * call.call.N);
    return macs / std::max(1.0, call.us - region_us) / 1e3;
}

}  // namespace

BoardRates rates_of_board(const MeasuredRates& measured, int cores) {
    BoardRates rates;
    if (const auto us = measured[Rate::kNpuRunUs]) rates.run_ns = *us * 1e3;
    if (const auto gbps = measured[Rate::kNpuStreamGbps]) {
        const double times = *gbps / rates.stream_gbps[cores - 1];
        for (double* const of_count : {rates.stream_gbps, rates.mixed_gbps})
            std::transform(of_count, of_count + rk3588::kCores, of_count,
                           [&](double rate) { return rate * times; });
    }
    const auto take = [&](Rate rate, double& to, double unit = 1) {
        if (const auto value = measured[rate]) to = *value * unit;
    };
    take(Rate::kCpuFourBitGbps, rates.cpu_four_bits.read_gbps);
    take(Rate::kCpuFourBitMacs, rates.cpu_four_bits.macs_per_ns);
    take(Rate::kCpuEightBitGbps, rates.cpu_eight_bits.read_gbps);
    take(Rate::kCpuEightBitMacs, rates.cpu_eight_bits.macs_per_ns);
    take(Rate::kCpuRegionUs, rates.region_ns, 1e3);
    take(Rate::kCpuWakeUs, rates.wake_ns, 1e3);
    return rates;
}

bool least_is_credible(std::vector<double> times_us) {
    constexpr size_t kShare = 4, kFewest = 2;
    constexpr double kMostLonger = 1.5;
    const size_t alike = std::max(kFewest, (times_us.size() + kShare - 1) / kShare);
    if (times_us.size() < alike) return false;
    std::ranges::sort(times_us);
    return times_us[alike - 1] <= kMostLonger * times_us.front();
}

MeasuredRates rates_of_cores(MeasuredRates of_profile, int cores) {
    const double* const model = kBoardRates.stream_gbps;
    if (const auto gbps = of_profile[Rate::kNpuStreamGbps])
        of_profile.set(Rate::kNpuStreamGbps, *gbps * model[cores - 1] / model[rk3588::kCores - 1]);
    return of_profile;
}

Status solve_npu(const TimedCall& small, const TimedCall& large, const Config& config, MeasuredRates& rates) {
    // By the model a call takes calls * run_us + ns_at_one / gbps + rest, where reading weights is what it waits for.
    struct Parts {
        double calls, at_one_gbps, rest;
    };
    const auto parts_of = [&](const MatrixCall& call) {
        const auto us = [&](double run_us, double gbps) {
            MeasuredRates asked = rates;
            asked.set(Rate::kNpuRunUs, run_us);
            asked.set(Rate::kNpuStreamGbps, gbps);
            return matrix_target(call, config, rates_of_board(asked, config.cores)).npu_us;
        };
        const double at_one = us(0, 0.5) - us(0, 1);
        return Parts{us(1, 1) - us(0, 1), at_one, us(0, 1) - at_one};
    };
    const Parts s = parts_of(small.call), l = parts_of(large.call);
    const double s_us = small.us - s.rest, l_us = large.us - l.rest;
    const double per_gbps =
        (l_us * s.calls - s_us * l.calls) / (l.at_one_gbps * s.calls - s.at_one_gbps * l.calls);
    if (!(per_gbps > 0)) return not_longer("the NPU", small, large);
    rates.set(Rate::kNpuStreamGbps, 1 / per_gbps);
    rates.set(Rate::kNpuRunUs, std::max(0.0, (s_us - s.at_one_gbps * per_gbps) / s.calls));
    return rates.check();
}

Status solve_cpu(const CpuTimes& four_bits, const CpuTimes& eight_bits, MeasuredRates& rates) {
    const double four_gbps = RKNPU2_TAKE(read_gbps(four_bits.small, four_bits.large));
    const double eight_gbps = RKNPU2_TAKE(read_gbps(eight_bits.small, eight_bits.large));
    const double region_us = (own_us(four_bits.small, four_gbps) + own_us(eight_bits.small, eight_gbps)) / 2;
    rates.set(Rate::kCpuFourBitGbps, four_gbps);
    rates.set(Rate::kCpuEightBitGbps, eight_gbps);
    rates.set(Rate::kCpuRegionUs, region_us);
    rates.set(Rate::kCpuFourBitMacs, macs_per_ns(four_bits.rows, region_us));
    rates.set(Rate::kCpuEightBitMacs, macs_per_ns(eight_bits.rows, region_us));
    return rates.check();
}

}  // namespace rknpu2
