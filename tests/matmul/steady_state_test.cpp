// SPDX-License-Identifier: MIT
// What a multiplication allocates when it was done before: nothing. Neither memory of ours nor objects of the
// runtime.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"

namespace {

std::atomic<uint64_t> allocations{0};

void* counted(std::size_t bytes) {
    ++allocations;
    void* const memory = std::malloc(bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

void* operator new(std::size_t bytes) {
    return counted(bytes);
}
void* operator new[](std::size_t bytes) {
    return counted(bytes);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;

class SteadyStateTest : public ::testing::TestWithParam<Precision> {};

TEST_P(SteadyStateTest, AllocatesNothing) {
    FakeState state;
    Counters counters;
    const auto npu = testing::new_device(state, counters, GetParam());
    // Wide, deep in two segments, and of several chunks.
    for (const auto& [M, N, K] :
         {std::tuple<size_t, size_t, size_t>{1, 300, 576}, {2, 40, 8300}, {300, 20, 100}}) {
        const Matrices x(M, N, K, 3);
        const auto weight = npu->pack(x.source()).take();
        std::vector<float> out(M * N);
        const auto multiply = [&] {
            ASSERT_TRUE(npu->multiply(*weight, {x.a.data(), M, npu->new_version()}, out.data()).ok());
        };
        multiply();
        const uint64_t before = allocations;
        const int objects = state.contexts + state.memories;
        EXPECT_GT(before, 0U);
        for (int token = 0; token < 3; ++token)
            multiply();
        EXPECT_EQ(allocations, before) << "M=" << M << " N=" << N << " K=" << K;
        EXPECT_EQ(state.contexts + state.memories, objects);
    }
}

INSTANTIATE_TEST_SUITE_P(Precisions, SteadyStateTest,
                         ::testing::Values(Precision::kNaive, Precision::kFast, Precision::kBalanced,
                                           Precision::kExact),
                         [](const auto& test) { return std::string(precision_name(test.param)); });

}  // namespace
}  // namespace rknpu2
