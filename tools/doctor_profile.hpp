// SPDX-License-Identifier: MIT
// A profile for the simulator, with what was measured put in its place.
//
// Each measured number is the one with which the simulator's model (sim/timing/work.hpp) gives the measured
// time of one shape: the smallest run for the submit, one row for the bandwidth of weights read once, many
// rows of a deep matrix for that of weights read again, many rows of a shallow one for the MACs. What cannot
// be told from runs through the plug-in's seam (clocks, the buffer's banks, conversion of layouts, int4)
// stays as it was, and its line says so. Bandwidths are for the model's reference of ddr_mhz.
#pragma once

#include "doctor_reading.hpp"

namespace rknpu2 {

struct MeasuredParameter {
    std::string name;
    double value = 0;
    std::string source;  // the comment on its line: "measured: ...", or why not

    bool measured() const { return source.starts_with("measured: "); }
};

struct MeasuredProfile {
    rknnsim::Profile profile;
    std::vector<MeasuredParameter> parameters;  // all of them, in the order of a profile
};

// The profile that is compiled in: what the simulator takes without RKNNSIM_PROFILE.
rknnsim::Profile simulator_profile();

// `readings`: of the probes; what syncs cost is one of them.
MeasuredProfile fit_profile(const Measurements& measurements, const rknnsim::Profile& base,
                            const std::vector<Reading>& readings = {});

// For rknnsim::parse_profile() and rknpu2-bench predict --profile. `provenance`: lines for its head.
std::string to_profile_text(const MeasuredProfile& measured, const std::vector<std::string>& provenance);

// The shapes that are fitted to, for speed_shapes().
std::vector<SpeedShape> fitted_shapes();

}  // namespace rknpu2
