// SPDX-License-Identifier: MIT
// Statistics of activations for the precision `compact`, which packs no weight in four bits without them.
//
// They are found by a weight's name and K. So with that precision every weight is named after its K, and a file has
// an entry for each K that graphs often have, of random rows.
#pragma once

#include <string>

#include "ggml/random/recipe.hpp"

namespace rknpu2::test {

// The name of a step's tensor: its own, or with `compact` (in the environment) the one that has statistics.
std::string name_with_statistics(const Step& step);

// A file for as long as the object lives, if the precision asks for one.
class MadeStatistics {
  public:
    explicit MadeStatistics(const Environment& environment);
    ~MadeStatistics();
    MadeStatistics(const MadeStatistics&) = delete;
    MadeStatistics& operator=(const MadeStatistics&) = delete;

    // What GGML_RKNPU2_STATISTICS is to be.
    const char* path() const { return path_.empty() ? "none" : path_.c_str(); }

  private:
    std::string path_;
};

}  // namespace rknpu2::test
