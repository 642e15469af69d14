// SPDX-License-Identifier: MIT
// Our table of tensor types against ggml's own: its headers at build time, its library at run time.
#include "gguf/tensor_types.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>

#ifdef RKNPU2_HAVE_GGML_HEADERS
#include "ggml.h"
#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"
#endif

namespace rknpu2 {
namespace {

TEST(TensorTypes, NumbersAscendAndAreFound) {
    uint32_t last = 0;
    for (const GgmlType& type : kGgmlTypes) {
        EXPECT_TRUE(type.id == 0 || type.id > last) << type.name;
        last = type.id;
        EXPECT_EQ(find_ggml_type(type.id), &type);
        EXPECT_GT(type.block, 0U);
        EXPECT_GT(type.bytes, 0U);
    }
    for (const uint32_t id : {4U, 5U, 31U, 38U, last + 1, UINT32_MAX})
        EXPECT_EQ(find_ggml_type(id), nullptr) << id;
}

// The structures of each family; the comparison with the library below covers every type. (Not static_assert:
// g++ 12 with -fsanitize=undefined does not take a comparison of pointers as constant.)
TEST(TensorTypes, SameAsGgmlsHeaders) {
#ifdef RKNPU2_HAVE_GGML_HEADERS
    const struct {
        uint32_t id;
        size_t block;
        size_t bytes;
    } theirs[] = {
        {GGML_TYPE_Q4_0, QK4_0, sizeof(block_q4_0)},      {GGML_TYPE_Q4_1, QK4_1, sizeof(block_q4_1)},
        {GGML_TYPE_Q5_1, QK5_1, sizeof(block_q5_1)},      {GGML_TYPE_Q8_0, QK8_0, sizeof(block_q8_0)},
        {GGML_TYPE_Q2_K, QK_K, sizeof(block_q2_K)},       {GGML_TYPE_Q4_K, QK_K, sizeof(block_q4_K)},
        {GGML_TYPE_Q6_K, QK_K, sizeof(block_q6_K)},       {GGML_TYPE_IQ2_XS, QK_K, sizeof(block_iq2_xs)},
        {GGML_TYPE_IQ4_XS, QK_K, sizeof(block_iq4_xs)},   {GGML_TYPE_TQ2_0, QK_K, sizeof(block_tq2_0)},
        {GGML_TYPE_IQ4_NL, QK4_NL, sizeof(block_iq4_nl)}, {GGML_TYPE_MXFP4, QK_MXFP4, sizeof(block_mxfp4)},
    };
    for (const auto& type : theirs) {
        const GgmlType* const ours = find_ggml_type(type.id);
        ASSERT_NE(ours, nullptr) << type.id;
        EXPECT_EQ(ours->block, type.block) << ours->name;
        EXPECT_EQ(ours->bytes, type.bytes) << ours->name;
    }
#else
    GTEST_SKIP() << "RKNPU2_LLAMA_DIR has no ggml headers";
#endif
}

class Library {
  public:
    Library() {
        const std::string directory = RKNPU2_LLAMA_BIN_DIR;
        if (!directory.empty())
            handle_ = dlopen((directory + "/libggml-base.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    }
    ~Library() {
        if (handle_ != nullptr) dlclose(handle_);
    }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    bool loaded() const { return handle_ != nullptr; }
    template <typename F>
    F function(const char* name) const {
        return reinterpret_cast<F>(dlsym(handle_, name));
    }

  private:
    void* handle_ = nullptr;
};

TEST(TensorTypes, SameAsTheHostsGgml) {
    const Library library;
    if (!library.loaded()) {
        GTEST_SKIP() << "no libggml-base.so in RKNPU2_LLAMA_BIN_DIR (\"" << RKNPU2_LLAMA_BIN_DIR << "\")";
    }
    const auto name = library.function<const char* (*)(int)>("ggml_type_name");
    const auto block = library.function<int64_t (*)(int)>("ggml_blck_size");
    const auto bytes = library.function<size_t (*)(int)>("ggml_type_size");
    ASSERT_TRUE(name && block && bytes);
    for (const GgmlType& type : kGgmlTypes) {
        const int id = static_cast<int>(type.id);
        if (std::string(name(id)) == "NONE") continue;  // newer than this ggml
        EXPECT_STREQ(type.name, name(id));
        EXPECT_EQ(type.block, block(id)) << type.name;
        EXPECT_EQ(type.bytes, bytes(id)) << type.name;
    }
}

TEST(TensorTypes, NoneIsMissingAndConversionsAgree) {
#ifdef RKNPU2_HAVE_GGML_HEADERS
    const Library library;
    if (!library.loaded()) {
        GTEST_SKIP() << "no libggml-base.so in RKNPU2_LLAMA_BIN_DIR (\"" << RKNPU2_LLAMA_BIN_DIR << "\")";
    }
    const auto traits = library.function<const ggml_type_traits* (*)(ggml_type)>("ggml_get_type_traits");
    ASSERT_NE(traits, nullptr);
    for (int id = 0; id < GGML_TYPE_COUNT; ++id) {
        const ggml_type_traits* const theirs = traits(static_cast<ggml_type>(id));
        const GgmlType* const ours = find_ggml_type(static_cast<uint32_t>(id));
        EXPECT_EQ(ours != nullptr, theirs->blck_size > 0) << "type " << id;
        if (ours == nullptr) continue;
        // Float32 has no conversion in ggml, and needs none.
        EXPECT_EQ(ours->to_float, theirs->to_float != nullptr || id == GGML_TYPE_F32) << ours->name;
    }
#else
    GTEST_SKIP() << "RKNPU2_LLAMA_DIR has no ggml headers";
#endif
}

}  // namespace
}  // namespace rknpu2
