// SPDX-License-Identifier: MIT
// The device's side of a flow: several multiplications whose rows go through in chunks, each at its own pace,
// so that the NPU multiplies some rows while the CPU does something else with others.
//
// Its user (ggml/flow/flow_execution.hpp) knows what lies between the multiplications. For each chunk and
// each group, in the order of the groups, it
//   prepare()s it and quantise()s all rows of the chunk, from as many threads as it likes,
//   submit()s the chunk when has_room() says so,
//   gets it back from next_done(), and
//   takes the results(), from as many threads as it likes, before it calls used().
// submit(), next_done() and used() are called by one thread, never while others quantise() or take results().
// Cubes are kept for each chunk, results for a few submitted chunks: memory does not grow with the groups.
//
// The object has the device from begin() until it is destroyed: other threads wait. Other processes get their
// turn between submissions (GGML_RKNPU2_LOCK). A chunk whose runs fail is submitted again as
// GGML_RKNPU2_ON_ERROR says; its activations are still there.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <span>

#include "matmul/batch.hpp"
#include "matmul/npu_resources.hpp"
#include "matmul/turn_of_flow.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {

// Rows of a chunk, at most: with two planes they fill the largest cube.
inline constexpr size_t kMaxFlowRows = kMaxRows / 2;

struct FlowChunk {
    size_t m0 = 0;     // first row
    size_t count = 0;  // 1 .. kMaxFlowRows
};

class NpuFlow {
  public:
    // May multiplications of this configuration flow at all? A flow cannot compute on the CPU, nor in the
    // naive precision, whose one scale for a tensor needs all rows first.
    static bool possible(const Config& config);

    // How long other processes wait for their turn at most, besides the runs that have begun and the CPU's
    // work between two calls of next_done() and submit().
    static constexpr std::chrono::milliseconds kTurn{100};

    explicit NpuFlow(NpuResources& npu, std::chrono::milliseconds turn = kTurn) : npu_(npu), turn_(turn) {}
    ~NpuFlow();
    NpuFlow(const NpuFlow&) = delete;
    NpuFlow& operator=(const NpuFlow&) = delete;

    // Another group: all weights, by the same activations. Weights must stay until the flow is destroyed.
    void add_group(std::span<const PackedWeight* const> weights);
    // Others that have runs in the lane need so many contexts; they count as the flow's.
    void add_contexts_of_others(size_t count) { contexts_of_others_ += count; }
    // Takes the device and makes room. The destructor gives back what a begin() that failed has taken.
    // kUnsupported: there are more shapes than the device keeps contexts.
    // kOutOfMemory: there is not enough for a flow. What else fails is tried again as GGML_RKNPU2_ON_ERROR
    // says.
    Status begin(std::vector<FlowChunk> chunks);

    // The chunk's activations for `group` are about to come. Its results of the group before may still be
    // taken.
    void prepare(size_t group, size_t chunk);
    // Rows first .. first+count-1 of the chunk (first a multiple of kRowGroup), of which `rows` is the first.
    void quantise(size_t group, size_t chunk, size_t first, size_t count, const float* rows, size_t stride);
    bool has_room();
    Status submit(size_t group, size_t chunk);
    bool is_waiting() const { return !running_.empty() || !done_.empty() || !failed_.empty(); }
    // Between these two, which may be nested, somebody else has runs in the lane (NpuLane::submit_first): the flow keeps
    // the device, and its own runs that fail are submitted again only afterwards.
    Status begin_other_runs();
    void end_other_runs();
    // Theirs have failed, and none is left in the lane. Takes the flow's own from it and drops the contexts that have failed:
    // one may hang a core that the others need. Chunks that failed wait, and no more are submitted, until the others are done.
    void drop_failed();
    // Not while others wait for the device, or runs are to be submitted again, and what has begun is not over.
    bool may_begin_other_runs();
    // Blocks until there is something new of either kind. Only while there is something under way.
    void wait_for_any() { npu_.lane->wait_for_any(); }
    // Returns a submitted chunk whose results are there. Without `wait`: SIZE_MAX if there is none. With `wait`:
    // waits for one; only while is_waiting().
    Result<size_t> next_done(bool wait);
    // Rows of every weight's product, as floats; `targets` in the order of the group's weights.
    void results(size_t group, size_t chunk, size_t first, size_t count, std::span<const FloatRows> targets);
    void used(size_t chunk);

  private:
    static constexpr size_t kSlots = kFlowResultSlots;

    struct FlowGroup {
        BatchList batches;
        std::vector<CachedContext*> contexts;  // by result
    };
    struct ChunkState {
        size_t group = 0;
        size_t slot = SIZE_MAX;  // of results; SIZE_MAX: none
        // [cube][kMaxRows]; of even and odd groups, since a chunk's results are turned into the activations
        // of its next group row by row.
        std::array<std::vector<float>, 2> scales, sums;
        std::vector<Slice> cubes;
        std::vector<RunResult> results;
        NpuLane::Job job;
        std::optional<Recovery> recovery;
    };

    size_t bucket(const Batch& batch, size_t chunk) const;
    Result<Slice> cube(const Batch& batch, size_t segment, size_t chunk);
    Status make_everything();
    Status make_cubes();
    Status make_results();
    Status find_contexts();
    Status fill_job(size_t chunk);
    void let_others();
    void take_from_lane(const NpuLane::Job& job);
    void empty_lane();
    Status submit_again();
    Status recover_failed();
    Status recover(size_t chunk);
    void drop_results(size_t chunk);

    NpuResources& npu_;
    std::unique_lock<std::mutex> owns_;
    TurnOfFlow turn_;
    std::vector<FlowGroup> groups_;
    std::vector<FlowChunk> chunks_;
    std::vector<ChunkState> states_;
    size_t longest_rotated_ = 0;  // segment
    size_t cubes_of_a_chunk_ = 0;
    size_t results_of_a_chunk_ = 0;
    size_t contexts_of_others_ = 0;
    std::array<bool, kSlots> slot_taken_{};
    std::deque<size_t> running_;  // chunks in the lane
    std::deque<size_t> done_;     // and those whose results nobody has asked for yet
    std::deque<size_t> failed_;   // and those to be submitted again
    size_t others_ = 0;           // that have runs of their own
};

}  // namespace rknpu2
