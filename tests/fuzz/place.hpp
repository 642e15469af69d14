// SPDX-License-Identifier: MIT
// A place for the file that a target reads by its path: in memory where there is such a file system.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "fuzz/check.hpp"

namespace rknpu2::fuzz {

// A folder of this process, removed when it ends (but for a crash, where it tells what was read last).
class Target {
  public:
    Target() {
        const bool memory = ::access("/dev/shm", W_OK) == 0;
        path_ = (memory ? std::string("/dev/shm") : std::filesystem::temp_directory_path().string()) +
                "/rknpu2-fuzz-XXXXXX";
        FUZZ_CHECK(::mkdtemp(path_.data()) != nullptr);
    }
    ~Target() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;

    std::string file(const std::string& name) const { return path_ + "/" + name; }

    static void write(const std::string& path, const std::string& content) {
        std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    }

  private:
    std::string path_;
};

}  // namespace rknpu2::fuzz
