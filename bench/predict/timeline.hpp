// SPDX-License-Identifier: MIT
// The event model: operations on two servers that share one memory, laid out in time.
//
// The NPU's three cores work as one gang and the four A76 as one team; each does one operation at a time. An
// operation has parts that are alike; of each part, arithmetic and memory traffic overlap, so it takes
//     max(compute, bytes / bandwidth),
// where the bandwidth is what the server reaches alone. When both servers work and together ask for more than
// the memory gives, both get less, in proportion: the smallest slow-down of the traffic is taken with which
// they fit. While the NPU moves data, the CPU's traffic is slowed down by a least factor, however little the
// two ask for. Before its parts an operation has a fixed time in which it uses no memory: the run call of the
// NPU, whose submitting threads meanwhile take as many of the CPU's team; or starting a loop on all threads.
//
// An operation starts when all it waits for have ended and its server is free; among those that could, the
// one with the smallest `order`. Nothing waits for any other reason, so that the critical path, followed
// backwards from the last operation to whatever let each one start, covers all of the time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rknpu2 {

enum class Server { kNpu, kCpu };
inline constexpr size_t kServers = 2;

struct Part {
    double count = 1;
    double compute_ns = 0;
    double bytes = 0;  // of the memory, all cores together
    double gbps = 1;   // bandwidth alone
};

struct Operation {
    const char* phase = "";  // what time is summed by
    Server server = Server::kCpu;
    double fixed_ns = 0;
    int cores = 0;  // of the NPU that take part; as many CPU threads submit
    std::vector<Part> parts;
    std::vector<size_t> after;  // indices of operations
    int64_t order = 0;

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
};

// Operations may wait for earlier indices only.
Schedule make_schedule(const std::vector<Operation>& operations, const Machine& machine);

// Indices, in the order of time.
std::vector<size_t> critical_path(const Schedule& schedule);

// Shares of the time between two moments.
struct Utilisation {
    double npu = 0;                    // held by a run, the run call included
    double npu_launch = 0;             // of it, the run calls
    std::array<double, 3> npu_core{};  // computing or moving data
    double cpu = 0;
    double dram = 0;  // bytes over what the memory gives
};
Utilisation utilisation(const std::vector<Operation>& operations, const Schedule& schedule,
                        const Machine& machine, double from_ns, double to_ns);

}  // namespace rknpu2
