// SPDX-License-Identifier: MIT
// Folders of a test's own, and paths that do not exist, whatever there is on the machine: if a test should
// write to one after all, nothing of anybody's is there.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace rknpu2::test {

// Made anew, and removed with the object by the process that made it.
class OwnFolder {
  public:
    OwnFolder() : path_((std::filesystem::temp_directory_path() / "rknpu2-test-XXXXXX").string()) {
        if (mkdtemp(path_.data()) == nullptr) std::abort();
    }
    ~OwnFolder() {
        std::error_code ignored;
        if (getpid() == owner_) std::filesystem::remove_all(path_, ignored);
    }
    OwnFolder(const OwnFolder&) = delete;
    OwnFolder& operator=(const OwnFolder&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    const pid_t owner_ = getpid();
};

// `name` in a folder that does not exist, in one that is empty; without a name that folder.
inline std::string missing_path(const std::string& name = "") {
    static const OwnFolder folder;
    return folder.path() + "/none" + (name.empty() ? "" : "/" + name);
}

}  // namespace rknpu2::test
