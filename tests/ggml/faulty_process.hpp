// SPDX-License-Identifier: MIT
// Layers whose attention is the NPU's, while the simulator has faults. Settings are read when the plug-in is loaded, so this is
// for a process of its own (run_alone, run_in_child).
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ggml/layer_graph.hpp"

namespace rknpu2::test {

// A process with faults of the simulator, in which attention is the NPU's as far as it can do it.
class FaultyProcess {
  public:
    explicit FaultyProcess(const std::string& faults) {
        setenv("GGML_RKNPU2_STATS", file_.c_str(), 1);
        setenv("GGML_RKNPU2_ATTENTION", "npu", 1);
        setenv("RKNNSIM_FAULTS", faults.c_str(), 1);
        host_ = GgmlHost::open_with_device();
        host_->take_lines();
    }

    GgmlHost& host() { return *host_; }
    std::vector<std::vector<uint8_t>> compute(LayerGraph& graph) {
        const BackendPtr backend = new_backend(*host_);
        return graph.compute(backend.get(), false);
    }
    // From then on nothing fails, and memory has no limit.
    void end_faults() {
        void* const set = dlsym(dlopen(SIMULATOR, RTLD_NOW | RTLD_NOLOAD), "rknnsim_pause_faults");
        ASSERT_NE(set, nullptr);
        reinterpret_cast<decltype(&rknnsim_pause_faults)>(set)(1);
    }
    nlohmann::json statistics() const {
        std::ifstream stream(file_.path());
        return nlohmann::json::parse(stream);
    }

  private:
    class File {
      public:
        ~File() { std::filesystem::remove(path_); }
        const std::filesystem::path& path() const { return path_; }
        const char* c_str() const { return path_.c_str(); }

      private:
        std::filesystem::path path_ =
            std::filesystem::temp_directory_path() / ("rknpu2-faulty-" + std::to_string(getpid()) + ".json");
    };

    File file_;
    std::unique_ptr<GgmlHost> host_;
};

}  // namespace rknpu2::test
