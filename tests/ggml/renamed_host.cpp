// SPDX-License-Identifier: MIT
#include "ggml/renamed_host.hpp"

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

HostFiles renamed_files(const TemporaryFolder& folder, const std::string& name) {
    const HostFiles stock = stock_files();
    return {renamed_copy(folder, stock.base, name), renamed_copy(folder, stock.registry, name),
            renamed_copy(folder, stock.cpu, name)};
}

}  // namespace rknpu2::test
