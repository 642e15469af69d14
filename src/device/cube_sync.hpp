// SPDX-License-Identifier: MIT
// Which cubes of activations the device has been told of. One thread tells it of a cube, once; others that
// read the cube wait until it has.
//
// Not thread safe: the scheduler that keeps it guards it by a lock of its own, and tells the device without
// that lock.
#pragma once

#include <cstddef>
#include <vector>

namespace rknpu2 {

class CubeSync {
  public:
    enum class Turn : char {
        kMine,    // the caller must tell the device, and then call end()
        kOthers,  // another thread is at it: wait until it has called end()
        kDone,
    };

    explicit CubeSync(size_t cubes = 0) { reset(cubes); }

    // Cubes that the CPU has just written. Allocates only if there are more than ever before.
    void reset(size_t cubes) { states_.assign(cubes, Turn::kMine); }
    size_t size() const { return states_.size(); }
    Turn begin(size_t cube) {
        const Turn turn = states_[cube];
        if (turn == Turn::kMine) states_[cube] = Turn::kOthers;
        return turn;
    }
    void end(size_t cube, bool told) { states_[cube] = told ? Turn::kDone : Turn::kMine; }

  private:
    std::vector<Turn> states_;  // what the next begin() returns
};

}  // namespace rknpu2
