// SPDX-License-Identifier: MIT
// Which rates of the board the choice between NPU and CPU goes by (GGML_RKNPU2_RATES), and where they are kept.
//
//   auto     what the board's profile has; the rest is measured when a model is first used on a board, and kept.
//            On a simulator the rest is the model's
//   model    the model's: what is compiled in
//   measure  measured anew, and kept; also on a simulator
//   a file   what it has; the rest is the model's
//
// What was measured is kept in the user's cache directory, a file for each board, runtime, size of memory, and number of cores
// and threads. Its first line is a version; one of another version is as good as none, and so is one of other CPUs or of another
// release of the host's library. A file that is damaged, belongs to
// somebody else or cannot be written is one warning, and rates are measured again.
#pragma once

#include <functional>

#include "runtime/board_profile.hpp"
#include "runtime/measured_rates.hpp"

namespace rknpu2 {

// What rates hold for.
struct RatesKey {
    BoardKey board;
    size_t memory_bytes = 0;  // of the machine
    int cores = 0;            // of the NPU
    int threads = 0;          // of the CPU
    std::string cpus;         // that these run on: "4,5,6,7", or "any"
    std::string library;      // the host's release, whose functions the CPU computes by; empty: whichever

    // Of a file; what it holds for beside this, `cpus` and `library`, stands in it.
    // "radxa-rock-5b-2.3.2-429f97ae6b-2025-04-09-16g-3n-4t"
    std::string name() const;
};
RatesKey rates_key(const Config& config, const RuntimeInfo& info, int threads, const std::vector<int>& cpus,
                   const std::string& library, const std::string& root = "");

// The file's whole text, and back.
struct RatesFile {
    MeasuredRates rates;
    std::string cpus, library;  // empty: it does not say
};
std::string rates_text(const MeasuredRates& rates, const RatesKey& key);
Result<RatesFile> parse_rates(const std::string& text, const std::string& file);

struct RatesChoice {
    MeasuredRates rates;                // what is not there is the model's
    std::string info;                   // where they are from
    std::vector<std::string> warnings;  // lines for the log
};

// Takes a second or two. Called at most once, and only with a precision by which rates are measured.
using MeasureRates = std::function<Result<MeasuredRates>()>;

// `of_profile`: what the board's profile has, of the cores in use. Without `measure` nothing is measured or kept: rknpu2-info asks so.
RatesChoice choose_rates(const Config& config, const RatesKey& key, const MeasuredRates& of_profile,
                         const MeasureRates& measure);

}  // namespace rknpu2
