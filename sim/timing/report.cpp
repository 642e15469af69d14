// SPDX-License-Identifier: MIT
#include "timing/report.hpp"

#include <algorithm>
#include <vector>

#include "base/format.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

constexpr size_t kReportedShapes = 60;  // lines of the table

double share(double part, double whole) {
    return whole > 0 ? 100 * part / whole : 0;
}

std::string error_line(const Profile& profile) {
    if (profile.error_worst <= 1) return "The profile does not say how far it is from measurements.\n";
    return format(
        "These are a model's times, not a board's. Typical factor to published times: %.2f for the figures "
        "it "
        "was fitted\nto, %.2f for figures that it was not fitted to, where the worst one was %.2f. Compare "
        "designs with it.\n",
        profile.error_typical, profile.error_left_out, profile.error_worst);
}

}  // namespace

void Report::on_run_time(const RunTime& run) {
    const MatmulShape& shape = run.cost->shape;
    Sums& sums = shapes_[{shape.type, shape.ac_native, shape.M, shape.K, shape.N}];
    sums.core.add(run);
    sums.call_ns += run.end_ns - run.call_ns;
}

std::string Report::text(const TimeTotals& totals, const Profile& profile) const {
    CoreTotals all;
    for (const CoreTotals& core : totals.cores)
        all.add(core);
    const auto elapsed = static_cast<double>(totals.elapsed_ns);
    std::string text = format(
        "rknnsim: virtual time %.3f ms, %llu runs; cores busy %.1f %%, at %.1f %% of their peak; %.1f MB "
        "read, "
        "%.1f MB written\n",
        elapsed / 1e6, static_cast<unsigned long long>(all.runs),
        share(static_cast<double>(all.busy_ns), kCores * elapsed), share(all.ideal_ns, kCores * elapsed),
        static_cast<double>(all.read_bytes) / 1e6, static_cast<double>(all.written_bytes) / 1e6);
    for (int i = 0; i < kCores; ++i) {
        const CoreTotals& core = totals.cores[i];
        text += format("  core %d: %llu runs, busy %.3f ms (%.1f %%), MAC %.3f ms, stalled %.3f ms\n", i,
                       static_cast<unsigned long long>(core.runs), static_cast<double>(core.busy_ns) / 1e6,
                       share(static_cast<double>(core.busy_ns), elapsed),
                       static_cast<double>(core.mac_ns) / 1e6, static_cast<double>(core.stall_ns) / 1e6);
    }
    text += format(
        "  CPU, summed over threads: submit %.3f ms, bind %.3f ms, convert layouts %.3f ms, sync %.3f ms "
        "(%llu "
        "syncs of %.1f MB)\n",
        static_cast<double>(totals.submit_ns) / 1e6, static_cast<double>(totals.bind_ns) / 1e6,
        static_cast<double>(totals.convert_ns) / 1e6, static_cast<double>(totals.sync_ns) / 1e6,
        static_cast<unsigned long long>(totals.syncs), static_cast<double>(totals.synced_bytes) / 1e6);

    std::vector<std::pair<Key, Sums>> rows(shapes_.begin(), shapes_.end());
    std::stable_sort(rows.begin(), rows.end(),
                     [](const auto& a, const auto& b) { return a.second.call_ns > b.second.call_ns; });
    text +=
        "  type       layout   M x K x N               calls    total ms     mean us    read MB   "
        "write MB      GOPS   peak\n";
    for (size_t i = 0; i < std::min(rows.size(), kReportedShapes); ++i) {
        const auto& [type, native, M, K, N] = rows[i].first;
        const Sums& sums = rows[i].second;
        const auto call_ns = static_cast<double>(sums.call_ns);
        text += format("  %-4s>%-5s %-7s %-22s %7llu %11.3f %11.1f %10.2f %10.2f %9.1f %5.1f%%\n",
                       rknpu2::dtype_name(input_type(type)), rknpu2::dtype_name(output_type(type)),
                       native ? "native" : "normal", format("%u x %u x %u", M, K, N).c_str(),
                       static_cast<unsigned long long>(sums.core.runs), call_ns / 1e6,
                       call_ns / 1e3 / static_cast<double>(sums.core.runs),
                       static_cast<double>(sums.core.read_bytes) / 1e6,
                       static_cast<double>(sums.core.written_bytes) / 1e6,
                       2 * static_cast<double>(sums.core.macs) / call_ns, share(sums.core.ideal_ns, call_ns));
    }
    if (rows.size() > kReportedShapes)
        text += format("  and %zu other shapes\n", rows.size() - kReportedShapes);
    return text + error_line(profile);
}

}  // namespace rknnsim
