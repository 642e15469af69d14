// SPDX-License-Identifier: MIT
// Every setting of the simulator, in one table; the one place in sim/ that reads the environment.
//
// Where no source says what the real runtime does, the simulator takes the stricter guess and makes it a
// setting; docs/simulator-settings.csv lists them. RKNNSIM_BOARD=worst changes the defaults of
// several at once; what is set by its own name wins, wherever the two stand in the environment. A value that
// is not allowed is an error, and the simulator then refuses every call: a mistyped setting must not pass for
// a run without it. Unknown RKNNSIM_* names are reported.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/cache_rules.hpp"
#include "core/kernels/job.hpp"
#include "core/outcome.hpp"

namespace rknnsim {

enum class CheckMode { kOff, kWarn, kStrict };
// Contexts with quantisation per channel or per group: refused, or created and then, in a run, all zeros;
// with kAbort a run of one per group ends the process.
enum class QuantReading { kReject, kZeros, kAbort };
// int4 with B in normal layout: no context, a context that set_io_mem refuses B for, or a product.
enum class Int4NormalB { kReject, kRefuseAtBind, kAllow };

struct Settings {
    // Beyond it no matrix fits an attribute's 32 bits of size.
    static constexpr int64_t kNoLimit = 1 << 20;

    std::string kernel = "auto";  // RKNNSIM_KERNEL
    std::string faults;           // RKNNSIM_FAULTS, see faults.hpp
    CheckMode check = CheckMode::kWarn;
    static constexpr int64_t kShadowAuto = int64_t{64} << 10;
    int64_t shadow_b_bytes = kShadowAuto;  // RKNNSIM_SHADOW: native B up to this size has a device copy

    int64_t k_max = 32768;
    int64_t n_max = kNoLimit;
    int64_t m_max = kNoLimit;
    int64_t contexts = 1277;
    bool contexts_fail = false;  // runs fail beyond `contexts`; else one warning
    int64_t domain_bytes = int64_t{4} << 30;
    std::vector<int> tp_norm_types = {1, 2, 4};
    Int4NormalB int4_normal_b = Int4NormalB::kReject;
    bool int4_bytes = true;  // input of the layout conversion: one byte an element instead of a nibble
    bool several_cores_fall_back = false;  // a core mask of several cores is answered with 0 instead of -1
    bool normal_a_at_run = false;          // A in normal layout is read by each run instead of when bound
    QuantReading quant = QuantReading::kZeros;
    CacheRules cache;
    bool dynamic_info_matters = true;
    bool dynamic_rows_only = false;  // shapes of a context differ in M only, also when B is transposed
    bool foreign_memory = true;      // memory made with another context of the same domain
    bool rebind_b = true;
    bool strict_destroy = false;
    bool serialise = false;  // a context used by two threads at once waits instead of failing
    bool unbound_fails = true;
    Int4Saturation int4_saturation = Int4Saturation::kRun;
    Rounding rounding = Rounding::kHalfEven;

    std::string profile;     // RKNNSIM_PROFILE, a file; empty: the compiled-in one
    std::string report;      // RKNNSIM_REPORT, a file or "-"; empty: none
    std::string trace;       // RKNNSIM_TRACE, a file; empty: none
    bool real_time = false;  // RKNNSIM_REALTIME

    // Does the checker compare all of an input that has no copy, and not only samples?
    bool looks_at_every_byte() const { return check == CheckMode::kStrict || shadow_b_bytes == INT64_MAX; }

    std::vector<std::string> unknown;  // RKNNSIM_* names that are set but mean nothing

    bool operator==(const Settings&) const = default;

    // Every variable that means something.
    static std::vector<std::string> names();

    // Reads the environment; on failure the text says which variable, what it was and what it may be.
    static Outcome from_environment(Settings* settings);
};

}  // namespace rknnsim
