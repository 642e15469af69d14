// SPDX-License-Identifier: MIT
// Models and contexts of llama.cpp in this process, through its C interface, opened at run time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ggml/ggml_host.hpp"
#include "llama.h"

namespace rknpu2::test {

struct LlamaFunctions {
#define X(name) decltype(&::name) name = nullptr;
#include "ggml/llama_functions.inc"
#undef X
};

// The stock libllama with the plug-in loaded, or without it.
class Llama {
  public:
    // Null, with a test failure, if something is missing.
    static std::unique_ptr<Llama> open(bool with_plugin = true);
    Llama() = default;
    ~Llama();
    Llama(const Llama&) = delete;
    Llama& operator=(const Llama&) = delete;

    LlamaFunctions api;
    std::unique_ptr<GgmlHost> host;
};

// One model with one small context.
class LlamaSession {
  public:
    LlamaSession(Llama& llama, int gpu_layers);
    ~LlamaSession();
    LlamaSession(const LlamaSession&) = delete;
    LlamaSession& operator=(const LlamaSession&) = delete;

    bool ok() const { return context_ != nullptr; }
    // Decodes the tokens at the next positions; false if llama.cpp says that it failed.
    bool decode(std::vector<llama_token> tokens);
    // What follows is about the last token that was decoded.
    std::vector<float> logits() const;
    llama_token most_likely() const;

  private:
    Llama& llama_;
    llama_model* model_ = nullptr;
    llama_context* context_ = nullptr;
};

// "Once upon a time" or so: tokens that every vocabulary of some size has.
std::vector<llama_token> some_tokens(size_t count);

}  // namespace rknpu2::test
