// SPDX-License-Identifier: MIT
// Which cubes of activations the device has been told of: one thread tells it, and others that read the cube
// wait.
//
// Not thread safe: a scheduler's lock guards it. The device is told without that lock.
#pragma once

#include <cstddef>
#include <vector>

namespace rknpu2 {

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
    size_t size() const { return states_.size(); }
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
