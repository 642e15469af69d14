// Our table of tensor types against ggml's own: its headers at build time, its library at run time.
#include "tensor_types.hpp"

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

#ifdef RKNPU2_HAVE_GGML_HEADERS
constexpr bool is(uint32_t id, size_t block, size_t bytes) {
    const GgmlType* const type = find_ggml_type(id);
    return type != nullptr && type->block == block && type->bytes == bytes;
}
// One structure of each family; the run-time test below covers every type.
static_assert(is(GGML_TYPE_Q4_1, QK4_1, sizeof(block_q4_1)));
static_assert(is(GGML_TYPE_Q8_0, QK8_0, sizeof(block_q8_0)));
static_assert(is(GGML_TYPE_Q6_K, QK_K, sizeof(block_q6_K)));
static_assert(is(GGML_TYPE_IQ4_XS, QK_K, sizeof(block_iq4_xs)));
static_assert(is(GGML_TYPE_TQ2_0, QK_K, sizeof(block_tq2_0)));
static_assert(is(GGML_TYPE_MXFP4, QK_MXFP4, sizeof(block_mxfp4)));
#endif

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
