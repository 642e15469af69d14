// SPDX-License-Identifier: MIT
// Mixture of experts on the device: against float64 in each precision, up and gate together, and what happens
// to wrong choices, writes and the settings.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {
namespace {

constexpr size_t kExperts = 5;
constexpr size_t kUsed = 3;

std::string precision() {
    const char* const name = std::getenv("GGML_RKNPU2_PRECISION");
    return name != nullptr && *name != '\0' ? name : "balanced";
}

// As for plain matrices (types_test.cpp).
double largest_error() {
    if (precision() == "reference") return 1e-6;
    if (precision() == "exact") return 1e-3;
    return 0.0316;
}

// `products` stacks of experts that are multiplied by the same rows and the same choice. slots: rows of
// activations for each token, 1 or kUsed.
class ExpertsGraph {
  public:
    ExpertsGraph(GgmlHost& host, ggml_type type, size_t N, size_t K, size_t tokens, size_t slots,
                 size_t products)
        : host_(host), N_(N), K_(K), tokens_(tokens), slots_(slots) {
        const HostFunctions& ggml = host.ggml;
        const auto k = static_cast<int64_t>(K);
        context_.reset(ggml.ggml_init(
            {(4 * products + 8) * ggml.ggml_tensor_overhead() + ggml.ggml_graph_overhead(), nullptr, true}));
        weight_context_.reset(ggml.ggml_init({(products + 1) * ggml.ggml_tensor_overhead(), nullptr, true}));
        rows_ = ggml.ggml_new_tensor_3d(context_.get(), GGML_TYPE_F32, k, static_cast<int64_t>(slots),
                                        static_cast<int64_t>(tokens));
        // A view of all experts in order of preference, as models make it.
        order_ =
            ggml.ggml_new_tensor_2d(context_.get(), GGML_TYPE_I32, kExperts, static_cast<int64_t>(tokens));
        ggml_tensor* const choice =
            ggml.ggml_view_2d(context_.get(), order_, kUsed, static_cast<int64_t>(tokens), order_->nb[1], 0);
        graph_ = ggml.ggml_new_graph(context_.get());
        for (size_t i = 0; i < products; ++i) {
            stacks_.push_back(ggml.ggml_new_tensor_3d(weight_context_.get(), type, k, static_cast<int64_t>(N),
                                                      static_cast<int64_t>(kExperts)));
            ggml.ggml_set_name(stacks_.back(), i == 0 ? "up_exps" : "gate_exps");
            results_.push_back(ggml.ggml_mul_mat_id(context_.get(), stacks_.back(), rows_, choice));
            ggml.ggml_build_forward_expand(graph_, results_.back());
        }
        ggml_backend_buffer_type_t const type_of_buffer = ggml.ggml_backend_dev_buffer_type(host.device);
        weights_.reset(ggml.ggml_backend_alloc_ctx_tensors_from_buft(weight_context_.get(), type_of_buffer));
        ggml.ggml_backend_buffer_set_usage(weights_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        buffer_.reset(ggml.ggml_backend_alloc_ctx_tensors_from_buft(context_.get(), type_of_buffer));
        EXPECT_TRUE(weights_ != nullptr && buffer_ != nullptr);
    }

    bool supported() const { return host_.ggml.ggml_backend_dev_supports_op(host_.device, results_.front()); }
    ggml_tensor* stack(size_t i) { return stacks_[i]; }
    ggml_tensor* result(size_t i) { return results_[i]; }
    std::vector<int32_t>& order() { return order_content_; }
    std::vector<float>& rows() { return rows_content_; }
    size_t expert_bytes() const { return host_.ggml.ggml_nbytes(stacks_[0]) / kExperts; }

    void fill(Random& random) {
        for (ggml_tensor* const stack : stacks_) {
            content_.push_back(random_weight(host_, stack->type, N_ * kExperts, K_, random));
            host_.ggml.ggml_backend_tensor_set(stack, content_.back().data(), 0, content_.back().size());
        }
        rows_content_ = random_floats(random, K_ * slots_ * tokens_);
        for (size_t token = 0; token < tokens_; ++token) {
            const auto first = static_cast<int32_t>(random.bits() % kExperts);
            for (int32_t i = 0; i < static_cast<int32_t>(kExperts); ++i)
                order_content_.push_back((first + 2 * i) % static_cast<int32_t>(kExperts));
        }
    }

    void refill(size_t product, Random& random) {
        std::vector<uint8_t>& content = content_[product];
        content = random_weight(host_, stacks_[product]->type, N_ * kExperts, K_, random);
        host_.ggml.ggml_backend_tensor_set(stacks_[product], content.data(), 0, content.size());
    }

    // [product][token][use][n]
    std::vector<std::vector<float>> compute(ggml_backend_t backend,
                                            ggml_status expected = GGML_STATUS_SUCCESS) {
        const HostFunctions& ggml = host_.ggml;
        ggml.ggml_backend_tensor_set(rows_, rows_content_.data(), 0, rows_content_.size() * sizeof(float));
        ggml.ggml_backend_tensor_set(order_, order_content_.data(), 0,
                                     order_content_.size() * sizeof(int32_t));
        EXPECT_EQ(ggml.ggml_backend_graph_compute(backend, graph_), expected);
        std::vector<std::vector<float>> out;
        for (ggml_tensor* const result : results_) {
            out.emplace_back(N_ * kUsed * tokens_);
            ggml.ggml_backend_tensor_get(result, out.back().data(), 0, out.back().size() * sizeof(float));
        }
        return out;
    }

    // Relative error of a product against float64.
    double error(size_t product, const std::vector<float>& out) const {
        double off = 0;
        double total = 0;
        for (size_t use = 0; use < tokens_ * kUsed; ++use) {
            const size_t token = use / kUsed;
            const auto expert = static_cast<size_t>(order_content_[token * kExperts + use % kUsed]);
            const std::vector<uint8_t>& bytes = content_[product];
            const auto begin = bytes.begin() + static_cast<ptrdiff_t>(expert * expert_bytes());
            const std::vector<uint8_t> weight(begin, begin + static_cast<ptrdiff_t>(expert_bytes()));
            const size_t row = token * slots_ + (use % kUsed) % slots_;
            const std::vector<float> a(rows_content_.begin() + static_cast<ptrdiff_t>(row * K_),
                                       rows_content_.begin() + static_cast<ptrdiff_t>((row + 1) * K_));
            const std::vector<float> here(out.begin() + static_cast<ptrdiff_t>(use * N_),
                                          out.begin() + static_cast<ptrdiff_t>((use + 1) * N_));
            const double error = relative_error(host_, stacks_[product]->type, {1, N_, K_}, weight, a, here);
            off += error * error;
            total += 1;
        }
        return std::sqrt(off / total);
    }

  private:
    GgmlHost& host_;
    size_t N_, K_, tokens_, slots_;
    ContextPtr context_{nullptr, host_.ggml.ggml_free};
    ContextPtr weight_context_{nullptr, host_.ggml.ggml_free};
    BufferPtr weights_{nullptr, host_.ggml.ggml_backend_buffer_free};
    BufferPtr buffer_{nullptr, host_.ggml.ggml_backend_buffer_free};
    ggml_tensor* rows_ = nullptr;
    ggml_tensor* order_ = nullptr;
    std::vector<ggml_tensor*> stacks_;
    std::vector<ggml_tensor*> results_;
    ggml_cgraph* graph_ = nullptr;
    std::vector<std::vector<uint8_t>> content_;
    std::vector<float> rows_content_;
    std::vector<int32_t> order_content_;
};

class ExpertsTest : public ::testing::Test {
  protected:
    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        stats_ =
            std::filesystem::temp_directory_path() / ("rknpu2-experts-" + std::to_string(getpid()) + ".json");
        setenv("GGML_RKNPU2_STATS", stats_.c_str(), 1);
    }
    void TearDown() override {
        std::filesystem::remove(stats_);
        unsetenv("GGML_RKNPU2_STATS");
    }

    // A process has one setting; ctest gives each test its own process.
    void open(const char* place) {
        static std::string first;
        if (first.empty()) first = place;
        if (first != place) GTEST_SKIP() << "this process has GGML_RKNPU2_EXPERTS=" << first;
        setenv("GGML_RKNPU2_EXPERTS", place, 1);
        host_ = GgmlHost::open_with_device();
        ASSERT_TRUE(host_);
        backend_ = new_backend(*host_);
    }

    std::filesystem::path stats_;
    Random random_;
    std::unique_ptr<GgmlHost> host_;
    BackendPtr backend_{nullptr, nullptr};
};

TEST_F(ExpertsTest, EveryKindOfRowsAndTypes) {
    open("npu");
    if (IsSkipped()) return;
    for (const ggml_type type : {GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_Q8_0, GGML_TYPE_F16}) {
        for (const size_t slots : {size_t{1}, kUsed}) {
            for (const size_t tokens : {1U, 7U, 130U}) {
                SCOPED_TRACE(::testing::Message() << host_->ggml.ggml_type_name(type) << ", " << slots
                                                  << " slots, " << tokens << " tokens, " << precision());
                ExpertsGraph graph(*host_, type, 72, 768, tokens, slots, 1);
                graph.fill(random_);
                ASSERT_TRUE(graph.supported());
                const uint64_t runs = simulator_counts().runs;
                EXPECT_LT(graph.error(0, graph.compute(backend_.get())[0]), largest_error());
                EXPECT_EQ(simulator_counts().runs > runs, precision() != "reference");
            }
        }
    }
}

TEST_F(ExpertsTest, UpAndGateTogetherAreEachAsRight) {
    open("npu");
    if (IsSkipped()) return;
    ExpertsGraph graph(*host_, GGML_TYPE_Q8_0, 40, 96, 9, 1, 2);
    graph.fill(random_);
    const auto out = graph.compute(backend_.get());
    EXPECT_LT(graph.error(0, out[0]), largest_error());
    EXPECT_LT(graph.error(1, out[1]), largest_error());
}

// Handing packed weights over takes the time of a whole slab, however small they are.
TEST_F(ExpertsTest, AreHandedOverTogether) {
    if (precision() == "reference") GTEST_SKIP() << "the reference precision packs nothing";
    open("npu");
    if (IsSkipped()) return;
    const auto calls = [&] {
        backend_ = new_backend(*host_);  // counters are written when the one before goes
        std::ifstream file(stats_);
        return nlohmann::json::parse(file).at("cache_maintenance").at("weights").at("calls").get<uint64_t>();
    };
    ExpertsGraph graph(*host_, GGML_TYPE_Q8_0, 40, 96, 9, 1, 2);
    graph.fill(random_);
    const auto out = graph.compute(backend_.get());
    EXPECT_LT(graph.error(0, out[0]), largest_error());
    EXPECT_LT(graph.error(1, out[1]), largest_error());
    const uint64_t first = calls();
    graph.compute(backend_.get());
    EXPECT_EQ(calls(), first);
    graph.refill(1, random_);
    EXPECT_LT(graph.error(1, graph.compute(backend_.get())[1]), largest_error());
    EXPECT_EQ(calls(), first + 1);
}

// A host that wants to stop is heard before each expert is packed, and before each is multiplied by; it can compute again.
TEST_F(ExpertsTest, AStopIsHeardBetweenExperts) {
    open("npu");
    if (IsSkipped()) return;
    struct Asked {
        int questions, stop_at;
    } asked{0, INT_MAX};
    const auto set = reinterpret_cast<ggml_backend_set_abort_callback_t>(
        host_->ggml.ggml_backend_reg_get_proc_address(host_->plugin, "ggml_backend_set_abort_callback"));
    const auto count = [](void* data) {
        Asked& at = *static_cast<Asked*>(data);
        return ++at.questions == at.stop_at;
    };
    set(backend_.get(), count, &asked);
    ExpertsGraph graph(*host_, GGML_TYPE_Q8_0, 40, 96, 9, 1, 2);
    graph.fill(random_);
    const auto out = graph.compute(backend_.get());
    const int all = asked.questions;
    EXPECT_GE(all, 2 * static_cast<int>(kUsed));
    for (int stop_at = 1; stop_at <= all; ++stop_at) {
        asked = {0, stop_at};
        graph.compute(backend_.get(), GGML_STATUS_ABORTED);
    }
    asked = {0, INT_MAX};
    EXPECT_EQ(graph.compute(backend_.get()), out);
}

// As Mistral 4's down projections ask (ggml_prec_set_src): one of two stacks by the same rows wants floats,
// and some rows are beyond the largest half.
TEST_F(ExpertsTest, RowsThatTheHostWantsAsFloats) {
    open("npu");
    if (IsSkipped()) return;
    if (host_->ggml.ggml_prec_set_src == nullptr) GTEST_SKIP() << "an older host";
    ExpertsGraph graph(*host_, GGML_TYPE_Q8_0, 40, 96, 9, 1, 2);
    graph.fill(random_);
    for (size_t i = 0; i < 4 * 96; ++i)
        graph.rows()[i] *= 1e6F;
    const auto usual = graph.compute(backend_.get());
    ASSERT_TRUE(host_->ggml.ggml_prec_set_src(graph.result(1), GGML_PREC_F32, 1));
    const auto out = graph.compute(backend_.get());
    EXPECT_EQ(out[0], usual[0]);
    EXPECT_LT(graph.error(1, out[1]), std::min(largest_error(), 1e-3));
}

TEST_F(ExpertsTest, ARowDoesNotDependOnTheOthers) {
    open("npu");
    if (IsSkipped()) return;
    ExpertsGraph many(*host_, GGML_TYPE_Q8_0, 40, 96, 6, 1, 1);
    many.fill(random_);
    const std::vector<float> first = many.compute(backend_.get())[0];
    for (size_t i = 0; i < 5 * kExperts; ++i)  // the other tokens choose differently and have other rows
        many.order()[i] = (many.order()[i] + 1) % static_cast<int32_t>(kExperts);
    for (size_t i = 0; i < 5 * 96; ++i)
        many.rows()[i] *= 3;
    const std::vector<float> second = many.compute(backend_.get())[0];
    const size_t last = 5 * kUsed * 40;
    EXPECT_EQ(std::memcmp(first.data() + last, second.data() + last, kUsed * 40 * sizeof(float)), 0);
    EXPECT_NE(std::memcmp(first.data(), second.data(), last * sizeof(float)), 0);
}

TEST_F(ExpertsTest, AWriteToOneExpertCounts) {
    open("npu");
    if (IsSkipped()) return;
    ExpertsGraph graph(*host_, GGML_TYPE_F32, 40, 96, 9, 1, 1);
    graph.fill(random_);
    std::vector<float> before = graph.compute(backend_.get())[0];
    const std::vector<uint8_t> zeros(graph.expert_bytes(), 0);
    host_->ggml.ggml_backend_tensor_set(graph.stack(0), zeros.data(), 2 * zeros.size(), zeros.size());
    const std::vector<float> after = graph.compute(backend_.get())[0];
    for (size_t use = 0; use < 9 * kUsed; ++use) {
        const bool written = graph.order()[use / kUsed * kExperts + use % kUsed] == 2;
        for (size_t n = 0; n < 40; ++n)
            EXPECT_EQ(after[use * 40 + n], written ? 0.0F : before[use * 40 + n]);
    }
}

TEST_F(ExpertsTest, AChoiceOutOfRangeFailsTheGraph) {
    open("npu");
    if (IsSkipped()) return;
    ExpertsGraph graph(*host_, GGML_TYPE_Q8_0, 40, 96, 4, 1, 1);
    graph.fill(random_);
    graph.order()[kExperts + 1] = static_cast<int32_t>(kExperts);
    graph.compute(backend_.get(), GGML_STATUS_FAILED);
    const std::vector<std::string> lines = host_->take_lines(GGML_LOG_LEVEL_ERROR);
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_NE(lines[0].find("token 1 chooses expert 5 of 5"), std::string::npos) << lines[0];
    graph.order()[kExperts + 1] = 0;
    EXPECT_LT(graph.error(0, graph.compute(backend_.get())[0]), largest_error());
}

TEST_F(ExpertsTest, OnTheCpuTheyAreAsRightAndWritesCount) {
    open("cpu");
    if (IsSkipped()) return;
    for (const ggml_type type : {GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_F16}) {
        for (const size_t slots : {size_t{1}, kUsed}) {
            ExpertsGraph graph(*host_, type, 72, 512, 30, slots, 2);
            graph.fill(random_);
            ASSERT_TRUE(graph.supported());
            for (int round = 0; round < 2; ++round) {
                const auto out = graph.compute(backend_.get());
                EXPECT_LT(graph.error(0, out[0]), 0.0316);
                EXPECT_LT(graph.error(1, out[1]), 0.0316);
            }
            graph.refill(1, random_);
            const auto out = graph.compute(backend_.get());
            EXPECT_LT(graph.error(0, out[0]), 0.0316);
            EXPECT_LT(graph.error(1, out[1]), 0.0316);
        }
    }
    EXPECT_EQ(simulator_counts().runs, 0U);
}

// A single token of four bits is left to the CPU by the cost model, a prompt is not.
TEST_F(ExpertsTest, ByTheCostModelATokenStaysAndAPromptGoes) {
    if (precision() == "reference") GTEST_SKIP() << "the reference precision computes experts itself";
    open("auto");
    if (IsSkipped()) return;
    ExpertsGraph token(*host_, GGML_TYPE_Q4_0, 512, 512, 1, 1, 1);
    token.fill(random_);
    EXPECT_LT(token.error(0, token.compute(backend_.get())[0]), 0.0316);
    EXPECT_EQ(simulator_counts().runs, 0U);
    ExpertsGraph prompt(*host_, GGML_TYPE_Q4_0, 512, 512, 400, 1, 1);
    prompt.fill(random_);
    EXPECT_LT(prompt.error(0, prompt.compute(backend_.get())[0]), largest_error());
    EXPECT_GT(simulator_counts().runs, 0U);
}

}  // namespace
}  // namespace rknpu2::test
