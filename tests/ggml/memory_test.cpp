// SPDX-License-Identifier: MIT
// What a model costs once it runs: with a mapped file no second copy of a weight stays in memory.
#include <gtest/gtest.h>
#include <malloc.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "ggml/llama_session.hpp"

namespace rknpu2::test {
namespace {

constexpr double kMiB = 1 << 20;

size_t anonymous_and_shared() {
    malloc_trim(0);
    return process_bytes("RssAnon") + process_bytes("RssShmem");
}

// The sizes that llama.cpp prints for the KV cache, the compute buffers and the output buffer.
double buffers_of(const std::string& log) {
    const std::regex size(R"((?:KV|compute|output) buffer size = +([0-9.]+) MiB)");
    double bytes = 0;
    for (std::sregex_iterator found(log.begin(), log.end(), size); found != std::sregex_iterator(); ++found)
        bytes += std::stod((*found)[1]) * kMiB;
    return bytes;
}

double packed_bytes(const std::string& counters_file) {
    std::ifstream file(counters_file);
    const nlohmann::json stats = nlohmann::json::parse(file, nullptr, false);
    EXPECT_FALSE(stats.is_discarded()) << counters_file;
    double bytes = 0;
    for (const auto& weight : stats["weights"])
        bytes += weight["packed_bytes"].get<double>();
    EXPECT_EQ(stats["weights"].size(), 211U);
    return bytes;
}

class MemoryTest : public ::testing::Test {
  protected:
    void SetUp() override { RKNPU2_NEEDS_MODEL(); }
};

// Resident anonymous and shared bytes after the first token, with all layers on the NPU, less those of a
// process with the same libraries and plug-in and no model. The simulator's device memory is shared memory,
// so packed weights count as on a board.
TEST_F(MemoryTest, NoSecondCopyOfAWeight) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's shadow memory counts as anonymous";
#endif
    const TemporaryFolder folder;
    const std::string stats = folder.path("stats.json");
    setenv("GGML_RKNPU2_STATS", stats.c_str(), 1);
    setenv("RKNNSIM_SHADOW", "lazy", 1);  // a board keeps no second copy for the sake of a simulation
    const std::unique_ptr<Llama> llama = Llama::open();
    ASSERT_TRUE(llama);
    const size_t before = anonymous_and_shared();
    llama->host->take_log();
    size_t after = 0;
    std::string log;
    {
        LlamaSession session(*llama, 99);
        ASSERT_TRUE(session.ok());
        log = llama->host->take_log();
        ASSERT_TRUE(session.decode(some_tokens(5)));
        ASSERT_TRUE(session.decode({session.most_likely()}));
        after = anonymous_and_shared();
    }
    const double used = static_cast<double>(after - before);
    const double packed = packed_bytes(stats);
    const double buffers = buffers_of(log);
    EXPECT_GT(buffers, 0) << log;
    std::printf("used %.1f MiB, packed weights %.1f MiB, KV cache and other buffers %.1f MiB: ratio %.3f\n",
                used / kMiB, packed / kMiB, buffers / kMiB, used / (packed + buffers));
    EXPECT_LE(used, 1.15 * (packed + buffers));
}

}  // namespace
}  // namespace rknpu2::test
