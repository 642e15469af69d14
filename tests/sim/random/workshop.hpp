// SPDX-License-Identifier: MIT
// The hands of the generator: the program so far, a model of it without data, and how to make the parts that
// programs consist of. Everything that is emitted here is legal.
#pragma once

#include <vector>

#include "sim/random/model.hpp"
#include "sim/random/program.hpp"
#include "sim/random/rng.hpp"

namespace rknnsim_random {

class Workshop {
  public:
    Workshop(uint64_t seed, const Settings& settings, uint64_t macs);

    Rng rng;
    Program program;
    Model model;

    // Appends a step and follows it.
    void emit(Step step);

    // Lanes: steps that follow belong to this one.
    void set_lane(int section, int lane) { section_ = section, lane_ = lane; }

    // Makes a context; its slot. Negative `domain` and `type`: any.
    int new_context(int domain = -1, int type = -1);
    // Makes a memory of at least `bytes` with the context; its slot. `apart`: not a part of another one.
    int new_memory(int ctx, uint64_t bytes, bool apart = false);
    // A memory for an operand: an old one or a new one. `fresh`: a new one, with nobody else's.
    int memory_for(int ctx, int operand, bool fresh = false);

    void write(int mem, int ctx, int operand);
    void bind(int ctx, int operand, int mem);
    void select_shape(int ctx);
    void sync(int ctx, int mem, int mode);
    void run(int ctx);
    // Where the cache is followed, mostly: cleans what the CPU has stored into a memory, or what it sees of a
    // result, by the memory, its owner or its lines.
    void show(int ctx, int mem, bool from_device = false);
    void set_scales(int ctx);

    // Everything that a run lacks, and the run.
    void complete(int ctx);

    std::vector<int> live_contexts() const;
    std::vector<int> live_memories() const;
    // Any live context of the memory's domain; kNone when there is none.
    int context_for(int mem) const;

    uint64_t macs_of(int ctx) const;
    bool can_afford(int ctx) const { return macs_of(ctx) <= macs_left_; }
    uint64_t operand_bytes(int ctx, int operand) const;
    // Whether a binding of C to `mem` would overlap with an input of the context, or the reverse.
    bool overlaps(int ctx, int operand, int mem, uint64_t bytes) const;

  private:
    rknn_matmul_info random_info(int domain, int type);
    void random_shape(rknn_matmul_info* info);
    int current_shape(int ctx) const;
    void lines(int mem, int operation);
    int import_part(int ctx, uint64_t bytes);

    uint64_t macs_left_;
    uint64_t max_macs_;
    int section_ = 0;
    int lane_ = 0;
};

}  // namespace rknnsim_random
