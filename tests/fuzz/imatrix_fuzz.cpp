// SPDX-License-Identifier: MIT
// Files of llama-imatrix: what is accepted are statistics that weights can be packed with.
#include <cmath>

#include "calibration/imatrix_file.hpp"
#include "calibration/plane_choice.hpp"
#include "fuzz/check.hpp"
#include "fuzz/place.hpp"

using namespace rknpu2;  // NOLINT: this is its program

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Target place;
    const std::string path = place.file("imatrix.gguf");
    fuzz::Target::write(path, std::string(reinterpret_cast<const char*>(data), size));
    const Result<ModelStats> read = read_imatrix(path);
    if (!read.ok()) {
        FUZZ_CHECK(fuzz::is_one_line(read.status().message()));
        FUZZ_CHECK(read.status().message().find(path) != std::string::npos);
        return 0;
    }
    size_t floats = 0;
    for (const auto& [name, entry] : read.value()) {
        FUZZ_CHECK(entry.K > 0 && entry.mean.size() == entry.K && entry.mean_square.size() == entry.K);
        // A count is a float in the file, and none beyond 2^60 is believed.
        FUZZ_CHECK(entry.rows > 0 && entry.rows <= uint64_t{1} << 60);
        for (size_t k = 0; k < entry.K; ++k) {
            FUZZ_CHECK(std::isfinite(entry.mean[k]));
            FUZZ_CHECK(std::isfinite(entry.mean_square[k]) && entry.mean_square[k] >= 0);
        }
        floats += entry.K;
    }
    FUZZ_CHECK(floats * sizeof(float) <= size);
    const PlaneChoice choice = choose_planes(read.value());
    FUZZ_CHECK(choice.size() == read.value().size());
    return 0;
}
