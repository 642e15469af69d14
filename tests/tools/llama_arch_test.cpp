// SPDX-License-Identifier: MIT
// Our table of roles against llama.cpp's own source: for every tensor that it knows, the operation that it
// uses it in and the unit it belongs to. A host that is newer may bring a name that our rules misjudge; this
// test names it.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "tensor_role.hpp"

namespace rknpu2 {
namespace {

constexpr uint64_t kLayers = 4;

struct Known {
    std::string name;
    std::string layer;  // INPUT, REPEATING, OUTPUT
    std::string operation;
};

// The words of a line of C++: what stands between spaces, braces and commas.
std::vector<std::string> words_of(std::string line) {
    std::replace_if(
        line.begin(), line.end(), [](char c) { return c == '{' || c == '}' || c == ','; }, ' ');
    std::istringstream stream(line);
    return {std::istream_iterator<std::string>(stream), {}};
}

// What follows `prefix` in `word`; empty if it does not begin with that.
std::string after(const std::string& prefix, const std::string& word) {
    return word.starts_with(prefix) ? word.substr(prefix.size()) : "";
}

// "blk.%d.attn_q" with its quotes becomes the tensor of layer 0.
std::string first_tensor(const std::string& quoted) {
    std::string name = quoted.substr(1, quoted.size() - 2);
    for (size_t at = name.find("%d"); at != std::string::npos; at = name.find("%d"))
        name.replace(at, 2, "0");
    return name + ".weight";
}

// Rows such as { LLM_TENSOR_OUTPUT, "output" } joined with
// {LLM_TENSOR_OUTPUT, {LLM_TENSOR_LAYER_OUTPUT, GGML_OP_MUL_MAT}}.
std::vector<Known> known_tensors(std::istream& source) {
    std::map<std::string, std::string> names;
    std::vector<Known> known;
    for (std::string line; std::getline(source, line);) {
        const std::vector<std::string> words = words_of(line);
        if (words.size() < 2 || !words[0].starts_with("LLM_TENSOR_")) continue;
        if (words[1].size() > 2 && words[1].front() == '"') names[words[0]] = first_tensor(words[1]);
        if (words.size() < 3 || !names.contains(words[0])) continue;
        const std::string layer = after("LLM_TENSOR_LAYER_", words[1]);
        const std::string operation = after("GGML_OP_", words[2]);
        if (!layer.empty() && !operation.empty()) known.push_back({names[words[0]], layer, operation});
    }
    return known;
}

TEST(LlamaArch, RolesAgreeWithEveryTensorOfLlamaCpp) {
    std::ifstream source(RKNPU2_LLAMA_DIR "/src/llama-arch.cpp");
    if (!source) GTEST_SKIP() << "no src/llama-arch.cpp in RKNPU2_LLAMA_DIR (\"" << RKNPU2_LLAMA_DIR << "\")";
    const std::vector<Known> known = known_tensors(source);
    ASSERT_GT(known.size(), 150U) << "the tables have another form now";
    ModelTraits traits;
    traits.layers = kLayers;
    for (const Known& expected : known) {
        GgufTensor tensor;
        tensor.name = expected.name;
        tensor.type = find_ggml_type(0);
        tensor.dimensions = 2;
        tensor.ne = {8, 8, 1, 1};
        const TensorRole role = role_of(tensor, traits);
        const std::string& operation = expected.operation;
        EXPECT_EQ(is_weight_matrix(role), operation == "MUL_MAT") << expected.name << " in " << operation;
        EXPECT_EQ(role == TensorRole::kExperts, operation == "MUL_MAT_ID")
            << expected.name << " in " << operation;
        if (!is_weight_matrix(role)) continue;
        EXPECT_EQ(is_offloaded(tensor, role, traits, 1), expected.layer == "OUTPUT") << expected.name;
        EXPECT_TRUE(is_offloaded(tensor, role, traits, kLayers + 1)) << expected.name;
    }
}

}  // namespace
}  // namespace rknpu2
