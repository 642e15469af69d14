// SPDX-License-Identifier: MIT
// Writes the logits of a model for prompts of several lengths, without and with an adapter, for
// tests/e2e/test_real_widths.py, which runs it with the plug-in and without and compares.
//
//   logits_of_model MODEL OUT [options]
//     --lengths 1,7,128    tokens of the prompts
//     --adapter FILE       a second pass with this LoRA adapter and a control vector on the layers from the
//     second on
//     --cpu REGEX          tensors that stay in the CPU's memory, as llama.cpp's -ot REGEX=CPU
//     --encoder            the model only encodes, as BERT does
//     --host-only          without the plug-in
//
// OUT has float32 numbers, row after row. Each batch is a line on stdout: `pass length what rows columns`.
// What is `all` for prompts of odd length, where each token has a row, `last` for even ones, and `next` for a
// token that follows. An encoder's rows are its embeddings; an encoder with a decoder first reads the prompt,
// then the decoder gets it, too.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "ggml/llama_session.hpp"

namespace rknpu2::test {
namespace {

constexpr uint32_t kContext = 1024;
constexpr uint32_t kMicroBatch = 512;

struct Options {
    std::string model, out, adapter, cpu;
    std::vector<size_t> lengths;
    bool encoder = false, host_only = false;
};

class Passes {
  public:
    Passes(Llama& llama, const Options& options) : llama_(llama), api_(llama.api), options_(options) {
        llama_model_params model = api_.llama_model_default_params();
        model.n_gpu_layers = options.host_only ? 0 : 99;
        const llama_model_tensor_buft_override overrides[] = {
            {options.cpu.c_str(), llama.host->ggml.ggml_backend_cpu_buffer_type()}, {nullptr, nullptr}};
        if (!options.cpu.empty()) model.tensor_buft_overrides = overrides;
        model_ = api_.llama_model_load_from_file(options.model.c_str(), model);
        if (model_ == nullptr) return;
        encoder_ = options.encoder || api_.llama_model_has_encoder(model_);
        decoder_ = !options.encoder;
        const llama_vocab* const vocab = api_.llama_model_get_vocab(model_);
        vocabulary_ = api_.llama_vocab_n_tokens(vocab);
        llama_context_params context = api_.llama_context_default_params();
        context.n_ctx = context.n_batch = kContext;
        context.n_ubatch = encoder_ ? kContext : kMicroBatch;  // an encoder sees all at once
        context.n_threads = context.n_threads_batch = 2;
        context.embeddings = !decoder_;
        context_ = api_.llama_init_from_model(model_, context);
        batch_ = api_.llama_batch_init(static_cast<int32_t>(kContext), 0, 1);
        out_ = std::fopen(options.out.c_str(), "wb");
    }
    ~Passes() {
        if (out_ != nullptr) std::fclose(out_);
        if (batch_.token != nullptr) api_.llama_batch_free(batch_);
        if (context_ != nullptr) api_.llama_free(context_);
        if (model_ != nullptr) api_.llama_model_free(model_);
    }
    Passes(const Passes&) = delete;
    Passes& operator=(const Passes&) = delete;

    bool run() {
        if (context_ == nullptr || out_ == nullptr) return false;
        if (!pass("plain")) return false;
        if (options_.adapter.empty()) return std::fflush(out_) == 0;
        return adapt() && pass("adapted") && std::fflush(out_) == 0;
    }

  private:
    bool pass(const char* name) {
        for (const size_t length : options_.lengths) {
            const bool all = length % 2 == 1 && length > 1;
            if (!prompt(name, length, all)) return false;
        }
        return true;
    }

    bool prompt(const char* name, size_t length, bool all) {
        if (decoder_) api_.llama_memory_clear(api_.llama_get_memory(context_), true);
        fill(length, 0, all);
        if (encoder_ && api_.llama_encode(context_, batch_) != 0) return false;
        if (decoder_ && api_.llama_decode(context_, batch_) != 0) return false;
        if (!write(name, length, all ? "all" : "last")) return false;
        if (!decoder_) return true;
        fill(1, length, true);
        return api_.llama_decode(context_, batch_) == 0 && write(name, length, "next");
    }

    void fill(size_t count, size_t first, bool all) {
        batch_.n_tokens = static_cast<int32_t>(count);
        for (size_t i = 0; i < count; ++i) {
            batch_.token[i] =
                static_cast<llama_token>(((first + i) * 7919 + 13) % static_cast<size_t>(vocabulary_));
            batch_.pos[i] = static_cast<llama_pos>(first + i);
            batch_.n_seq_id[i] = 1;
            batch_.seq_id[i][0] = 0;
            batch_.logits[i] = all || i + 1 == count ? 1 : 0;
        }
    }

    bool write(const char* name, size_t length, const char* what) {
        const int32_t columns = decoder_ ? vocabulary_ : api_.llama_model_n_embd(model_);
        int rows = 0;
        for (int32_t i = 0; i < batch_.n_tokens; ++i) {
            if (batch_.logits[i] == 0) continue;
            const float* const row = decoder_ ? api_.llama_get_logits_ith(context_, i)
                                              : api_.llama_get_embeddings_ith(context_, i);
            const auto size = static_cast<size_t>(columns);
            if (row == nullptr || std::fwrite(row, sizeof(float), size, out_) != size) return false;
            ++rows;
        }
        std::printf("%s %zu %s %d %d\n", name, length, what, rows, columns);
        return true;
    }

    // The adapter at its full strength, and a vector that is added after each layer but the first.
    bool adapt() {
        llama_adapter_lora* adapter = api_.llama_adapter_lora_init(model_, options_.adapter.c_str());
        float scale = 1.0F;
        if (adapter == nullptr || api_.llama_set_adapters_lora(context_, &adapter, 1, &scale) != 0)
            return false;
        const int32_t width = api_.llama_model_n_embd(model_);
        const int32_t layers = api_.llama_model_n_layer(model_);
        if (layers < 2) return true;
        std::vector<float> control(static_cast<size_t>(width) * static_cast<size_t>(layers - 1));
        for (size_t i = 0; i < control.size(); ++i)
            control[i] = 0.3F * std::sin(static_cast<float>(i % 1009));
        return api_.llama_set_adapter_cvec(context_, control.data(), control.size(), width, 1, layers) == 0;
    }

    Llama& llama_;
    const LlamaFunctions& api_;
    const Options& options_;
    llama_model* model_ = nullptr;
    llama_context* context_ = nullptr;
    llama_batch batch_{};
    std::FILE* out_ = nullptr;
    bool encoder_ = false, decoder_ = true;
    int32_t vocabulary_ = 0;
};

bool parse(int argc, char** argv, Options& options) {
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--host-only") {
            options.host_only = true;
        } else if (word == "--encoder") {
            options.encoder = true;
        } else if (word.compare(0, 2, "--") != 0) {
            (options.model.empty() ? options.model : options.out) = word;
        } else if (++i == argc) {
            return false;
        } else if (word == "--lengths") {
            for (char* at = argv[i]; *at != '\0'; at += *at == ',' ? 1 : 0)
                options.lengths.push_back(std::strtoul(at, &at, 10));
        } else if (word == "--adapter") {
            options.adapter = argv[i];
        } else if (word == "--cpu") {
            options.cpu = argv[i];
        } else {
            return false;
        }
    }
    for (const size_t length : options.lengths) {
        if (length < 1 || length >= kContext) return false;
    }
    return !options.out.empty() && !options.lengths.empty();
}

int run(const Options& options) {
    const std::unique_ptr<Llama> llama = Llama::open(!options.host_only);
    if (!llama) return 1;
    if (Passes(*llama, options).run()) return 0;
    std::fprintf(stderr, "llama.cpp failed:\n%s\n", llama->host->take_log().c_str());
    return 1;
}

}  // namespace
}  // namespace rknpu2::test

int main(int argc, char** argv) {
    rknpu2::test::Options options;
    if (!rknpu2::test::parse(argc, argv, options)) {
        std::fprintf(stderr,
                     "usage: logits_of_model MODEL OUT --lengths N,... [--adapter FILE] [--cpu REGEX] "
                     "[--host-only]\n");
        return 2;
    }
    return rknpu2::test::run(options);
}
