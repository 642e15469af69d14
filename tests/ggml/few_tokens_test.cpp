// SPDX-License-Identifier: MIT
// Attention of few tokens in whole graphs: our own code computes it in the host's threads, it gives what ggml's own gives but for
// rounding, and a token's bits depend on nothing but the token and what it sees.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "ggml/attention_graph.hpp"

namespace rknpu2::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

double difference(const std::vector<float>& got, const std::vector<float>& expected) {
    double off = 0, size = 0;
    for (size_t i = 0; i < got.size(); ++i) {
        off += std::pow(static_cast<double>(got[i]) - static_cast<double>(expected[i]), 2);
        size += std::pow(static_cast<double>(expected[i]), 2);
    }
    return std::sqrt(off / size);
}

// A process with settings of its own; what it counted is read when its backends are gone.
class Counted {
  public:
    Counted() { setenv("GGML_RKNPU2_STATS", path_.c_str(), 1); }
    nlohmann::json attention() const {
        std::ifstream stream(path_);
        return nlohmann::json::parse(stream)["attention"];
    }

  private:
    TemporaryFolder folder_;
    std::string path_ = folder_.path("stats.json");
};

class FewTokensTest : public ::testing::Test {
  protected:
    void SetUp() override { RKNPU2_NEEDS_HOST(); }
};

// The bounds are what ggml's kernel rounds: sums of values to halves where values are (0.0045 here), and queries to the type that goes with
// the keys: eight bits for quantised ones (0.0056), halves for others (0.0002).
double rounding_of_ggml(const AttentionOptions& options) {
    if (options.k_type != GGML_TYPE_F16) return 0.01;
    return options.v_type == GGML_TYPE_F16 ? 0.008 : 0.0005;
}

TEST_F(FewTokensTest, AsGgmlsOwnButForRounding) {
    run_alone([] {
        const Counted counted;
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        uint64_t attentions = 0;
        const auto check = [&](AttentionOptions options) {
            for (const int64_t tokens : {1, 2, 7, 33, 63}) {
                options.tokens = tokens;
                AttentionGraph graph(*host, options);
                const double off = difference(graph.compute_here(), graph.compute_by_ggml());
                EXPECT_LT(off, rounding_of_ggml(options)) << options.name << ", tokens: " << tokens;
                attentions += static_cast<uint64_t>(options.sequences);
            }
        };
        check({.name = "plain"});
        check({.name = "heads that share no keys", .kv_heads = 6});
        check({.name = "wide values", .width = 192, .v_width = 128});
        check({.name = "eight bits", .k_type = GGML_TYPE_Q8_0, .v_type = GGML_TYPE_Q8_0});
        check({.name = "four bits and halves", .k_type = GGML_TYPE_Q4_0});
        check({.name = "halves and eight bits", .positions = 1000, .v_type = GGML_TYPE_Q8_0});
        check({.name = "sinks", .sinks = true});
        check({.name = "softcap", .softcap = 5});
        check({.name = "ALiBi", .max_bias = 8});
        check({.name = "holes", .holes = true});
        check({.name = "no mask", .masked = false});
        check({.name = "sequences", .sequences = 3});
        check({.name = "long", .positions = 1000, .kv_heads = 3});
        EXPECT_EQ(counted.attention()["few_tokens"], attentions);
        EXPECT_EQ(counted.attention()["few_tokens_by_host"], 0);
        EXPECT_EQ(counted.attention()["nodes"], 0);
    });
}

// The graph has the products around its attention. With a row's bits as they are, drafts and neighbours change no text.
TEST_F(FewTokensTest, ATokensBitsAreItsOwn) {
    run_alone([] {
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        for (const ggml_type type : {GGML_TYPE_F16, GGML_TYPE_Q8_0}) {
            for (const int64_t positions : {300, 1000}) {
                AttentionOptions options{
                    .positions = positions, .k_type = type, .v_type = type, .holes = true, .products = true};
                options.tokens = 16;
                AttentionGraph all(*host, options);
                const std::vector<float> expected = all.compute_here();
                for (const auto& [first, count] :
                     {std::pair<int64_t, int64_t>{0, 1}, {5, 1}, {15, 1}, {4, 2}, {9, 7}, {0, 15}}) {
                    options.first = first;
                    options.tokens = count;
                    AttentionGraph some(*host, options);
                    const std::vector<float> got = some.compute_here();
                    const size_t row = expected.size() / 16;
                    const auto* const begin = expected.data() + static_cast<size_t>(first) * row;
                    EXPECT_TRUE(std::equal(got.begin(), got.end(), begin, begin + got.size()))
                        << positions << " positions, tokens from " << first << ": " << count;
                }
            }
        }
    });
}

TEST_F(FewTokensTest, ThreadsChangeNoBits) {
    run_alone([] {
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        for (const int64_t tokens : {1, 8, 63}) {
            AttentionGraph graph(*host, {.tokens = tokens, .positions = 2000, .kv_heads = 3, .holes = true});
            const std::vector<float> one = graph.compute_here(1);
            for (const int threads : {2, 3, 8})
                EXPECT_EQ(graph.compute_here(threads), one) << tokens << " tokens, threads: " << threads;
        }
    });
}

TEST_F(FewTokensTest, WhatIsHiddenMayBeAnything) {
    run_alone([] {
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        for (const int64_t tokens : {1, 9}) {
            AttentionOptions options{.tokens = tokens, .positions = 500, .holes = true};
            const std::vector<float> zeros = AttentionGraph(*host, options).compute_here();
            for (const float hidden :
                 {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
                options.hidden = hidden;
                EXPECT_EQ(AttentionGraph(*host, options).compute_here(), zeros) << hidden;
            }
        }
    });
}

// One graph with several attentions, whose memory is shared, and one after the other.
TEST_F(FewTokensTest, SeveralInAGraph) {
    run_alone([] {
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        AttentionOptions options{.tokens = 5, .positions = 700, .kv_heads = 3, .attentions = 1};
        const std::vector<float> one = AttentionGraph(*host, options).compute_here();
        options.attentions = 4;
        AttentionGraph four(*host, options);
        const std::vector<float> all = four.compute_here();
        ASSERT_EQ(all.size(), 4 * one.size());
        for (size_t i = 0; i < all.size(); ++i)
            ASSERT_EQ(all[i], one[i % one.size()]) << i;
    });
}

// After long contexts many query rows of a KV head are the NPU's, which says other bits; fewer are not.
TEST_F(FewTokensTest, BothSidesOfTheRule) {
    struct Side {
        AttentionOptions options;
        bool npu;
    };
    const Side sides[] = {
        {{.name = "64 rows", .tokens = 16, .positions = 2048, .heads = 4, .kv_heads = 1}, true},
        {{.name = "60 rows", .tokens = 15, .positions = 2048, .heads = 4, .kv_heads = 1}, false},
        {{.name = "few positions", .tokens = 16, .positions = 2016, .heads = 4, .kv_heads = 1}, false},
        {{.name = "63 tokens", .tokens = 63, .positions = 2048, .heads = 4, .kv_heads = 2}, true},
    };
    for (const auto& [options, npu] : sides) {
        run_alone([&options = options, npu = npu] {
            const Counted counted;
            const auto host = GgmlHost::open_with_device();
            ASSERT_TRUE(host);
            AttentionGraph graph(*host, options);
            EXPECT_LT(difference(graph.compute_here(), graph.compute_by_ggml()), 0.02) << options.name;
            EXPECT_EQ(counted.attention()["nodes"], npu ? 1 : 0) << options.name;
            EXPECT_EQ(counted.attention()["few_tokens"], npu ? 0 : 1) << options.name;
        });
    }
}

// Settings that keep the arithmetic of the CPU backend.
TEST_F(FewTokensTest, GgmlsOwnWhereItIsAskedFor) {
    const std::pair<const char*, const char*> settings[] = {{"GGML_RKNPU2_ATTENTION", "cpu"},
                                                            {"GGML_RKNPU2_PRECISION", "exact"},
                                                            {"GGML_RKNPU2_PRECISION", "reference"}};
    for (const auto& [name, value] : settings) {
        run_alone([name = name, value = value] {
            const Counted counted;
            setenv(name, value, 1);
            const auto host = GgmlHost::open_with_device();
            ASSERT_TRUE(host);
            AttentionGraph graph(*host, {.tokens = 4});
            EXPECT_EQ(graph.compute_here(), graph.compute_by_ggml()) << value;
            EXPECT_EQ(counted.attention()["few_tokens"], 0) << value;
            EXPECT_EQ(counted.attention()["few_tokens_by_host"], 0) << value;
        });
    }
}

// 64 tokens are a prompt's.
TEST_F(FewTokensTest, ManyTokensAreGgmlsOwn) {
    run_alone([] {
        const Counted counted;
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        AttentionGraph graph(*host, {.tokens = 64});
        EXPECT_EQ(graph.compute_here(), graph.compute_by_ggml());
        EXPECT_EQ(counted.attention()["few_tokens"], 0);
    });
}

// A host that takes functions as nodes in another way keeps its own attention: one line, counted.
TEST_F(FewTokensTest, AHostThatCallsFunctionsInAnotherWay) {
    const std::pair<const char*, const char*> differences[] = {
        {"no functions as nodes", "functions as nodes: a node: attention"},
        {"the parameters of a function", "functions as nodes: a node's parameters: attention"},
        {"a function that is called twice",
         "functions as nodes: the CPU backend calls them in another way: attention"}};
    for (const auto& [in, fact] : differences) {
        run_alone([in = in, fact = fact] {
            const Counted counted;
            setenv("DIFFERS", in, 1);
            const std::string folder = HOST_BIN_DIR, stub = STUBS "/differing_host.so";
            const auto host = GgmlHost::open({stub, stub, ""});
            ASSERT_TRUE(host);
            void* const stock = dlopen((folder + "/libggml.so.0").c_str(), RTLD_NOW | RTLD_NOLOAD);
            ASSERT_NE(stock, nullptr);
            ASSERT_NE(reinterpret_cast<decltype(&::ggml_backend_load)>(dlsym(stock, "ggml_backend_load"))(
                          (folder + "/libggml-cpu.so").c_str()),
                      nullptr);
            host->load_plugin();
            ASSERT_NE(host->device, nullptr);
            host->take_lines();
            for (int round = 0; round < 2; ++round) {
                AttentionGraph graph(*host, {.tokens = 4});
                EXPECT_EQ(graph.compute_here(), graph.compute_by_ggml()) << in;
            }
            EXPECT_THAT(host->take_lines(), ElementsAre(HasSubstr(fact))) << in;
            EXPECT_EQ(counted.attention()["few_tokens"], 0) << in;
            EXPECT_EQ(counted.attention()["few_tokens_by_host"], 2) << in;
        });
    }
}

}  // namespace
}  // namespace rknpu2::test
