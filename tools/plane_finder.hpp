// SPDX-License-Identifier: MIT
// Which statistics of activations the plug-in would find for a tensor of a model file, and how many planes it
// would give it: by the plug-in's own library and choice, from the tensor's bytes.
#pragma once

#include <memory>
#include <optional>

#include "calibration/stats_library.hpp"
#include "config/config.hpp"
#include "gguf/gguf_file.hpp"

namespace rknpu2 {

class PlaneFinder {
  public:
    // Maps the file, which must be the one that `file` was read from. `config` names the statistics. Fails
    // when either cannot be read.
    static Result<std::unique_ptr<PlaneFinder>> open(const std::string& path, const GgufFile& file,
                                                     const Config& config);
    ~PlaneFinder();
    PlaneFinder(const PlaneFinder&) = delete;
    PlaneFinder& operator=(const PlaneFinder&) = delete;

    // Nothing when there are no statistics for it.
    std::optional<StatsLibrary::Found> find(const GgufTensor& tensor);

  private:
    PlaneFinder() = default;

    const std::byte* data_ = nullptr;  // of the whole file
    size_t size_ = 0;
    uint64_t data_offset_ = 0;
    std::unique_ptr<StatsLibrary> library_;  // may be null
};

}  // namespace rknpu2
