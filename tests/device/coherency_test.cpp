// SPDX-License-Identifier: MIT
// Results have the same bits whatever a board does with the CPU's cache; and each thing that must not be
// forgotten changes them on a board that punishes it.
#include "device/coherency.hpp"

#include <gtest/gtest.h>

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>

#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"
#include "matmul/npu_flow.hpp"
#include "runtime/rknn_runtime.hpp"

namespace rknpu2 {
namespace {

using testing::Matrices;
using Weight = std::shared_ptr<const PackedWeight>;
using Results = std::vector<std::vector<float>>;
using Strategy = std::function<std::unique_ptr<Coherency>(const NpuRuntime&, CoherencyCounters&)>;

struct Board {
    const char* variable;
    const char* value;
};
constexpr std::array<Board, 6> kBoards = {{{"RKNNSIM_BOARD", "default"},
                                           {"RKNNSIM_BIND", "leaves"},
                                           {"RKNNSIM_IMPORT_SYNC", "nothing"},
                                           {"RKNNSIM_RESULTS", "synced"},
                                           {"RKNNSIM_DIRTY", "overwrites"},
                                           {"RKNNSIM_BOARD", "worst"}}};

// The simulator as such a board, afresh.
class Simulated {
  public:
    explicit Simulated(const Board& board) : variable_(board.variable) {
        setenv(board.variable, board.value, 1);
        setenv("RKNNSIM_CHECK", "off", 1);
        reset();
    }
    ~Simulated() {
        unsetenv(variable_);
        reset();
    }

  private:
    static void reset() {
        void* const library = dlopen(SIMULATOR, RTLD_NOW | RTLD_LOCAL);
        ASSERT_NE(library, nullptr) << dlerror();
        const auto start_afresh = reinterpret_cast<int (*)()>(dlsym(library, "rknnsim_reset"));
        ASSERT_NE(start_afresh, nullptr);
        ASSERT_EQ(start_afresh(), 0) << "something of the test before is alive";
    }
    const char* variable_;
};

class Device {
  public:
    Device(const Strategy& strategy, Precision precision) {
        auto runtime = open_rknn_runtime(SIMULATOR);
        EXPECT_TRUE(runtime.ok()) << runtime.status().to_string();
        Config config;
        config.precision = precision;
        config.threads = 2;
        auto coherency = strategy(*runtime.value(), counters_.coherency);
        npu_ = std::make_shared<NpuDevice>(runtime.take(), config, counters_, std::move(coherency));
    }
    NpuDevice& npu() { return *npu_; }
    const CoherencyCounters& counters() const { return counters_.coherency; }

    Weight pack(const Matrices& x) {
        auto packed = npu_->pack(x.source());
        EXPECT_TRUE(packed.ok()) << packed.status().to_string();
        return packed.ok() ? packed.take() : nullptr;
    }
    std::vector<float> multiply(const PackedWeight& weight, const Matrices& x) {
        std::vector<float> out(x.M * x.N);
        const Status status = npu_->multiply(weight, x.a.data(), x.M, out.data());
        EXPECT_TRUE(status.ok()) << status.to_string();
        return out;
    }

  private:
    Counters counters_;
    std::shared_ptr<NpuDevice> npu_;
};

// Multiplications of a device's life: few rows, many rows, several segments; new weights in the memory of old
// ones; areas that serve other shapes; chunks that flow.
Results life(Device& device) {
    Results results;
    const Matrices first(3, 300, 576, 1);
    const Matrices deep(2, 40, 8300, 2);
    const Matrices long_one(300, 96, 320, 3);
    const Weight a = device.pack(first);
    results.push_back(device.multiply(*a, first));
    Weight b = device.pack(deep);
    results.push_back(device.multiply(*b, deep));
    results.push_back(device.multiply(*a, first));
    b.reset();
    for (uint32_t seed = 10; seed < 13; ++seed) {
        const Matrices again(2, 40, 8300, seed);
        const Weight c = device.pack(again);
        results.push_back(device.multiply(*c, again));
    }
    const Weight d = device.pack(long_one);
    results.push_back(device.multiply(*d, long_one));
    const Matrices one_row(1, 96, 320, 4);
    results.push_back(device.multiply(*d, one_row));
    return results;
}

std::vector<float> flow(Device& device) {
    const Matrices x(70, 200, 640, 5);
    const Weight weight = device.pack(x);
    std::vector<float> out(x.M * x.N);
    NpuFlow flow(device.npu().resources());
    const PackedWeight* const product = weight.get();
    flow.add_group({&product, 1});
    flow.add_group({&product, 1});
    const std::vector<FlowChunk> chunks = {{0, 32}, {32, 32}, {64, 6}};
    EXPECT_TRUE(flow.begin(chunks).ok());
    for (size_t p = 0; p < 2; ++p) {
        for (size_t c = 0; c < chunks.size(); ++c) {
            const auto [m0, count] = chunks[c];
            flow.prepare(p, c);
            for (size_t m = 0; m < count; m += 8)
                flow.quantise(p, c, m, std::min<size_t>(8, count - m), x.a.data() + (m0 + m) * x.K, x.K);
            EXPECT_TRUE(flow.submit(p, c).ok());
            const Result<size_t> done = flow.next_done(true);
            if (!done.ok()) {
                ADD_FAILURE() << done.status().to_string();
                return out;
            }
            const FloatRows target{out.data() + m0 * x.N, x.N};
            flow.results(p, c, 0, count, {&target, 1});
            flow.used(c);
        }
    }
    return out;
}

Results everything(const Strategy& strategy, Precision precision, const Board& board) {
    const Simulated simulated(board);
    Device device(strategy, precision);
    Results results = life(device);
    results.push_back(flow(device));
    return results;
}

std::unique_ptr<Coherency> owner(const NpuRuntime& /*runtime*/, CoherencyCounters& counters) {
    return std::make_unique<Coherency>(counters);
}
std::unique_ptr<Coherency> lines(const NpuRuntime& runtime, CoherencyCounters& counters) {
    auto made = make_coherency(CoherencyChoice::kLines, "", runtime, counters);
    EXPECT_TRUE(made.ok()) << made.status().to_string();
    return made.take();
}

class CoherencyTest : public ::testing::TestWithParam<Precision> {};

TEST_P(CoherencyTest, TheSameBitsOnEveryBoard) {
    const Results expected = everything(owner, GetParam(), kBoards[0]);
    for (const Board& board : kBoards) {
        for (const Strategy& strategy : {Strategy(owner), Strategy(lines)})
            EXPECT_EQ(everything(strategy, GetParam(), board), expected)
                << board.variable << '=' << board.value;
    }
}

INSTANTIATE_TEST_SUITE_P(Precisions, CoherencyTest, ::testing::Values(Precision::kFast, Precision::kExact),
                         [](const auto& test) { return std::string(precision_name(test.param)); });

// What the plug-in did before it was told how boards are; each forgets one thing.
class Forgetful : public Coherency {
  public:
    using Coherency::Coherency;
    const char* name() const override { return "forgetful"; }
};

class SyncsImportsOfActivations final : public Forgetful {
    using Forgetful::Forgetful;
    Status activations_written(NpuContext& context, NpuMemory& memory, size_t bytes) override {
        auto part = context.import_slice(memory, 0, bytes);
        RKNPU2_RETURN_IF_ERROR(part.status());
        return context.sync_to_device(*part.value());
    }
};
class SyncsImportsOfResults final : public Forgetful {
    using Forgetful::Forgetful;
    Status result_needed(NpuContext& context, NpuMemory& memory, size_t bytes) override {
        auto part = context.import_slice(memory, 0, bytes);
        RKNPU2_RETURN_IF_ERROR(part.status());
        return context.sync_from_device(*part.value());
    }
};
class LeavesActivationsToBinding final : public Forgetful {
    using Forgetful::Forgetful;
    Status activations_written(NpuContext&, NpuMemory&, size_t) override { return {}; }
};
class LeavesWeightsToBinding final : public Forgetful {
    using Forgetful::Forgetful;
    Status weights_written(NpuContext&, NpuMemory&, std::span<const Extent>) override { return {}; }
};
class LeavesResultsToTheRun final : public Forgetful {
    using Forgetful::Forgetful;
    Status result_needed(NpuContext&, NpuMemory&, size_t) override { return {}; }
};
// Memory that the CPU has written becomes memory of results.
class WritesToResultAreas final : public Forgetful {
    using Forgetful::Forgetful;
    Status result_area_made(NpuContext&, NpuMemory& memory) override {
        std::memset(memory.data(), 0x5A, memory.size());
        return {};
    }
};

template <typename Strategy>
std::unique_ptr<Coherency> make(const NpuRuntime& /*runtime*/, CoherencyCounters& counters) {
    return std::make_unique<Strategy>(counters);
}

TEST(ForgetfulCoherency, IsSeenOnABoardThatPunishesIt) {
    const Results expected = everything(owner, Precision::kFast, kBoards[0]);
    EXPECT_EQ(everything(make<Forgetful>, Precision::kFast, kBoards[5]), expected)
        << "forgets nothing itself";
    const struct {
        const char* what;
        Strategy strategy;
        Board board;
    } cases[] = {
        {"a sync of an import", make<SyncsImportsOfActivations>, {"RKNNSIM_IMPORT_SYNC", "nothing"}},
        {"and of results", make<SyncsImportsOfResults>, kBoards[5]},
        {"activations left to binding", make<LeavesActivationsToBinding>, {"RKNNSIM_BIND", "leaves"}},
        {"weights left to binding", make<LeavesWeightsToBinding>, {"RKNNSIM_BIND", "leaves"}},
        {"results left to the run", make<LeavesResultsToTheRun>, {"RKNNSIM_RESULTS", "synced"}},
        {"a result area that was written", make<WritesToResultAreas>, {"RKNNSIM_DIRTY", "overwrites"}},
    };
    for (const auto& one : cases) {
        EXPECT_NE(everything(one.strategy, Precision::kFast, one.board), expected) << one.what;
        EXPECT_NE(everything(one.strategy, Precision::kFast, kBoards[5]), expected)
            << one.what << " on the worst board";
    }
}

TEST(CoherencyCounts, NoMoreMaintenanceThanNeeded) {
    const Simulated simulated(kBoards[5]);
    for (const bool by_lines : {false, true}) {
        Device device(by_lines ? Strategy(lines) : Strategy(owner), Precision::kFast);
        const Matrices x(1, 96, 320, 1);
        std::vector<Weight> weights;
        for (uint32_t seed = 0; seed < 5; ++seed)
            weights.push_back(device.pack(Matrices(1, 96, 320, seed)));
        EXPECT_EQ(device.counters().weights.calls, 0U);
        device.multiply(*weights[0], x);
        EXPECT_EQ(device.counters().weights.calls, 1U) << "all five lie in one slab";
        if (by_lines) {
            EXPECT_EQ(device.counters().weights.bytes, 5U * 96 * 320);
        }
        const uint64_t areas = device.counters().result_areas.calls;
        EXPECT_EQ(areas, 3U) << "one for each core";
        for (int token = 0; token < 4; ++token)
            device.multiply(*weights[static_cast<size_t>(token)], x);
        EXPECT_EQ(device.counters().weights.calls, 1U);
        EXPECT_EQ(device.counters().result_areas.calls, areas);
        EXPECT_EQ(device.counters().activations.calls, 5U) << "one cube for each of five multiplications";
        EXPECT_EQ(device.counters().results.calls, 15U) << "one for each run";
        if (by_lines) {
            EXPECT_EQ(device.counters().activations.bytes, 5U * 320);
            EXPECT_EQ(device.counters().results.bytes, 5U * 96 * 4);
        } else {
            EXPECT_EQ(device.counters().activations.bytes, 5U * 4096) << "whole buffers";
        }
    }
}

// A prompt's areas are not a token's.
TEST(CoherencyCounts, ATokenDoesNotMaintainAPromptsBytes) {
    const Simulated simulated(kBoards[0]);
    Device device(owner, Precision::kFast);
    const Matrices prompt(250, 96, 4096, 1);
    const Matrices token(1, 96, 4096, 1);
    const Weight weight = device.pack(prompt);
    device.multiply(*weight, prompt);
    const uint64_t before = device.counters().activations.bytes + device.counters().results.bytes;
    device.multiply(*weight, token);
    const uint64_t bytes = device.counters().activations.bytes + device.counters().results.bytes - before;
    EXPECT_LE(bytes, 4096U * 2 + 3U * 4096 * 2);
}

TEST(CoherencyChoiceTest, TheSettingThenTheProfileThenOwner) {
    const Simulated simulated(kBoards[0]);
    auto runtime = open_rknn_runtime(SIMULATOR);
    ASSERT_TRUE(runtime.ok());
    CoherencyCounters counters;
    const auto name = [&](CoherencyChoice choice, const char* profile) {
        auto made = make_coherency(choice, profile, *runtime.value(), counters);
        return made.ok() ? std::string(made.value()->name()) : made.status().message();
    };
    EXPECT_EQ(name(CoherencyChoice::kAuto, ""), "owner");
    EXPECT_EQ(name(CoherencyChoice::kAuto, "owner"), "owner");
    EXPECT_EQ(name(CoherencyChoice::kAuto, "lines"), "lines");
    EXPECT_EQ(name(CoherencyChoice::kOwner, "lines"), "owner");
    EXPECT_EQ(name(CoherencyChoice::kLines, "owner"), "lines");
}

}  // namespace
}  // namespace rknpu2
