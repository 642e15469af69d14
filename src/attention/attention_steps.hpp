// SPDX-License-Identifier: MIT
// One attention, in steps of the CPU. Between them its thread may do something else, and the NPU works.
//
//   look     which positions the tokens see; queries become halves
//   pack     keys and values of as many blocks as there is room for
//   turns    the runs by keys of a group of units are submitted, a unit a core, all blocks of a piece of rows one
//            after the other. kBehind turns later their scores are weighed, and the runs by values submitted. kBehind
//            turns later what these give is added up.
//   finish   rows are divided by their sums
//
// A step does one of these things, and begins by waiting for the runs whose results it takes.
#pragma once

#include "attention/attention_units.hpp"
#include "attention/row_sums.hpp"
#include "matmul/npu_resources.hpp"

namespace rknpu2 {

class AttentionSteps {
  public:
    // `place`: its work areas, and its copies of blocks.
    AttentionSteps(NpuResources& npu, size_t place) : npu_(npu), place_(place) {}
    ~AttentionSteps() { drain(); }
    AttentionSteps(const AttentionSteps&) = delete;
    AttentionSteps& operator=(const AttentionSteps&) = delete;

    // The caller has the device, and its lane. All must stay until the attention is done.
    void begin(const AttentionProblem& problem, uint64_t layer, int domain, KvCells& cells);
    // From the first step on, after drain().
    void begin_again() { at_ = At::kLook; }
    bool is_done() const { return at_ == At::kDone; }
    // Would step() not have to wait?
    bool may_step() const;
    Status step();

    // Waits for what was submitted.
    void drain();
    bool runs() const { return !submitted_.empty(); }
    // Did the NPU refuse contexts or operands of these shapes?
    bool is_refused() const { return refused_; }
    // Tokens that see what has no half.
    const std::vector<bool>& for_cpu() const { return for_cpu_; }

  private:
    enum class At { kLook, kPack, kWeigh, kAdd, kFinish, kDone };
    // For units that go through the NPU together, one a core.
    struct Jobs {
        NpuLane::Job scores, values;
    };
    static constexpr size_t kGroups = kAttentionGroups;
    static constexpr size_t kBehind = kGroups - 1;
    // From the indices of one place's work areas to those of the next.
    static constexpr size_t kAreasOfPlace = size_t{1} << 24;

    size_t area(size_t index) const { return index + place_ * kAreasOfPlace; }
    std::span<AttentionUnit> group(size_t number);
    Jobs& jobs(size_t number) { return jobs_[number % kGroups]; }
    // By turns: groups whose scores are submitted, weighed and added.
    bool weighs() const { return turn_ >= kBehind && turn_ - kBehind < groups_; }
    bool adds() const { return turn_ >= 2 * kBehind; }
    const NpuLane::Job* needed() const;

    Status look();
    Status pack();
    void find_blocks();
    void next_turn();
    Status convert_queries();
    Slice queries_of(const AttentionUnit& unit) const;
    Status bind();
    Status bind_unit(AttentionUnit& unit, size_t slot);
    void submit(std::span<const AttentionUnit> units, bool values, NpuLane::Job& job);
    Status wait_for(NpuLane::Job& job);
    void weigh(std::span<const AttentionUnit> units);
    void weigh_rows(const AttentionUnit& unit, size_t first, size_t count);
    void add(std::span<const AttentionUnit> units);
    void finish();

    NpuResources& npu_;
    const size_t place_;
    AttentionProblem problem_;
    AttentionPieces pieces_{0, 1};
    uint64_t layer_ = 0;
    int domain_ = 0;
    KvCells* cells_ = nullptr;

    At at_ = At::kDone;
    Visibility visibility_;
    std::vector<AttentionUnit> units_;
    size_t from_ = 0, to_ = 0;    // units whose blocks are there
    std::vector<size_t> blocks_;  // theirs
    size_t groups_ = 0;           // of these units
    size_t turn_ = 0;
    std::vector<Slice> queries_;  // by KV head and piece
    std::array<Jobs, kGroups> jobs_;
    std::vector<NpuLane::Job*> submitted_;  // and not waited for
    // What scores are multiplied by, in units of ln 2, by KV head and row. NaN: the query is not finite.
    std::vector<float> factors_;
    RowSums sums_;
    std::vector<bool> for_cpu_;  // by token
    bool refused_ = false;
    // What a block alone has given; by unit of the running groups, and row.
    std::vector<float> block_maxima_, block_sums_;
};

}  // namespace rknpu2
