// SPDX-License-Identifier: MIT
// What rknpu2-doctor has found out about a board, for the plug-in that runs on it.
//
// Sources disagree on how a board behaves where no documentation says. The doctor tries it and writes the answer
// down; the plug-in reads it when it is loaded. Without a profile the defaults rely on the fewest guesses. A
// board profile is a small text of `name = value  # where it comes from` lines:
//
//   board = radxa-rock-5b        whose answers these are, as in the file's name. A profile of another board or
//   runtime = 2.3.2-429f97ae6b   runtime is not taken. Optional, for profiles by hand.
//   coherency = owner            how the CPU's cache is kept in step with the NPU: owner or lines
//                                (device/coherency.hpp)
//   columns = 4096               of a run, at most, where wider ones are not right
//   npu_stream_gbps = 28.3       of all cores together, and other rates (measured_rates.hpp), by which NPU or CPU is chosen
//
// The profile of times that RKNNSIM_PROFILE and rknpu2-bench read is another file: it describes a whole chip to
// a model.
//
// A name that is not known is one warning, since it may be from a newer doctor. Everything else that is wrong
// is one error with file and line, and nothing of that file is taken.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"
#include "runtime/measured_rates.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

// Which board and which runtime, for the name of a file: letters, digits, dots and underscores, with a dash for
// any run of others.
struct BoardKey {
    std::string board;    // "radxa-rock-5b"; "simulator" for a simulator, "unknown" when it cannot be told
    std::string runtime;  // "2.3.2-429f97ae6b-2025-04-09"

    bool operator==(const BoardKey&) const = default;
};

// By the device tree below `root` ("" on this machine), but for a simulator, whose answers are no board's.
BoardKey board_key(const RuntimeInfo& info, const std::string& root = "");

// "radxa-rock-5b-2.3.2-429f97ae6b-2025-04-09.profile"
std::string board_profile_name(const BoardKey& key);

struct BoardAnswers {
    std::string board, runtime;  // empty: it does not say
    std::string coherency;       // "owner" or "lines"; empty: it does not say
    int columns = 0;             // 0: it does not say
    MeasuredRates rates;
    std::vector<std::string> unknown;  // names that mean nothing here
};

// The text of a file of that name. kInvalidArgument with "file:line: what is wrong".
Result<BoardAnswers> parse_board_answers(const std::string& text, const std::string& file);

// What a load of the plug-in makes of the profiles there are.
struct BoardProfileChoice {
    std::string path;       // of the profile that is taken; empty: none
    std::string coherency;  // what it says; empty: the safe strategy
    int columns = 0;        // of a run, at most; 0: it does not say
    MeasuredRates rates;
    std::string info;                   // why it is that strategy, for a line of the log that names it
    std::vector<std::string> warnings;  // lines for the log
};

// By GGML_RKNPU2_PROFILE. auto looks for board_profile_name() in the user's folder and in /etc/ggml-rknpu2: the
// first file counts, right or broken. `root`: where /etc and the device tree are.
BoardProfileChoice choose_board_profile(const Config& config, const RuntimeInfo& info,
                                        const std::string& root = "");

}  // namespace rknpu2
