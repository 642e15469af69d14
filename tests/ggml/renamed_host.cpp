// SPDX-License-Identifier: MIT
#include "ggml/renamed_host.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace rknpu2::test {
namespace {

// Sonames stand in the string table of a library. A name of the same length can be written over another one
// wherever it stands without moving anything.
std::string renamed_copy(const TemporaryFolder& folder, const std::string& path, const std::string& name) {
    const std::string stock = "libggml";
    EXPECT_EQ(name.size(), stock.size());
    std::ifstream from(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(from), std::istreambuf_iterator<char>()};
    EXPECT_FALSE(bytes.empty()) << path;
    for (size_t at = 0; (at = bytes.find(stock, at)) != std::string::npos; at += stock.size())
        bytes.replace(at, stock.size(), name);
    std::string file = path.substr(path.rfind('/') + 1);
    file.replace(0, stock.size(), name);
    const std::string copy = folder.path(file);
    std::ofstream(copy, std::ios::binary) << bytes;
    return copy;
}

}  // namespace

HostFiles renamed_files(const TemporaryFolder& folder, const std::string& name, const HostFiles& files) {
    return {renamed_copy(folder, files.base, name), renamed_copy(folder, files.registry, name),
            renamed_copy(folder, files.cpu, name)};
}

HostFiles prebuilt_files(const std::string& version) {
    namespace fs = std::filesystem;
    const auto setting = [](const char* variable) {
        const char* const value = std::getenv(variable);
        return fs::path(value != nullptr ? value : "");
    };
    fs::path cache = setting("RKNPU2_CACHE");
    const fs::path users = setting("XDG_CACHE_HOME");
    if (cache.empty()) cache = (users.empty() ? setting("HOME") / ".cache" : users) / "ggml-rknpu2";
    const fs::path folder = cache / "hosts" / ("linux-x64-" + version);
    HostFiles files{folder / "libggml-base.so", "", folder / "libggml-cpu-x64.so"};
    std::error_code missing;
    for (const fs::directory_entry& file : fs::directory_iterator(folder, missing)) {
        const std::string name = file.path().filename();
        if (name.compare(0, 8, "libggml.") == 0 && file.path().extension() == ".so")
            files.registry = file.path();
    }
    return files;
}

}  // namespace rknpu2::test
