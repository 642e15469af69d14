// SPDX-License-Identifier: MIT
// Which positions the tokens of an attention may see, as its mask says: by parts of kValueBlock positions at
// multiples of that.
//
// The mask decides alone: caches are rings (sliding windows), hold several sequences, and have holes.
#pragma once

#include <vector>

#include "attention/problem.hpp"
#include "kernels/attention.hpp"
#include "system/thread_pool.hpp"

namespace rknpu2 {

class Visibility {
  public:
    enum class Sees : uint8_t {
        kNothing,
        kSome,        // or all, with something added to their scores
        kEverything,  // and nothing is added to the scores
    };

    // Reads the whole mask, on all threads of the pool.
    void look(const AttentionProblem& problem, ThreadPool& pool);

    size_t parts() const { return parts_; }
    // What tokens first .. first + count - 1 see of a part, all heads together.
    Sees of(size_t part, size_t first, size_t count) const;
    // Behind the last position of the part that one of them sees; 0: they see none.
    size_t end_of(size_t part, size_t first, size_t count) const;
    // So many positions, from the part's first on, they all see, and nothing is added to the scores. 0 if one of them sees
    // others that are not the first, or something is added: what a mask without windows and holes shows.
    size_t plain_of(size_t part, size_t first, size_t count) const;
    // kValueBlock values: 0 for a position that no token may see.
    const uint8_t* seen(size_t part) const { return seen_.data() + part * kValueBlock; }

  private:
    void look_at(const AttentionProblem& problem, size_t part);

    size_t parts_ = 0;
    size_t tokens_ = 0;
    std::vector<Sees> sees_;       // [part][token]
    std::vector<uint16_t> ends_;   // [part][token]: behind the last position that the token sees
    std::vector<uint16_t> plain_;  // [part][token]
    std::vector<uint8_t> seen_;    // [part][kValueBlock]
};

}  // namespace rknpu2
