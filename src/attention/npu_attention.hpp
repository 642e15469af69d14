// SPDX-License-Identifier: MIT
// Attention whose two products the NPU does, in fp16 with sums in fp32.
//
//   scores  S = Q K^T    rows: the query heads of a KV head, token by token; K: the head's size
//   weights P            2^(S - maximum), on all threads of the CPU (kernels/attention.hpp)
//   values  O = P V      K: value_depth() positions
//
// What the units (attention_units.hpp) give is added up in the order of positions, with the factor
// 2^(maximum of the block - maximum of the row). So a row depends on its own query, its mask and what it sees
// of the cache: not on other rows, on the number of positions behind, on cores or threads.
//
// A core has a unit at a time, and some groups of such units are on their way. The runs go before those of a flow,
// whose multiplications fill the time in between. kPlaces attentions may be under way, and one thread goes on with
// the one or the other, step by step (attention_steps.hpp): while the NPU works for one, the CPU weighs the other's
// scores.
//
// Queries are rounded to halves, after their row was divided by a power of two where halves need it; their scale
// is applied to the scores.
#pragma once

#include <functional>
#include <optional>

#include "attention/attention_steps.hpp"

namespace rknpu2 {

class NpuAttention {
  public:
    // May attentions of this shape be computed so? Anything may stand in the problem.
    static bool possible(const AttentionProblem& problem);

    // stop_others: called before anything is tried again, when no runs of attention are left in the lane. It takes those of others
    // from there and drops their contexts that have failed: what hangs a core may be theirs.
    explicit NpuAttention(
        NpuResources& npu, std::function<void()> stop_others = [] {})
        : npu_(npu), stop_others_(std::move(stop_others)) {}
    NpuAttention(const NpuAttention&) = delete;
    NpuAttention& operator=(const NpuAttention&) = delete;

    // Computes one token by the CPU's attention on the calling thread alone, since what the token sees has no half. So its
    // result depends on no other token. Several threads call it.
    using ByCpu = std::function<Status(size_t token)>;

    // Begins to compute all tokens of the problem. The place must be free; the caller has the device, and its lane, until
    // no place is taken. `layer` tells the keys and values apart from others, as long as the object lives; what a
    // token has seen of them must not change. Memory of the device is taken from `domain`.
    void begin(size_t place, const AttentionProblem& problem, uint64_t layer, int domain, ByCpu by_cpu);
    // Would step() not have to wait for the NPU, or for the other place?
    bool may_step(size_t place) const { return places_[place].steps.may_step(); }
    // Goes on. False: all is done, and the place is free. kUnsupported, kOutOfMemory: the CPU must compute it. What
    // else fails is tried again as GGML_RKNPU2_ON_ERROR says. After a failure the object is of no use.
    Result<bool> step(size_t place);
    // Has it submitted runs that nobody has waited for?
    bool runs(size_t place) const { return places_[place].steps.runs(); }

    // All steps, one after the other.
    Status run(const AttentionProblem& problem, uint64_t layer, int domain, const ByCpu& by_cpu);

  private:
    struct Place {
        Place(NpuResources& npu, size_t number) : steps(npu, number) {}

        AttentionProblem problem;
        uint64_t layer = 0;
        int domain = 0;
        ByCpu by_cpu;
        size_t first = 0;  // token of what is computed now: as many as the work areas are for
        size_t count = 0;
        std::optional<Recovery> recovery;
        AttentionSteps steps;
    };

    KvCells& cells_for(const Place& place);
    void begin_part(Place& place);
    Status compute_by_cpu(const Place& place);
    void stop_all();
    Status try_again(Place& place, Status failure);

    NpuResources& npu_;
    const std::function<void()> stop_others_;
    std::vector<std::unique_ptr<KvCells>> cells_;  // by the shapes of heads
    std::array<Place, kPlaces> places_{Place(npu_, 0), Place(npu_, 1)};
};

}  // namespace rknpu2
