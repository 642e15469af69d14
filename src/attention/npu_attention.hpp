// SPDX-License-Identifier: MIT
// Attention whose two products the NPU does, in fp16 with sums in fp32.
//
//   scores  S = Q K^T    rows: the query heads of a KV head, token by token; K: the head's size
//   weights P            2^(S - maximum), on all threads of the CPU (kernels/attention.hpp)
//   values  O = P V      K: value_depth() positions
//
// A unit is at most kMaxRows rows of a KV head and a block of kAttentionBlock positions, at a multiple of it. Units
// that no row sees are left out. What they give is added up in the order of positions, with the factor
// 2^(maximum of the block - maximum of the row). So a row depends on its own query, its mask and what it sees
// of the cache: not on other rows, on the number of positions behind, on cores or threads.
//
// A core has a unit at a time, and some groups of such units are on their way. The runs go before those of a flow,
// whose multiplications fill the time in between.
//
// Queries are rounded to halves, after their row was divided by a power of two where halves need it; their scale
// is applied to the scores.
#pragma once

#include <functional>

#include "attention/kv_cells.hpp"
#include "attention/row_sums.hpp"

namespace rknpu2 {

class NpuAttention {
  public:
    // May attentions of this shape be computed so? Anything may stand in the problem.
    static bool possible(const AttentionProblem& problem);

    explicit NpuAttention(NpuResources& npu) : npu_(npu), cells_(npu) {}
    ~NpuAttention() { drain(); }
    NpuAttention(const NpuAttention&) = delete;
    NpuAttention& operator=(const NpuAttention&) = delete;

    using Work = std::function<Result<bool>()>;
    struct Caller {
        // Does something else for a while; false: there is nothing to do. Its failure ends the call.
        Work work;
        // Computes one token by the CPU's attention on the calling thread alone, since what the token sees has no half. So its
        // result depends on no other token. Several threads call it.
        std::function<Status(size_t token)> by_cpu;
    };

    // Computes all tokens of the problem. The caller has the device, and its lane. `layer` tells the keys and values
    // apart from others, as long as the object lives; what a token has seen of them must not change. Memory of
    // the device is taken from `domain`. kUnsupported, kOutOfMemory: the CPU must compute it. What else fails is
    // tried again as GGML_RKNPU2_ON_ERROR says.
    Status run(const AttentionProblem& problem, uint64_t layer, int domain, const Caller& caller);

  private:
    struct Unit {
        size_t block = 0;
        size_t head = 0;  // KV head
        size_t row = 0;
        size_t rows = 0;
        size_t columns = 0;    // positions that the first product computes: a multiple of kColumnStep
        size_t positions = 0;  // and those of them that there are
        bool plain = false;    // every row sees them all
        std::array<bool, kPartsOfBlock> sees{};
        std::array<bool, kPartsOfBlock> multiplies{};  // by values, which parts of value_depth() positions
        size_t core = 0;
        size_t state = 0;  // its first row in block_maxima_ and block_sums_
        std::array<uint16_t*, kPartsOfBlock> weights{};
        BoundRun scores;
        std::array<BoundRun, kPartsOfBlock> values;
    };
    // For units that go through the NPU together, one a core.
    struct Jobs {
        NpuLane::Job scores, values;
    };

    Status attempt(const AttentionProblem& problem, uint64_t layer, const Work& work);
    Status compute(const AttentionProblem& problem, uint64_t layer, const Work& work);
    void find_units(const AttentionProblem& problem);
    bool see(const AttentionProblem& problem, Unit& unit) const;
    Status convert_queries(const AttentionProblem& problem);
    Status compute_blocks(const AttentionProblem& problem, std::span<Unit> units, const Work& work);
    Status bind(std::span<Unit> units);
    Status bind_unit(Unit& unit, size_t slot);
    void submit(std::span<const Unit> units, bool values, NpuLane::Job& job);
    Status wait_for(NpuLane::Job& job, const Work& work);
    Status end(NpuLane::Job& job);
    void drain();
    void weigh(const AttentionProblem& problem, std::span<const Unit> units);
    void weigh_rows(const AttentionProblem& problem, const Unit& unit, size_t first, size_t count);
    void add(const AttentionProblem& problem, std::span<const Unit> units);
    Slice queries_of(const Unit& unit) const;

    NpuResources& npu_;
    KvCells cells_;
    Visibility visibility_;
    int domain_ = 0;
    std::vector<Unit> units_;
    std::vector<Slice> queries_;  // by KV head and kMaxRows rows
    size_t pieces_ = 1;           // of a KV head's rows
    // Groups on their way. With four, the NPU makes scores of three while the CPU weighs those of the first.
    std::array<Jobs, 4> jobs_;
    std::vector<NpuLane::Job*> submitted_;  // and not waited for
    std::vector<FailedContexts> failed_;
    // What scores are multiplied by, in units of ln 2, by KV head and row. NaN: the query is not finite.
    std::vector<float> factors_;
    RowSums sums_;
    std::vector<bool> for_cpu_;  // by token
    bool refused_ = false;       // contexts or operands of these shapes
    // What a block alone has given; by unit of the running groups, and row.
    std::vector<float> block_maxima_, block_sums_;
};

}  // namespace rknpu2
