// SPDX-License-Identifier: MIT
// What others have published, with their sources: single multiplications (docs/measurements/npu-timings.csv)
// and whole engines (bench/published/engines.csv); and how far the model with one profile is from it: the
// multiplications, then a token of engines.
#pragma once

#include <string>
#include <vector>

#include "predict/board_profile.hpp"

namespace rknpu2 {

struct PublishedMatmul {
    uint32_t M = 0, K = 0, N = 0;
    std::string type;  // int4, int8, fp16
    bool native = true;
    bool half_results = false;  // of fp16
    int cores = 1;
    bool dealt = true;      // the columns, to the cores; else each has a matmul of its own
    int64_t matmuls = 1;    // that the time is of
    double calls = 0;       // bindings and syncs within what was timed
    int64_t tile_rows = 0;  // where the publication says that tiles were cut by hand; else 0
    double gops = 0;        // as published, or from the published time
    double time_us = 0;     // one of the two was published, the other one follows
    std::string how, source;
};

// Rows of the timings that are marked for the check.
Result<std::vector<PublishedMatmul>> published_matmuls(const std::string& csv, const std::string& file);

struct PublishedEngine {
    std::string engine, model, source;
    int64_t tokens = 0;      // of the prompt
    double prefill_tps = 0;  // 0: not published
    double decode_tps = 0;
    // What a token takes by the engine's own account, where there is one (else rounds is 0): rounds of runs,
    // gigabytes of weights, microseconds to wake the threads of a round, bindings and syncs, and the CPU's
    // loops.
    double rounds = 0, weight_gb = 0, wake_us = 0, calls = 0, cpu_ms = 0;
};

Result<std::vector<PublishedEngine>> published_engines(const std::string& csv, const std::string& file);

struct CheckRow {
    std::string what, unit, source;
    double published = 0, modelled = 0;
    double bar = 0;  // the share that it may be off, up or down

    double error() const { return modelled / published - 1; }
    bool ok() const { return error() <= bar && error() >= -bar; }
};

inline constexpr double kMatmulBar = 0.20;
inline constexpr double kEngineBar = 0.25;

// One multiplication as the simulator's rule has it, with the run call, what else was timed with it, and the
// conversion of C for normal layouts.
double modelled_us(const PublishedMatmul& matmul, const BoardProfile& board);

Result<std::vector<CheckRow>> check_model(const BoardProfile& board);

std::string check_text(const std::vector<CheckRow>& rows);

}  // namespace rknpu2
