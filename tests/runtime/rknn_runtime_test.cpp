// SPDX-License-Identifier: MIT
// The seam over real shared libraries: the simulator multiplies, everything else is refused in one line.
#include "runtime/rknn_runtime.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <dlfcn.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "base/log.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"
#include "support/missing_path.hpp"
#include "support/random.hpp"
#include "system/process.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;
using test::Random;
using ::testing::HasSubstr;
using ::testing::Not;

std::unique_ptr<NpuRuntime> open_simulator() {
    Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(SIMULATOR);
    if (runtime.ok()) return runtime.take();
    ADD_FAILURE() << runtime.status().to_string();
    return nullptr;
}

// The one line that refuses `library`.
std::string refusal(const std::string& library) {
    const Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(library);
    EXPECT_FALSE(runtime.ok()) << library << " was accepted";
    EXPECT_EQ(runtime.status().code(), StatusCode::kDeviceUnavailable);
    EXPECT_THAT(runtime.status().message(), Not(HasSubstr("\n")));
    EXPECT_THAT(runtime.status().message(), HasSubstr(library));
    return runtime.status().message();
}

// One context with its three operands, filled by the layout specification alone.
class Multiplication {
  public:
    Multiplication(NpuRuntime& runtime, NpuArithmetic arithmetic, size_t N, size_t K,
                   std::vector<size_t> rows)
        : arithmetic_(arithmetic), N_(N), K_(K), rows_(rows) {
        ContextSpec spec;
        spec.arithmetic = arithmetic;
        spec.K = K;
        spec.N = N;
        spec.rows = std::move(rows);
        spec.core = 1;
        Result<std::unique_ptr<NpuContext>> made = runtime.create_context(spec);
        if (!made.ok()) {
            ADD_FAILURE() << made.status().to_string();
            return;
        }
        context_ = made.take();
    }

    NpuContext& context() { return *context_; }

    std::unique_ptr<NpuMemory> allocate(size_t bytes) {
        Result<std::unique_ptr<NpuMemory>> memory = context_->allocate(bytes);
        EXPECT_TRUE(memory.ok()) << memory.status().to_string();
        return memory.ok() ? memory.take() : nullptr;
    }

    // Draws both operands and compares every element of the product; both arithmetics are exact on these
    // small integers.
    void check(size_t index, Random& random) {
        const size_t M = rows_[index];
        auto a = allocate(context_->operand_bytes(Operand::kActivations, index));
        auto b = allocate(context_->operand_bytes(Operand::kWeights, index));
        auto c = allocate(context_->operand_bytes(Operand::kResult, index));
        ASSERT_TRUE(a && b && c);
        std::vector<int> a_values(M * K_);
        std::vector<int> b_values(N_ * K_);
        const DType type = operand_type(arithmetic_);
        for (size_t i = 0; i < a_values.size(); ++i) {
            a_values[i] = draw(random);
            store(*a, a_index_native(i / K_, i % K_, M, type), a_values[i]);
        }
        for (size_t i = 0; i < b_values.size(); ++i) {
            b_values[i] = draw(random);
            store(*b, b_index_native(i % K_, i / K_, K_, N_, type), b_values[i]);
        }
        ASSERT_TRUE(context_->select_rows(index).ok());
        ASSERT_TRUE(context_->bind(Operand::kActivations, *a).ok());
        ASSERT_TRUE(context_->bind(Operand::kWeights, *b).ok());
        ASSERT_TRUE(context_->bind(Operand::kResult, *c).ok());
        ASSERT_TRUE(context_->sync_to_device(*a).ok());
        ASSERT_TRUE(context_->sync_to_device(*b).ok());
        const Status run = context_->run();
        ASSERT_TRUE(run.ok()) << run.to_string();
        ASSERT_TRUE(context_->sync_from_device(*c).ok());
        compare(*c, a_values, b_values, M);
    }

  private:
    int draw(Random& random) const {
        const int limit = arithmetic_ == NpuArithmetic::kInt8 ? 127 : 8;
        return static_cast<int>(random.size(0, static_cast<size_t>(2 * limit))) - limit;
    }

    void store(NpuMemory& memory, size_t index, int value) const {
        if (arithmetic_ == NpuArithmetic::kInt8) {
            reinterpret_cast<int8_t*>(memory.data())[index] = static_cast<int8_t>(value);
        } else {
            reinterpret_cast<uint16_t*>(memory.data())[index] = float_to_float16(static_cast<float>(value));
        }
    }

    void compare(const NpuMemory& c, const std::vector<int>& a, const std::vector<int>& b, size_t M) const {
        for (size_t m = 0; m < M; ++m) {
            for (size_t n = 0; n < N_; ++n) {
                int64_t expected = 0;
                for (size_t k = 0; k < K_; ++k)
                    expected += int64_t{a[m * K_ + k]} * b[n * K_ + k];
                const size_t at = c_index_native(m, n, M, result_type(arithmetic_));
                const double actual = arithmetic_ == NpuArithmetic::kInt8
                                          ? reinterpret_cast<const int32_t*>(c.data())[at]
                                          : reinterpret_cast<const float*>(c.data())[at];
                ASSERT_EQ(actual, static_cast<double>(expected)) << "at row " << m << ", column " << n;
            }
        }
    }

    NpuArithmetic arithmetic_;
    size_t N_;
    size_t K_;
    std::vector<size_t> rows_;
    std::unique_ptr<NpuContext> context_;
};

TEST(RknnRuntime, SimulatorSaysWhatItIs) {
    const auto runtime = open_simulator();
    ASSERT_TRUE(runtime);
    EXPECT_EQ(runtime->info().library, SIMULATOR);
    EXPECT_TRUE(runtime->info().simulated);
    EXPECT_THAT(runtime->info().api_version, HasSubstr("rknnsim"));
    EXPECT_FALSE(runtime->info().driver_version.empty());
}

TEST(RknnRuntime, MultipliesInt8) {
    Random random;
    const auto runtime = open_simulator();
    ASSERT_TRUE(runtime);
    Multiplication product(*runtime, NpuArithmetic::kInt8, 96, 160, {1, 5, 16});
    for (const size_t index : {2U, 0U, 1U})
        ASSERT_NO_FATAL_FAILURE(product.check(index, random));
}

TEST(RknnRuntime, MultipliesFloat16) {
    Random random;
    const auto runtime = open_simulator();
    ASSERT_TRUE(runtime);
    Multiplication product(*runtime, NpuArithmetic::kFloat16, 48, 224, {3, 8});
    for (const size_t index : {0U, 1U})
        ASSERT_NO_FATAL_FAILURE(product.check(index, random));
}

// Two openings share the library and nothing else.
TEST(RknnRuntime, OpensTwice) {
    Random random;
    const auto first = open_simulator();
    auto second = open_simulator();
    ASSERT_TRUE(first && second);
    second.reset();
    Multiplication product(*first, NpuArithmetic::kInt8, 32, 64, {2});
    ASSERT_NO_FATAL_FAILURE(product.check(0, random));
}

TEST(RknnRuntime, ImportsASliceOfMemoryOfAnotherContext) {
    const auto runtime = open_simulator();
    ASSERT_TRUE(runtime);
    Multiplication owner(*runtime, NpuArithmetic::kInt8, 32, 32, {1});
    Multiplication user(*runtime, NpuArithmetic::kInt8, 64, 64, {1});
    const auto memory = owner.allocate(8192);
    ASSERT_TRUE(memory);
    const Result<std::unique_ptr<NpuMemory>> slice = user.context().import_slice(*memory, 4096, 1024);
    ASSERT_TRUE(slice.ok()) << slice.status().to_string();
    EXPECT_EQ(slice.value()->data(), memory->data() + 4096);
    EXPECT_EQ(slice.value()->size(), 1024U);
    EXPECT_FALSE(user.context().import_slice(*memory, 7680, 1024).ok());
}

TEST(RknnRuntime, DescriptorsAreLeftToTheHost) {
    const auto runtime = open_simulator();
    ASSERT_TRUE(runtime);
    Multiplication owner(*runtime, NpuArithmetic::kInt8, 32, 32, {1});
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit low = before;
    low.rlim_cur = descriptor_limit() - descriptors_left() + 64 + 3;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    std::vector<std::unique_ptr<NpuMemory>> memories;
    Result<std::unique_ptr<NpuMemory>> memory = owner.context().allocate(4096);
    for (; memory.ok(); memory = owner.context().allocate(4096))
        memories.push_back(memory.take());
    ContextSpec spec;
    spec.K = spec.N = 32;
    spec.rows = {1};
    const Result<std::unique_ptr<NpuContext>> context = runtime->create_context(spec);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(memories.size(), 4U);
    EXPECT_EQ(context.status().code(), StatusCode::kOutOfMemory);
    EXPECT_THAT(context.status().message(), HasSubstr("ulimit -n"));
    EXPECT_TRUE(runtime->create_context(spec).ok());
    EXPECT_EQ(memory.status().code(), StatusCode::kOutOfMemory);
    EXPECT_THAT(memory.status().message(), HasSubstr("ulimit -n"));
    EXPECT_TRUE(owner.context().allocate(4096).ok());
}

TEST(RknnRuntime, MemoryWithoutACacheAndTheConversionOfWeights) {
    const auto runtime = open_simulator();
    ASSERT_TRUE(runtime);
    ContextSpec spec;
    spec.K = spec.N = 64;
    spec.rows = {1};
    Result<std::unique_ptr<NpuContext>> context = runtime->create_context(spec);
    ASSERT_TRUE(context.ok());
    Result<std::unique_ptr<NpuMemory>> memory = context.value()->allocate_non_cacheable(100);
    ASSERT_TRUE(memory.ok()) << memory.status().message();
    EXPECT_EQ(memory.value()->size(), 100U);

    std::vector<int8_t> rows(64 * 64);
    std::iota(rows.begin(), rows.end(), int8_t{0});
    std::vector<int8_t> native(rows.size());
    const Status status = runtime->convert_weights(NpuArithmetic::kInt8, 64, 64, rows.data(), native.data());
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(native[b_index_native(i / 64, i % 64, 64, 64, DType::kInt8)], rows[i]) << i;
    }
}

// Programs that need neither work with a library that has neither.
TEST(RknnRuntime, WhatAnOldLibraryLacksIsSaidWhenItIsWanted) {
    set_log_sink([](LogLevel, const std::string&) {});
    const Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(STAND_INS "/no_version.so");
    set_log_sink({});
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    ContextSpec spec;
    spec.K = spec.N = 64;
    spec.rows = {1};
    const Result<std::unique_ptr<NpuContext>> context = runtime.value()->create_context(spec);
    ASSERT_TRUE(context.ok());
    EXPECT_EQ(context.value()->allocate_non_cacheable(100).status().code(), StatusCode::kUnsupported);
    char bytes[64 * 64] = {};
    EXPECT_EQ(runtime.value()->convert_weights(NpuArithmetic::kInt8, 64, 64, bytes, bytes).code(),
              StatusCode::kUnsupported);
}

TEST(RknnRuntime, RefusedContextNamesItsShape) {
    const auto runtime = open_simulator();
    ASSERT_TRUE(runtime);
    ContextSpec spec;
    spec.K = 33;  // not a multiple of 32
    spec.N = 64;
    spec.rows = {1};
    ::testing::internal::CaptureStderr();
    const Result<std::unique_ptr<NpuContext>> context = runtime->create_context(spec);
    ::testing::internal::GetCapturedStderr();
    ASSERT_FALSE(context.ok());
    EXPECT_THAT(context.status().message(), HasSubstr("K=33 N=64"));
    EXPECT_THAT(context.status().message(), HasSubstr("rknn_matmul_create_dynamic_shape"));
}

TEST(RknnRuntime, MissingFile) {
    EXPECT_THAT(refusal(test::missing_path("librknnrt.so")), HasSubstr("No such file"));
}

TEST(RknnRuntime, NotALibrary) {
    std::string path = (fs::temp_directory_path() / "rknpu2-text-XXXXXX").string();
    const int file = mkstemp(path.data());
    ASSERT_GE(file, 0);
    close(file);
    std::ofstream(path) << "this is a text, longer than the header of a library: " << std::string(200, '.');
    EXPECT_THAT(refusal(path), HasSubstr("cannot load"));
    fs::remove(path);
}

TEST(RknnRuntime, AFolder) {
    EXPECT_THAT(refusal(fs::temp_directory_path().string()), HasSubstr("cannot load"));
}

TEST(RknnRuntime, LibraryWithoutOneOfTheFunctions) {
    std::istringstream names(ENTRY_POINTS);
    size_t count = 0;
    for (std::string name; std::getline(names, name, ','); ++count) {
        const std::string line = refusal(STAND_INS "/without_" + name + ".so");
        EXPECT_THAT(line, HasSubstr("no function " + name + ":"));
    }
    EXPECT_EQ(count, 11U);
}

TEST(RknnRuntime, RuntimeThatCannotMakeAContext) {
    EXPECT_THAT(refusal(STAND_INS "/no_device.so"), HasSubstr("-3 (device unavailable)"));
}

// A process that was killed holds the NPU for a while: three refusals, and none after.
TEST(RknnRuntime, ANpuThatIsFreeLaterIsWaitedFor) {
    std::vector<std::string> lines;
    set_log_sink([&](LogLevel, const std::string& line) { lines.push_back(line); });
    std::vector<int> slept;
    const auto sleep = [&](std::chrono::milliseconds time) {
        slept.push_back(static_cast<int>(time.count()));
    };
    StartWait wait(std::chrono::seconds(5), sleep);
    const Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(STAND_INS "/late.so", &wait);
    set_log_sink({});
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    EXPECT_EQ(slept, (std::vector<int>{100, 200, 400}));
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_THAT(lines[0], HasSubstr("the NPU is not free: out of memory: " STAND_INS
                                    "/late.so: the NPU does not answer"));
    EXPECT_THAT(lines[1], HasSubstr("its version is unknown"));
}

// What is no library is not waited for, and what never answers is refused as without a wait.
TEST(RknnRuntime, TheWaitHasAnEnd) {
    int slept = 0;
    const auto sleep = [&](std::chrono::milliseconds time) { slept += static_cast<int>(time.count()); };
    StartWait wait(std::chrono::seconds(5), sleep);
    EXPECT_THAT(open_rknn_runtime(test::missing_path("librknnrt.so"), &wait).status().message(),
                HasSubstr("No such file"));
    EXPECT_FALSE(open_rknn_runtime(STAND_INS "/without_rknn_query.so", &wait).ok());
    EXPECT_EQ(slept, 0);
    EXPECT_THAT(open_rknn_runtime(STAND_INS "/no_device.so", &wait).status().message(),
                HasSubstr("-3 (device unavailable)"));
    EXPECT_EQ(slept, 5000);
}

TEST(RknnRuntime, RuntimeThatDoesNotTellItsVersion) {
    std::vector<std::string> lines;
    set_log_sink([&](LogLevel, const std::string& line) { lines.push_back(line); });
    const Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(STAND_INS "/no_version.so");
    set_log_sink({});
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    EXPECT_EQ(runtime.value()->info().api_version, "unknown");
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_THAT(lines[0], HasSubstr(STAND_INS "/no_version.so: its version is unknown: rknn_query"));
}

// A bare name is looked for by the loader; people need to know what it found.
TEST(RknnRuntime, TellsWhereTheLibraryWasFound) {
    ASSERT_NE(dlopen(SIMULATOR, RTLD_NOW), nullptr);
    const Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime("librknnrt.so");
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    EXPECT_EQ(runtime.value()->info().library, SIMULATOR);
}

}  // namespace
}  // namespace rknpu2
