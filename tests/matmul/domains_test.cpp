// SPDX-License-Identifier: MIT
// Weights that are more than one 4 GiB domain of the NPU holds, on the simulator: they go to the next one,
// work areas and contexts with them, and every product is right. Takes 5 GB of memory; ctest label full.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <set>

#include "matmul/npu_device.hpp"
#include "runtime/rknn_runtime.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kN = 14336;
constexpr size_t kK = 4096;
constexpr size_t kWeights = 76;  // of 58.7 MB
constexpr size_t kM = 3;
constexpr size_t kCheckedColumns = 97;  // every so many

// Row n of weight w, made up where it is needed: 18 GB of floats would be too many to keep.
float element(size_t row, size_t k) {
    uint32_t x = static_cast<uint32_t>(row * 40503U + k) * 2654435761U;
    x ^= x >> 15;
    x *= 2246822519U;
    return static_cast<float>(static_cast<int32_t>(x)) * 0x1p-31F;
}

WeightSource source_of(size_t weight) {
    WeightSource source;
    source.name = "w" + std::to_string(weight);
    source.type_name = "made up";
    source.N = kN;
    source.K = kK;
    source.row_bytes = 1;  // a "row" is nothing but its number
    source.data = reinterpret_cast<const std::byte*>(weight * kN);
    source.dequantise = [](const void* row, float* out, int64_t count) {
        for (int64_t k = 0; k < count; ++k)
            out[k] = element(reinterpret_cast<size_t>(row), static_cast<size_t>(k));
    };
    return source;
}

TEST(Domains, MoreThanFourGibibytesOfWeights) {
    Config config;
    config.precision = Precision::kFast;
    Counters counters;
    Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(SIMULATOR);
    ASSERT_TRUE(runtime.ok()) << runtime.status().to_string();
    const auto npu = std::make_shared<NpuDevice>(runtime.take(), config, counters);
    std::vector<std::shared_ptr<const PackedWeight>> weights;
    std::set<int> domains;
    for (size_t w = 0; w < kWeights; ++w) {
        auto packed = npu->pack(source_of(w));
        ASSERT_TRUE(packed.ok()) << "weight " << w << ": " << packed.status().to_string();
        weights.push_back(packed.take());
        domains.insert(weights.back()->domain());
    }
    std::printf("%zu bytes on the device, in %zu domains\n", npu->resources().memory.bytes_in_use(),
                domains.size());
    EXPECT_GT(npu->resources().memory.bytes_in_use(), size_t{4} << 30);
    EXPECT_EQ(domains.size(), 2U);
    std::vector<float> a(kM * kK);
    for (size_t i = 0; i < a.size(); ++i)
        a[i] = element(1'000'000'007, i);
    std::vector<float> out(kM * kN);
    // To and fro between the domains.
    for (const size_t w : {size_t{0}, kWeights - 1, size_t{1}, kWeights / 2, kWeights - 2}) {
        ASSERT_TRUE(npu->multiply(*weights[w], {a.data(), kM, 0}, out.data()).ok());
        double difference = 0;
        double total = 0;
        for (size_t n = 0; n < kN; n += kCheckedColumns) {
            double sum = 0;
            for (size_t k = 0; k < kK; ++k)
                sum +=
                    static_cast<double>(a[(kM - 1) * kK + k]) * static_cast<double>(element(w * kN + n, k));
            difference += std::pow(out[(kM - 1) * kN + n] - sum, 2);
            total += sum * sum;
        }
        EXPECT_LT(std::sqrt(difference / total), 0.02) << "weight " << w;
    }
    weights.clear();
    EXPECT_EQ(npu->resources().memory.bytes_in_use(), 0U);
}

}  // namespace
}  // namespace rknpu2
