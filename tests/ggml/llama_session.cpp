// SPDX-License-Identifier: MIT
#include "ggml/llama_session.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

namespace rknpu2::test {

std::unique_ptr<Llama> Llama::open(bool with_plugin) {
    // Idle threads of OpenMP would spin, in a machine that others share.
    setenv("OMP_WAIT_POLICY", "passive", 0);
    auto llama = std::make_unique<Llama>();
    llama->host = with_plugin ? GgmlHost::open_with_device() : GgmlHost::open(stock_files());
    if (!llama->host) return nullptr;
    void* const library = dlopen(HOST_BIN_DIR "/libllama.so", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        ADD_FAILURE() << dlerror();
        return nullptr;
    }
    bool complete = true;
#define X(name)                                                                   \
    llama->api.name = reinterpret_cast<decltype(&::name)>(dlsym(library, #name)); \
    complete = complete && llama->api.name != nullptr;
#include "ggml/llama_functions.inc"
#undef X
    if (!complete) {
        ADD_FAILURE() << "libllama lacks a function of llama_functions.inc";
        return nullptr;
    }
    llama->api.llama_log_set(GgmlHost::on_log, llama->host.get());
    llama->api.llama_backend_init();
    return llama;
}

Llama::~Llama() {
    if (api.llama_log_set != nullptr) api.llama_log_set(nullptr, nullptr);
}

LlamaSession::LlamaSession(Llama& llama, int gpu_layers) : llama_(llama) {
    llama_model_params model = llama.api.llama_model_default_params();
    model.n_gpu_layers = gpu_layers;
    model_ = llama.api.llama_model_load_from_file(MODEL, model);
    if (model_ == nullptr) return;
    llama_context_params context = llama.api.llama_context_default_params();
    context.n_ctx = 256;
    context.n_batch = 64;
    context.n_ubatch = 64;
    context.n_threads = 2;
    context.n_threads_batch = 2;
    context_ = llama.api.llama_init_from_model(model_, context);
}

LlamaSession::~LlamaSession() {
    if (context_ != nullptr) llama_.api.llama_free(context_);
    if (model_ != nullptr) llama_.api.llama_model_free(model_);
}

bool LlamaSession::decode(std::vector<llama_token> tokens) {
    const llama_batch batch =
        llama_.api.llama_batch_get_one(tokens.data(), static_cast<int32_t>(tokens.size()));
    return llama_.api.llama_decode(context_, batch) == 0;
}

std::vector<float> LlamaSession::logits() const {
    const float* const values = llama_.api.llama_get_logits_ith(context_, -1);
    const int32_t count = llama_.api.llama_vocab_n_tokens(llama_.api.llama_model_get_vocab(model_));
    return {values, values + count};
}

llama_token LlamaSession::most_likely() const {
    const std::vector<float> values = logits();
    return static_cast<llama_token>(std::max_element(values.begin(), values.end()) - values.begin());
}

std::vector<llama_token> some_tokens(size_t count) {
    std::vector<llama_token> tokens(count);
    for (size_t i = 0; i < count; ++i)
        tokens[i] = static_cast<llama_token>(100 + i * 37 % 1000);
    return tokens;
}

}  // namespace rknpu2::test
