// SPDX-License-Identifier: MIT
// Prints a line for each of many ways to use a model: prompts of many lengths, several sequences in a batch,
// a context that is shifted, a cache that is used again. Each line is the tokens that follow, and a digest of
// all logits on the way. tests/e2e/test_fusion.py runs it with and without fusion and compares.
//
//   sequence_digests LONGEST [CACHE] [streams]
//
// LONGEST: tokens of the longest prompt, up to 2048. CACHE: the type of the cache, f16 or q8_0. streams: each
// sequence has a cache of its own; then only the uses of several sequences are done, with long ones.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "ggml/llama_session.hpp"

namespace rknpu2::test {
namespace {

constexpr int kSteps = 3;
constexpr llama_pos kMostTokens = 2048;
constexpr int kSequences = 8;
constexpr uint32_t kCells = 512;  // of a stream

class Uses {
  public:
    Uses(Llama& llama, ggml_type cache, bool streams) : api_(llama.api) {
        llama_model_params model = api_.llama_model_default_params();
        model.n_gpu_layers = 99;
        model_ = api_.llama_model_load_from_file(MODEL, model);
        if (model_ == nullptr) return;
        llama_context_params context = api_.llama_context_default_params();
        context.n_ctx = static_cast<uint32_t>(kMostTokens + 64);
        context.n_batch = static_cast<uint32_t>(kMostTokens);
        context.n_ubatch = 512;
        context.n_seq_max = kSequences;
        context.kv_unified = !streams;
        context.type_k = context.type_v = cache;
        if (streams) context.n_ctx = kSequences * kCells;
        context.n_threads = context.n_threads_batch = 2;
        context_ = api_.llama_init_from_model(model_, context);
        vocabulary_ = static_cast<size_t>(api_.llama_vocab_n_tokens(api_.llama_model_get_vocab(model_)));
        batch_ = api_.llama_batch_init(static_cast<int32_t>(kMostTokens), 0, 1);
    }
    ~Uses() {
        if (context_ == nullptr) return;
        api_.llama_batch_free(batch_);
        api_.llama_free(context_);
        api_.llama_model_free(model_);
    }
    Uses(const Uses&) = delete;
    Uses& operator=(const Uses&) = delete;
    bool ok() const { return context_ != nullptr; }

    // A prompt of `count` tokens, then what follows.
    bool prompt(size_t count) {
        start();
        return feed({{0, 0, some_tokens(count)}}) && follow({static_cast<llama_pos>(count)}) &&
               finish("prompt of " + std::to_string(count));
    }

    // Sequences in every batch, each `more` tokens longer than the one before it.
    bool sequences(int count, int first = 5, int more = 3) {
        start();
        std::vector<Piece> pieces;
        std::vector<llama_pos> ends;
        for (int s = 0; s < count; ++s) {
            const int length = first + more * s;
            pieces.push_back({s, 0, some_tokens(static_cast<size_t>(length))});
            pieces.back().tokens[0] += s;
            ends.push_back(length);
        }
        std::string name = "sequences: ";
        name.append(std::to_string(count)).append(" of ").append(std::to_string(first));
        name.append(" + ").append(std::to_string(more));
        return feed(pieces) && follow(ends) && finish(name);
    }

    // Fifty tokens are cut out and the rest moves up.
    bool shift() {
        start();
        if (!feed({{0, 0, some_tokens(200)}})) return false;
        const llama_memory_t memory = api_.llama_get_memory(context_);
        api_.llama_memory_seq_rm(memory, 0, 10, 60);
        api_.llama_memory_seq_add(memory, 0, 60, -1, -50);
        return follow({150}) && finish("shifted context");
    }

    // Two sequences go on from one cache, and one of them is taken back a few tokens.
    bool reuse() {
        start();
        if (!feed({{0, 0, some_tokens(50)}})) return false;
        const llama_memory_t memory = api_.llama_get_memory(context_);
        api_.llama_memory_seq_cp(memory, 0, 1, -1, -1);
        if (!feed({{0, 50, {11, 12}}, {1, 50, {13, 14, 15, 16}}})) return false;
        api_.llama_memory_seq_rm(memory, 1, 51, -1);
        return feed({{0, 52, {17}}, {1, 51, {18}}}) && follow({53, 52}) && finish("cache used again");
    }

  private:
    // Tokens of a sequence from a position on.
    struct Piece {
        llama_seq_id sequence;
        llama_pos first;
        std::vector<llama_token> tokens;
    };

    void start() {
        api_.llama_memory_clear(api_.llama_get_memory(context_), true);
        digest_ = 14695981039346656037ULL;  // FNV-1a
        text_.clear();
    }

    // Decodes the pieces in one batch; afterwards next_ has the likeliest token of each.
    bool feed(const std::vector<Piece>& pieces) {
        batch_.n_tokens = 0;
        std::vector<int32_t> last;
        for (const Piece& piece : pieces) {
            for (size_t i = 0; i < piece.tokens.size(); ++i) {
                const int32_t at = batch_.n_tokens++;
                batch_.token[at] = piece.tokens[i];
                batch_.pos[at] = piece.first + static_cast<llama_pos>(i);
                batch_.n_seq_id[at] = 1;
                batch_.seq_id[at][0] = piece.sequence;
                batch_.logits[at] = i + 1 == piece.tokens.size() ? 1 : 0;
            }
            last.push_back(batch_.n_tokens - 1);
        }
        if (api_.llama_decode(context_, batch_) != 0) return false;
        next_.clear();
        for (const int32_t at : last) {
            const float* const logits = api_.llama_get_logits_ith(context_, at);
            next_.push_back(
                static_cast<llama_token>(std::max_element(logits, logits + vocabulary_) - logits));
            add_to_digest(logits);
        }
        return true;
    }

    // The likeliest tokens of all sequences, a few steps long; `ends`: their next positions.
    bool follow(std::vector<llama_pos> ends) {
        for (int step = 0; step < kSteps; ++step) {
            std::vector<Piece> pieces;
            for (size_t s = 0; s < ends.size(); ++s) {
                text_.append(1, ' ').append(std::to_string(next_[s % next_.size()]));
                pieces.push_back({static_cast<llama_seq_id>(s), ends[s]++, {next_[s % next_.size()]}});
            }
            if (!feed(pieces)) return false;
        }
        return true;
    }

    bool finish(const std::string& name) {
        std::printf("%s:%s, %016llx\n", name.c_str(), text_.c_str(),
                    static_cast<unsigned long long>(digest_));
        std::fflush(stdout);
        return true;
    }

    void add_to_digest(const float* logits) {
        std::vector<unsigned char> bytes(vocabulary_ * sizeof(float));
        std::memcpy(bytes.data(), logits, bytes.size());
        for (const unsigned char byte : bytes)
            digest_ = (digest_ ^ byte) * 1099511628211ULL;
    }

    const LlamaFunctions& api_;
    llama_model* model_ = nullptr;
    llama_context* context_ = nullptr;
    llama_batch batch_{};
    size_t vocabulary_ = 0;
    uint64_t digest_ = 0;
    std::string text_;
    std::vector<llama_token> next_;
};

bool of_one_cache(Uses& uses, size_t longest) {
    bool ok = true;
    for (const size_t count : {1U, 2U, 7U, 31U, 32U, 33U, 127U, 511U, 512U, 513U})
        ok = ok && uses.prompt(count);
    ok = ok && uses.prompt(longest);
    for (int count = 1; count <= kSequences; ++count)
        ok = ok && uses.sequences(count);
    return ok && uses.shift() && uses.reuse();
}

// Shorter than a chunk of a flow, about one, and several; equal lengths and others.
bool of_streams(Uses& uses) {
    return uses.sequences(8, 17, 0) && uses.sequences(3, 50, 0) && uses.sequences(5, 40, 0) &&
           uses.sequences(2, 64, 0) && uses.sequences(3, 100, 0) && uses.sequences(2, 127, 0) &&
           uses.sequences(2, 128, 0) && uses.sequences(3, 170, 0) && uses.sequences(2, 300, 0) &&
           uses.sequences(4, 70, 11) && uses.sequences(2, 200, 150);
}

int run(size_t longest, ggml_type cache, bool streams) {
    const std::unique_ptr<Llama> llama = Llama::open();
    if (!llama) return 1;
    Uses uses(*llama, cache, streams);
    const bool ok = uses.ok() && (streams ? of_streams(uses) : of_one_cache(uses, longest));
    if (!ok) std::fprintf(stderr, "llama.cpp failed:\n%s\n", llama->host->take_log().c_str());
    return ok ? 0 : 1;
}

}  // namespace
}  // namespace rknpu2::test

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    const long longest = words.empty() ? 0 : std::atol(words[0].c_str());
    const bool known = words.size() < 2 || words[1] == "f16" || words[1] == "q8_0";
    if (longest < 1 || longest > rknpu2::test::kMostTokens || !known || words.size() > 3) {
        std::fprintf(stderr, "usage: sequence_digests LONGEST [f16|q8_0] [streams], LONGEST 1 to %d\n",
                     rknpu2::test::kMostTokens);
        return 2;
    }
    const ggml_type cache = words.size() > 1 && words[1] == "q8_0" ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
    return rknpu2::test::run(static_cast<size_t>(longest), cache, words.size() > 2);
}
