// SPDX-License-Identifier: MIT
// Files of packed weights: a file is never taken for a weight whose bytes differ, and nothing outside the
// weight's own memory is written, whatever its header says.
//
// The first byte says how the rest becomes the file: as it is; as changes of the true file (place and byte,
// in turn); or as changes after which the header's checksum is set right, so that what it protects is
// reached. (Who can also find the payload's checksum can make a file of other bytes: the directory is its
// owner's alone.)
#include <algorithm>
#include <sstream>

#include "base/hash.hpp"
#include "base/log.hpp"
#include "fuzz/check.hpp"
#include "fuzz/input.hpp"
#include "fuzz/weight_cache_case.hpp"

using namespace rknpu2;  // NOLINT: this is its program

namespace {

constexpr size_t kChecked = 88;  // bytes of the header before its checksum

std::string changed(std::string file, fuzz::Input& input) {
    while (input.left() > 0) {
        const auto place = input.number<uint16_t>();
        const auto value = input.number<uint8_t>();
        if (place == UINT16_MAX) {
            file.resize(std::min<size_t>(value, file.size()));
        } else if (place < file.size()) {
            file[place] = static_cast<char>(value);
        } else {
            file += static_cast<char>(value);
        }
    }
    return file;
}

void set_checksum(std::string& file) {
    if (file.size() < kChecked + sizeof(Digest)) return;
    const Digest digest = hash128(file.data(), kChecked);
    std::memcpy(file.data() + kChecked, &digest, sizeof digest);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static fuzz::WeightCacheCase weight;
    static const std::string good = [] {
        std::ostringstream text;
        text << std::ifstream(weight.path(), std::ios::binary).rdbuf();
        FUZZ_CHECK(text.str().size() > kChecked && weight.load() && weight.equal());
        return text.str();
    }();
    static std::string warning;
    set_log_sink([](LogLevel, const std::string& line) { warning = line; });
    fuzz::Input input(data, size);
    const auto how = input.number<uint8_t>() % 3;
    std::string file = how == 0 ? input.rest() : changed(good, input);
    if (how == 2) set_checksum(file);
    warning.clear();
    fuzz::Target::write(weight.path(), file);
    if (weight.load()) {
        FUZZ_CHECK(weight.equal() && warning.empty());
        FUZZ_CHECK(file == good);
    } else {
        FUZZ_CHECK(file != good);
        FUZZ_CHECK(fuzz::is_one_line(warning) && warning.find(weight.path()) != std::string::npos);
    }
    return 0;
}
