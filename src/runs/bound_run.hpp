// SPDX-License-Identifier: MIT
// A run with its context and memory: the one way from both schedulers to the NPU.
//
// One thread binds the runs of a call, so that the threads that do them touch nothing shared. tell() and
// execute() may be called for different cores at the same time. An exception is a failure of the run. Where a run has
// failed, its context's other runs fail likewise, and nothing is done for them.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <vector>

#include "device/work_areas.hpp"
#include "runs/result_rows.hpp"

namespace rknpu2 {

struct BoundRun {
    CachedContext* context = nullptr;
    size_t bucket = 0;  // of rows
    size_t cube = 0;    // of the call: which one `activations` is
    View activations;
    View weights;
    View result;
    RunResult written;  // what `result` is to the CPU
};

// The context that a run of the weight's batch needs.
ContextKey context_key(const PackedWeight& weight, const Run& run);

// The work area for the result of a run. `index`: of the results that the call has at a time.
Result<Slice> result_area(WorkAreas& areas, const PackedWeight& weight, const Run& run, size_t bucket,
                          size_t index);

// `cube` of the call lies in `activations`; `index` as for result_area().
Result<BoundRun> bind_run(WorkAreas& areas, CachedContext& context, const PackedWeight& weight,
                          const Run& run, size_t bucket, size_t cube, const Slice& activations, size_t index);

// Tells the device that the CPU has written the run's activations. Once for each cube (CubeSync).
Status tell(const BoundRun& run);
Status execute(const BoundRun& run, Counters& counters);

// A thread that waits for runs looks for so long before it sleeps: about as long as a run of some rows takes.
inline constexpr std::chrono::microseconds kRunSpin{200};

// Which cubes of activations the device has been told of: one thread tells it, and others that read the cube
// wait. Not thread safe: a scheduler's lock guards it. The device is told without that lock.
class CubeSync {
  public:
    enum class State : char {
        kMine,    // the caller must tell the device, and then call end()
        kOthers,  // another thread is at it: wait until it has called end()
        kDone,
    };

    explicit CubeSync(size_t cubes = 0) { reset(cubes); }
    // Cubes that the CPU has just written. Allocates only if there are more than ever before.
    void reset(size_t cubes) { states_.assign(cubes, State::kMine); }
    // Cubes that the device knows.
    void reset_known(size_t cubes) { states_.assign(cubes, State::kDone); }
    State begin(size_t cube) {
        const State state = states_[cube];
        if (state == State::kMine) states_[cube] = State::kOthers;
        return state;
    }
    void end(size_t cube, bool told) { states_[cube] = told ? State::kDone : State::kMine; }

  private:
    std::vector<State> states_;  // what the next begin() returns
};

}  // namespace rknpu2
