// SPDX-License-Identifier: MIT
// Every setting of the plug-in, in one table; the one place in src/ that reads the environment.
//
// Config::from_environment() reads all GGML_RKNPU2_* variables once. A value out of range is a Status that
// names the variable, its value and what it may be: a typo never silently becomes a default. Unknown
// GGML_RKNPU2_* names are reported. `rknpu2-info` prints the table.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

enum class Precision {
    kBalanced,   // the default: as kFast, activations in two planes
    kFast,       // rotated int8, weights per channel, activations per token
    kExact,      // fp16 by fp16, accumulated wide
    kReference,  // dequantised float32 on the CPU, accumulated in double: the yardstick
    kNaive,      // int8 with one scale per tensor: for comparison only
    kCompact,    // weights in four bits where statistics allow it, activations in eight
};

const char* precision_name(Precision precision);

// Where the experts of mixture-of-experts models are computed (plan/policy.hpp).
enum class Experts { kAuto, kNpu, kCpu };

// Where multiplications by plain matrices are computed (plan/policy.hpp).
enum class Matrices { kAuto, kNpu };

// Where attention is computed (plan/attention_policy.hpp).
enum class Attention { kAuto, kNpu, kCpu };

// How the CPU's cache is kept out of the NPU's way (device/coherency.hpp).
enum class CoherencyChoice { kAuto, kOwner, kLines };

// What is done when the NPU fails a multiplication, one after the other (device/recovery.hpp).
enum class OnError {
    kRetry,  // once more, in contexts that are made anew
    kReset,  // once more, after all contexts and work areas were dropped
    kCpu,    // by the CPU, as the reference precision does it
    kFail,   // no more
};

const char* on_error_name(OnError step);
// Such as "retry,fail".
std::string on_error_text(const std::vector<OnError>& steps);

// Do large blocks of malloc have mappings of their own (runtime/locate.hpp)?
enum class MallocMmap { kAuto, kKeep, kOff };

// May runs have so many columns (GGML_RKNPU2_COLUMNS)? 64 to 131072, whole groups of kernels of any type.
bool is_columns(int columns);

inline constexpr double kLeastCompactBytes = 0.5;
inline constexpr double kMostCompactBytes = 1;

struct Config {
    std::string runtime = "auto";
    Precision precision = Precision::kBalanced;
    double compact_bytes = 0.63;  // a weight, with kCompact (calibration/bit_choice.hpp)
    int cores = 3;
    int columns = 16384;  // of a run of the NPU, at most
    int threads = 0;      // 0: decided from the machine
    std::vector<int> affinity;
    std::string counters_file;
    std::string calibrate_file;              // for statistics of activations; empty: gather none
    std::string sensitivity_file;            // for those with sensitivities; empty: measure none
    std::string activation_stats = "auto";   // to read: auto (the directory below), none, or a file
    std::string activation_stats_directory;  // empty: there is no home
    std::string checksums_file;              // of multiplications; empty: none
    std::string weight_cache_directory;      // for packed weights; empty: none
    int weight_cache_mb = 8192;
    Experts experts = Experts::kAuto;
    Matrices matrices = Matrices::kAuto;
    Attention attention = Attention::kAuto;
    std::vector<OnError> on_error = {OnError::kRetry, OnError::kReset, OnError::kFail};
    std::string profile = "auto";   // what the doctor has found out about the board: auto, none, or a file
    std::string profile_directory;  // the user's own; empty: there is no home
    std::string rates = "auto";   // of the board: auto, model, measure, or a file (runtime/rates_choice.hpp)
    std::string rates_directory;  // for measured ones; empty: there is no home
    int contexts = 0;             // of the NPU, to keep; 0: device/recovery.hpp
    CoherencyChoice coherency = CoherencyChoice::kAuto;
    int start_wait = 5;  // seconds; system/start_wait.hpp
    MallocMmap malloc_mmap = MallocMmap::kAuto;
    std::string lock = "auto";  // keeps other processes from the NPU: auto, none, or the path of a file
    bool fuse = true;           // may several operations share work

    std::vector<std::string> unknown;          // GGML_RKNPU2_* variables that are set
    std::map<std::string, std::string> given;  // the settings that are set, and to what

    static Result<Config> from_environment();
};

// Names of the settings that the two have been given differently, such as "GGML_RKNPU2_CORES,
// GGML_RKNPU2_LOCK"; empty: none.
std::string different_settings(const Config& a, const Config& b);

// One row of the table, for help texts.
struct SettingInfo {
    const char* name;
    const char* type;
    const char* default_text;
    const char* range;
    const char* help;
    std::string current;  // what the environment says, or the default
};

std::vector<SettingInfo> describe_settings();

}  // namespace rknpu2
