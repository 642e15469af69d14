// SPDX-License-Identifier: MIT
#include "doctor_profile.hpp"

#include <algorithm>
#include <cmath>

#include "base/format.hpp"
#include "doctor_reading.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

constexpr int kSteps = 60;  // of a bisection

constexpr NpuArithmetic kInt8 = NpuArithmetic::kInt8;
constexpr SpeedShape kSmallest{kInt8, 1, 32, 32, 1};
constexpr SpeedShape kManyRows{kInt8, 128, 1024, 4096, 1};

constexpr SpeedShape streaming(int cores) {
    return {kInt8, 1, 4096, 4096, cores};
}
// Two tiles of 32 rows by the profile's tile rule: weights are read twice.
constexpr SpeedShape repeating(int cores) {
    return {kInt8, 64, 4096, 2048, cores};
}

class Fit {
  public:
    Fit(const Measurements& measurements, const rknnsim::Profile& base) : measurements_(measurements) {
        result_.profile = base;
        for (const rknnsim::ProfileParameter& parameter : rknnsim::profile_parameters()) {
            result_.parameters.push_back({parameter.name, parameter.value(result_.profile),
                                          "not measured: as in the simulator's own profile"});
        }
    }

    rknnsim::Profile& profile() { return result_.profile; }
    MeasuredProfile take() { return std::move(result_); }

    void set(const std::string& name, double value, const std::string& source) {
        if (!rknnsim::set_parameter(name, value, &result_.profile).ok()) return;  // out of its range: no fit
        for (MeasuredParameter& parameter : result_.parameters) {
            if (parameter.name == name) parameter = {name, value, source};
        }
    }

    // The value between `low` and `high` for which the model gives the measured time, which must fall with
    // it. When even the ends do not, the parameter is not what limits the shape, and it stays.
    void solve(const std::string& name, const SpeedShape& shape, double low, double high) {
        const Speed* const speed = measurements_.find(shape);
        if (speed == nullptr) return;
        rknnsim::Profile trial = result_.profile;
        const auto time_with = [&](double value) {
            return rknnsim::set_parameter(name, value, &trial).ok() ? predicted_us(shape, trial) : NAN;
        };
        if (!(time_with(low) >= speed->run_us && time_with(high) <= speed->run_us)) {
            set(name, get(name),
                format("not measured: %s in %.1f us is not limited by it", speed_text(shape).c_str(),
                       speed->run_us));
            return;
        }
        for (int step = 0; step < kSteps; ++step) {
            const double middle = std::sqrt(low * high);
            (time_with(middle) > speed->run_us ? low : high) = middle;
        }
        set(name, high, format("measured: %s in %.1f us", speed_text(shape).c_str(), speed->run_us));
    }

    double get(const std::string& name) const {
        double value = 0;
        static_cast<void>(rknnsim::get_parameter(name, result_.profile, &value));
        return value;
    }

  private:
    const Measurements& measurements_;
    MeasuredProfile result_;
};

// Factors between the fitted model and what was measured, over all shapes and over those not fitted to.
void set_errors(const Measurements& measurements, Fit& fit) {
    std::vector<double> all;
    std::vector<double> others;
    const std::vector<SpeedShape> fitted = fitted_shapes();
    for (const Speed& speed : measurements.speeds) {
        const double model = predicted_us(speed.shape, fit.profile());
        const double factor = std::max(model / speed.run_us, speed.run_us / model);
        all.push_back(factor);
        if (std::find(fitted.begin(), fitted.end(), speed.shape) == fitted.end()) others.push_back(factor);
    }
    if (all.empty()) all = {1};
    if (others.empty()) others = {1};
    fit.set("error.typical", median(all), "measured: median factor over all shapes of this report");
    fit.set("error.left_out", median(others), "measured: the same over the shapes that were not fitted to");
    fit.set("error.worst", *std::max_element(all.begin(), all.end()), "measured: the largest factor");
}

// A sync costs a part for the call and a part for the bytes, cleaning by lines one for each line.
void fit_syncs(const std::vector<Reading>& readings, Fit& fit) {
    constexpr double kSmall = 4 << 10;
    constexpr double kLarge = 1 << 20;
    constexpr double kLine = 64;
    const double small_us = sync_cost_us(readings, "owner", true, 4 << 10);
    const double large_us = sync_cost_us(readings, "owner", true, 1 << 20);
    if (small_us > 0 && large_us > small_us) {
        const double us_a_byte = (large_us - small_us) / (kLarge - kSmall);
        const std::string source =
            format("measured: rknn_mem_sync of 4 KiB in %.2f us, of 1 MiB in %.2f us", small_us, large_us);
        fit.set("sync_gbps", 1e-3 / us_a_byte, source);
        fit.set("sync_us", std::max(0.0, small_us - kSmall * us_a_byte), source);
    }
    if (const double us = sync_cost_us(readings, "lines", true, 1 << 20); us > 0)
        fit.set("line_ns", us * 1000 / (kLarge / kLine),
                format("measured: the lines of 1 MiB in %.2f us", us));
}

}  // namespace

rknnsim::Profile simulator_profile() {
    rknnsim::Profile profile;
    static_cast<void>(rknnsim::load_profile("", &profile));  // compiled in, and loaded by a test
    return profile;
}

std::vector<SpeedShape> fitted_shapes() {
    std::vector<SpeedShape> shapes = {kSmallest, kManyRows};
    for (int cores = 1; cores <= rknnsim::kCores; ++cores) {
        shapes.push_back(streaming(cores));
        shapes.push_back(repeating(cores));
    }
    return shapes;
}

std::vector<SpeedShape> speed_shapes(bool quick) {
    std::vector<SpeedShape> shapes = fitted_shapes();
    const NpuArithmetic fp16 = NpuArithmetic::kFloat16;
    shapes.push_back({kInt8, 1, 1024, 1024, 1});
    shapes.push_back({fp16, 1, 2048, 2048, 1});
    shapes.push_back({fp16, 128, 1024, 1024, 1});
    if (quick) return shapes;
    const SpeedShape more[] = {{kInt8, 32, 2048, 2048, 1},  {kInt8, 128, 2048, 2048, 1},
                               {kInt8, 256, 1024, 4096, 3}, {kInt8, 8, 8192, 1024, 1},
                               {fp16, 1, 4096, 4096, 3},    {fp16, 128, 2048, 2048, 1},
                               {fp16, 128, 1024, 1024, 3}};
    shapes.insert(shapes.end(), std::begin(more), std::end(more));
    return shapes;
}

MeasuredProfile fit_profile(const Measurements& measurements, const rknnsim::Profile& base,
                            const std::vector<Reading>& readings) {
    Fit fit(measurements, base);
    fit.set("ddr_mhz", rknnsim::kDdrReferenceMhz, "the reference at which bandwidths below hold as measured");
    fit.set("bind_us", measurements.bind_us, "measured: activations of 4 KiB, bound again");
    if (const Speed* const smallest = measurements.find(kSmallest)) {
        const double core_us = predicted_us(kSmallest, fit.profile()) - fit.profile().submit_us;
        fit.set("submit_us", std::max(0.0, smallest->run_us - core_us),
                format("measured: %s in %.1f us", speed_text(kSmallest).c_str(), smallest->run_us));
    }
    for (int cores = 1; cores <= rknnsim::kCores; ++cores) {
        fit.solve(format("stream_gbps.%d", cores), streaming(cores), 0.01, 1e4);
    }
    fit.solve("mac_efficiency", kManyRows, 0.01, 1);
    for (int cores = 1; cores <= rknnsim::kCores; ++cores) {
        fit.solve(format("mixed_gbps.%d", cores), repeating(cores), 0.01, 1e4);
    }
    fit_syncs(readings, fit);
    set_errors(measurements, fit);
    return fit.take();
}

std::string to_profile_text(const MeasuredProfile& measured, const std::vector<std::string>& provenance) {
    std::string text;
    for (const std::string& line : provenance)
        text += "# " + one_line(line) + "\n";
    for (const MeasuredParameter& parameter : measured.parameters) {
        text += format("%s = %.10g  # %s\n", parameter.name.c_str(), parameter.value,
                       one_line(parameter.source).c_str());
    }
    return text;
}

}  // namespace rknpu2
