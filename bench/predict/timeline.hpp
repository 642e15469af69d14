// SPDX-License-Identifier: MIT
// The event model: operations on four servers that share one memory, laid out in time.
//
// Each of the NPU's three cores does one operation at a time, and so do the four A76, as one team. An operation
// has parts that are alike; of each part, arithmetic and memory traffic overlap, so it takes
//     max(compute, bytes / bandwidth),
// where the bandwidth of a core depends on how many of them are at their parts. When the servers together ask
// for more than the memory gives, all get less, in proportion: the smallest slow-down of the traffic is taken
// with which they fit. While the NPU moves data, the CPU's traffic is slowed down by a least factor, however
// little all ask for. Before its parts an operation has a fixed time in which it uses no memory: the run calls of
// a core, whose submitting thread meanwhile is missing from the CPU's team; or starting a loop on all threads.
//
// An operation starts when all it waits for have ended and its server is free; among those that could, the
// one with the smallest `order`. There are two further reasons to wait, both of the thread that leads a flow:
//   jobs      operations of a job are begun together, when the CPU's team is free to submit them, fewer than
//             Machine::jobs_in_lane are on the NPU, and a slot for results is free
//   sections  an attention. Before it waits for the NPU, jobs are submitted, and other operations of the CPU done
//             that are ready then, as Machine::passes_meanwhile says; nothing else until the NPU has come. When
//             several sections may be open, the CPU never waits so.
// The critical path, followed backwards from the last operation to whatever let each one start, covers all of
// the time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "predict/counts.hpp"

namespace rknpu2 {

inline constexpr size_t kNpuCores = 3;
// The cores of the NPU are 0 to 2.
inline constexpr size_t kCpuTeam = kNpuCores;
inline constexpr size_t kServers = kNpuCores + 1;

// The share of one server, while 1, 2 or 3 cores are at their parts. The CPU's is the first.
struct Gbps {
    std::array<double, kNpuCores> with{1, 1, 1};

    Gbps() = default;
    Gbps(double any) { with.fill(any); }  // NOLINT(google-explicit-constructor): most rates are one number
};

struct Part {
    double count = 1;
    double compute_ns = 0;
    double bytes = 0;  // of the memory
    Gbps gbps;         // bandwidth alone
};

struct Operation {
    const char* phase = "";  // what time is summed by
    size_t server = kCpuTeam;
    double fixed_ns = 0;
    std::vector<Part> parts;
    std::vector<size_t> after;  // indices of operations
    int64_t order = 0;
    // A job's operations on the NPU have its number, and that of the CPU with whose end its slot is free again.
    // Numbers are 0, 1, 2, ...; -1: none.
    int64_t job = -1;
    Counts counts;
    enum class Section { kNone, kBegins, kGoesOn, kEnds } section = Section::kNone;

    bool on_npu() const { return server != kCpuTeam; }
    double bytes() const;
};

struct Span {
    double start_ns = 0, body_ns = 0, end_ns = 0;  // body: where the fixed time ends
    int64_t cause = -1;                            // the operation whose end let this one start
};

struct Bandwidth {
    double start_ns, end_ns;
    double bytes;
};

struct Schedule {
    std::vector<Span> spans;           // by operation
    std::vector<Bandwidth> bandwidth;  // of the memory, in the order of time
    double elapsed_ns = 0;
};

struct Machine {
    double dram_gbps = 1;
    double cpu_threads = 4;
    double beside_npu = 1;  // share of its bandwidth that the CPU keeps while the NPU works, at most
    int64_t jobs_in_lane = 2, slots = 3;
    int64_t sections = 1;  // that are open at a time
    int64_t passes_meanwhile =
        2;  // 0: none; 1: those whose order is less than that of the section's beginning; 2: all
};

// Operations may wait for earlier indices only.
Schedule make_schedule(const std::vector<Operation>& operations, const Machine& machine);

// Indices, in the order of time.
std::vector<size_t> critical_path(const Schedule& schedule);

// Shares of the time between two moments.
struct Utilisation {
    double npu = 0;                            // held by a run, the run call included; mean of the cores
    double npu_launch = 0;                     // of it, the run calls
    std::array<double, kNpuCores> npu_core{};  // computing or moving data
    double cpu = 0;
    double dram = 0;  // bytes over what the memory gives

    void add(const Utilisation& other, double weight);
};
// Which of NPU, CPU and memory has the least time left, and the share of the time that it is busy.
struct Busiest {
    const char* resource;
    double share;
};
Busiest busiest(const Utilisation& utilisation);

Utilisation utilisation(const std::vector<Operation>& operations, const Schedule& schedule,
                        const Machine& machine, double from_ns, double to_ns);

}  // namespace rknpu2
