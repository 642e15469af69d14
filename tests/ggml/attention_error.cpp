// SPDX-License-Identifier: MIT
// How far the attention of a real prompt is from float64: tests/e2e/test_attention_error.py runs it.
//
//   attention_error MODEL TEXT TOKENS
//
// The first TOKENS tokens of the text go through the model in micro-batches of 512. Some tokens of each attention
// are compared, all heads, with float64 of the very queries, keys, values and mask that it had. Those of the last
// micro-batch are attended once more with a sink of +17 in each head, as some models have them. An error that all
// scores of a row have in common, as from the rounding of its query, cancels without a sink, and stays with one: so
// these are compared with float64 of queries that are rounded to halves as well. What ggml's own CPU backend computes from
// the same operands, all tokens together (its way for prompts) and one at a time (its way for tokens, which rounds
// queries to halves), is beside them.
//
// On stdout: CSV, a line for each layer and kind (first: the first micro-batch; full, window: others, by what the mask
// hides; sink; sink of halves; cpu, cpu token: the last micro-batch by the CPU backend; cpu sink, cpu token sink: the
// same with sinks): of all rows together the root of the squared
// error over the squared size, and the same of the worst row; a row is one head of one token.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <string>

#include "ggml/llama_session.hpp"
#include "matrix/float16.hpp"

namespace rknpu2::test {
namespace {

constexpr int64_t kMicroBatch = 512;
constexpr int64_t kTokenStep = 37;  // one of so many tokens is compared
constexpr float kSink = 17;
constexpr float kNoSink = -std::numeric_limits<float>::infinity();

// A tensor's bytes, addressed by its strides.
struct Copy {
    const ggml_tensor* tensor = nullptr;
    std::vector<char> bytes;

    template <typename Number>
    const Number* row(int64_t i1, int64_t i2) const {
        return reinterpret_cast<const Number*>(bytes.data() + static_cast<size_t>(i1) * tensor->nb[1] +
                                               static_cast<size_t>(i2) * tensor->nb[2]);
    }
};

struct Error {
    double off = 0, size = 0, worst = 0;
    int64_t rows = 0;

    void add(const float* got, const std::vector<double>& expected) {
        double off_row = 0, size_row = 0;
        for (size_t k = 0; k < expected.size(); ++k) {
            const double difference = static_cast<double>(got[k]) - expected[k];
            off_row += difference * difference;
            size_row += expected[k] * expected[k];
        }
        off += off_row;
        size += size_row;
        worst = std::max(worst, std::sqrt(off_row / size_row));
        ++rows;
    }
};

// The operands of one FLASH_ATTN_EXT of one sequence.
class Attention {
  public:
    Attention(const HostFunctions& ggml, const ggml_tensor* node) : ggml_(ggml), node_(node) {
        for (size_t i = 0; i < copies_.size(); ++i) {
            copies_[i].tensor = node->src[i];
            copies_[i].bytes.resize(ggml.ggml_nbytes(node->src[i]));
            ggml.ggml_backend_tensor_get(node->src[i], copies_[i].bytes.data(), 0, copies_[i].bytes.size());
        }
        std::memcpy(&scale_, node->op_params, sizeof scale_);
        std::memcpy(&softcap_, node->op_params + 2, sizeof softcap_);
    }

    int64_t tokens() const { return node_->src[0]->ne[1]; }
    int64_t heads() const { return node_->src[0]->ne[2]; }
    int64_t positions() const { return node_->src[1]->ne[1]; }
    bool hides_old_ones() const { return visible(tokens() - 1).size() < visible_before(); }

    std::vector<float> output() const {
        std::vector<float> out(ggml_.ggml_nbytes(node_) / sizeof(float));
        ggml_.ggml_backend_tensor_get(node_, out.data(), 0, out.size() * sizeof(float));
        return out;
    }

    // Adds what some tokens of `out` are off. sink: -inf for none.
    void compare(const std::vector<float>& out, double sink, Error& error, bool halves = false) const {
        const auto width = static_cast<size_t>(node_->ne[0]);
        for (int64_t token = tokens() - 1; token >= 0; token -= kTokenStep) {
            const std::vector<int64_t> seen = visible(token);
            for (int64_t head = 0; head < heads(); ++head)
                error.add(out.data() + static_cast<size_t>(token * heads() + head) * width,
                          expected(token, head, seen, sink, halves));
        }
    }

    // The same attention on that device, with a sink in each head. Empty: it failed.
    std::vector<float> on(ggml_backend_dev_t device, float sink) const {
        return on(device, sink, 0, tokens());
    }
    // Of the tokens that are compared, one at a time. The others are zeros.
    std::vector<float> one_by_one(ggml_backend_dev_t device, float sink) const {
        const auto of_token = static_cast<size_t>(heads() * node_->ne[0]);
        std::vector<float> out(static_cast<size_t>(tokens()) * of_token);
        for (int64_t token = tokens() - 1; token >= 0; token -= kTokenStep) {
            const std::vector<float> alone = on(device, sink, token, 1);
            if (alone.empty()) return {};
            std::ranges::copy(alone, out.data() + static_cast<size_t>(token) * of_token);
        }
        return out;
    }

  private:
    std::vector<float> on(ggml_backend_dev_t device, float sink, int64_t first, int64_t count) const;

    std::vector<int64_t> visible(int64_t token) const {
        std::vector<int64_t> seen;
        const auto* const mask = copies_[3].row<uint16_t>(token, 0);
        for (int64_t n = 0; n < positions(); ++n)
            if (float16_to_float(mask[n]) == 0) seen.push_back(n);
        return seen;
    }
    // Positions that some token of the batch sees.
    size_t visible_before() const { return visible(0).size() + static_cast<size_t>(tokens()) - 1; }

    std::vector<double> expected(int64_t token, int64_t head, const std::vector<int64_t>& seen, double sink,
                                 bool halves) const {
        const int64_t kv = head / (heads() / node_->src[1]->ne[2]);
        const auto width = static_cast<size_t>(node_->src[1]->ne[0]);
        const auto* const row = copies_[0].row<float>(token, head);
        std::vector<float> query(row, row + width);
        for (float& number : query)
            if (halves) number = float16_to_float(float_to_float16(number));
        std::vector<double> scores;
        double largest = sink;
        for (const int64_t n : seen) {
            const auto* const key = copies_[1].row<uint16_t>(n, kv);
            double score = 0;
            for (size_t k = 0; k < width; ++k)
                score += static_cast<double>(query[k]) * static_cast<double>(float16_to_float(key[k]));
            score *= static_cast<double>(scale_);
            const auto cap = static_cast<double>(softcap_);
            scores.push_back(cap != 0 ? cap * std::tanh(score / cap) : score);
            largest = std::max(largest, scores.back());
        }
        std::vector<double> sums(static_cast<size_t>(node_->ne[0]));
        double weights = std::exp(sink - largest);
        for (size_t i = 0; i < seen.size(); ++i) {
            const double weight = std::exp(scores[i] - largest);
            const auto* const value = copies_[2].row<uint16_t>(seen[i], kv);
            weights += weight;
            for (size_t k = 0; k < sums.size(); ++k)
                sums[k] += weight * static_cast<double>(float16_to_float(value[k]));
        }
        for (double& sum : sums)
            sum /= weights;
        return sums;
    }

    const HostFunctions& ggml_;
    const ggml_tensor* node_;
    std::array<Copy, 4> copies_;  // queries, keys, values, mask
    float scale_ = 0, softcap_ = 0;
};

std::vector<float> Attention::on(ggml_backend_dev_t device, float sink, int64_t first, int64_t count) const {
    ggml_context* const context = ggml_.ggml_init({size_t{1} << 20, nullptr, true});
    ggml_tensor* operands[4] = {};
    ggml_tensor* shown[4] = {};
    for (size_t i = 0; i < 4; ++i) {
        const ggml_tensor* const from = node_->src[i];
        const bool of_tokens = i == 0 || i == 3;
        const int64_t rows = of_tokens && count < tokens() ? count : from->ne[1];
        // As the cache has them: heads side by side for each position.
        operands[i] = i == 3 ? ggml_.ggml_new_tensor_2d(context, from->type, from->ne[0], rows)
                             : ggml_.ggml_new_tensor_3d(context, from->type, from->ne[0], from->ne[2], rows);
        shown[i] = i == 3 ? operands[i] : ggml_.ggml_permute(context, operands[i], 0, 2, 1, 3);
        const bool whole = rows == from->ne[1];
        if (shown[i]->nb[1] != from->nb[1] ||
            (whole && ggml_.ggml_nbytes(operands[i]) != copies_[i].bytes.size()))
            return {};
    }
    ggml_tensor* const sinks = ggml_.ggml_new_tensor_1d(context, GGML_TYPE_F32, heads());
    ggml_tensor* const node =
        ggml_.ggml_flash_attn_ext(context, shown[0], shown[1], shown[2], shown[3], scale_, 0, softcap_);
    if (sink != kNoSink) ggml_.ggml_flash_attn_ext_add_sinks(node, sinks);
    ggml_cgraph* const graph = ggml_.ggml_new_graph(context);
    ggml_.ggml_build_forward_expand(graph, node);
    const ggml_backend_buffer_t buffer =
        ggml_.ggml_backend_alloc_ctx_tensors_from_buft(context, ggml_.ggml_backend_cpu_buffer_type());
    for (size_t i = 0; i < 4; ++i) {
        const size_t skipped = i == 0 || i == 3 ? static_cast<size_t>(first) * node_->src[i]->nb[1] : 0;
        ggml_.ggml_backend_tensor_set(operands[i], copies_[i].bytes.data() + skipped, 0,
                                      ggml_.ggml_nbytes(operands[i]));
    }
    const std::vector<float> values(static_cast<size_t>(heads()), sink);
    ggml_.ggml_backend_tensor_set(sinks, values.data(), 0, values.size() * sizeof(float));
    const ggml_backend_t backend = ggml_.ggml_backend_dev_init(device, nullptr);
    std::vector<float> out(ggml_.ggml_nbytes(node) / sizeof(float));
    if (ggml_.ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) out.clear();
    if (!out.empty()) ggml_.ggml_backend_tensor_get(node, out.data(), 0, out.size() * sizeof(float));
    ggml_.ggml_backend_free(backend);
    ggml_.ggml_backend_buffer_free(buffer);
    ggml_.ggml_free(context);
    return out;
}

class Study {
  public:
    Study(Llama& llama, int64_t tokens) : llama_(llama), tokens_(tokens) {}

    bool run(const char* model_path, const std::string& text) {
        const LlamaFunctions& api = llama_.api;
        llama_model_params model_params = api.llama_model_default_params();
        model_params.n_gpu_layers = 99;
        llama_model* const model = api.llama_model_load_from_file(model_path, model_params);
        if (model == nullptr) return false;
        std::vector<llama_token> tokens(text.size());
        const int count = api.llama_tokenize(api.llama_model_get_vocab(model), text.data(),
                                             static_cast<int32_t>(text.size()), tokens.data(),
                                             static_cast<int32_t>(tokens.size()), true, false);
        if (count < tokens_) return false;
        llama_context_params params = api.llama_context_default_params();
        params.n_ctx = params.n_batch = static_cast<uint32_t>(tokens_);
        params.n_ubatch = static_cast<uint32_t>(kMicroBatch);
        params.n_threads = params.n_threads_batch = 2;
        params.swa_full = false;
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
        params.cb_eval = [](ggml_tensor* node, bool ask, void* self) {
            return node->op == GGML_OP_FLASH_ATTN_EXT && (ask || static_cast<Study*>(self)->look(node));
        };
        params.cb_eval_user_data = this;
        llama_context* const context = api.llama_init_from_model(model, params);
        bool ok = context != nullptr;
        ok = ok && api.llama_decode(
                       context, api.llama_batch_get_one(tokens.data(), static_cast<int32_t>(tokens_))) == 0;
        if (context != nullptr) api.llama_free(context);
        api.llama_model_free(model);
        return ok && failed_.empty();
    }

    void print() const {
        std::printf("layer,kind,rows,rms,worst_row\n");
        for (const auto& [key, error] : errors_)
            std::printf("%zu,%s,%lld,%.3e,%.3e\n", key.first, key.second.c_str(),
                        static_cast<long long>(error.rows), std::sqrt(error.off / error.size), error.worst);
    }

  private:
    bool look(const ggml_tensor* node) {
        const HostFunctions& ggml = llama_.host->ggml;
        const Attention attention(ggml, node);
        // In the order in which they first come; their names are numbers of nodes.
        const std::string name = node->name;
        const size_t layer = layers_.emplace(name, layers_.size()).first->second;
        const char* const kind = seen_[layer] == 0 ? "first" : attention.hides_old_ones() ? "window" : "full";
        attention.compare(attention.output(), static_cast<double>(kNoSink), errors_[{layer, kind}]);
        seen_[layer] += attention.tokens();
        if (seen_[layer] < tokens_) return true;
        const auto compare = [&](const char* what, const std::vector<float>& out, float sink, bool halves) {
            if (out.empty()) failed_ = name;
            if (!out.empty())
                attention.compare(out, static_cast<double>(sink), errors_[{layer, what}], halves);
        };
        const std::vector<float> out = attention.on(llama_.host->device, kSink);
        compare("sink", out, kSink, false);
        compare("sink of halves", out, kSink, true);
        const ggml_backend_dev_t cpu = ggml.ggml_backend_dev_by_name("CPU");
        compare("cpu", attention.on(cpu, kNoSink), kNoSink, false);
        compare("cpu token", attention.one_by_one(cpu, kNoSink), kNoSink, false);
        compare("cpu sink", attention.on(cpu, kSink), kSink, false);
        compare("cpu token sink", attention.one_by_one(cpu, kSink), kSink, false);
        return failed_.empty();
    }

    Llama& llama_;
    const int64_t tokens_;
    std::string failed_;
    std::map<std::string, size_t> layers_;  // by the name of its attention
    std::map<size_t, int64_t> seen_;        // tokens, by layer
    std::map<std::pair<size_t, std::string>, Error> errors_;
};

int study(int argc, char** argv) {
    if (argc != 4) return 2;
    std::ifstream file(argv[2], std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto llama = Llama::open();
    if (!llama || text.empty()) return 1;
    Study study(*llama, std::atoll(argv[3]));
    if (!study.run(argv[1], text.substr(0, size_t{8} * static_cast<size_t>(std::atoll(argv[3]))))) return 1;
    study.print();
    return 0;
}

}  // namespace
}  // namespace rknpu2::test

int main(int argc, char** argv) {
    const int status = rknpu2::test::study(argc, argv);
    if (status == 2) std::fprintf(stderr, "attention_error MODEL TEXT TOKENS\n");
    return status;
}
