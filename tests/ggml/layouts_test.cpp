// SPDX-License-Identifier: MIT
// Hosts whose structures may differ are refused in one clear line, before anything of theirs is used.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "ggml/ggml_host.hpp"
#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Loaded {
    bool accepted = false;
    std::vector<std::string> lines;  // on stderr
};

// Loads the plug-in into a stub (stub_host.c). Needs no stock host.
Loaded load_into(const std::string& stub) {
    Loaded loaded;
    setenv("GGML_RKNPU2_RUNTIME", SIMULATOR, 1);
    void* const library = dlopen((STUBS "/" + stub).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        ADD_FAILURE() << dlerror();
        return loaded;
    }
    const auto load = reinterpret_cast<void* (*)(const char*)>(dlsym(library, "stub_load"));
    if (load == nullptr) {
        ADD_FAILURE() << dlerror();
        return loaded;
    }
    ::testing::internal::CaptureStderr();
    loaded.accepted = load(PLUGIN) != nullptr;
    loaded.lines = lines_with(::testing::internal::GetCapturedStderr(), "");
    return loaded;
}

TEST(Layouts, OlderGgmlIsRefused) {
    run_alone([] {
        const Loaded loaded = load_into("ggml_0_9_11.so");
        EXPECT_FALSE(loaded.accepted);
        EXPECT_THAT(loaded.lines,
                    ElementsAre(AllOf(HasSubstr("ggml-rknpu2: not loaded: "), HasSubstr("ggml_0_9_11.so"),
                                      HasSubstr("is version 0.9.11"), HasSubstr("0.25.1, 0.25.2, 0.25.3"),
                                      HasSubstr("GGML_RKNPU2_ALLOW_ABI_MISMATCH=1"))));
    });
}

TEST(Layouts, RefusedInOneLineAtEveryLoad) {
    run_alone([] {
        for (const char* const stub : {"ggml_0_9_11.so", "ggml_lacks_function.so"}) {
            const Loaded first = load_into(stub);
            const Loaded second = load_into(stub);
            EXPECT_FALSE(first.accepted || second.accepted);
            EXPECT_EQ(first.lines.size(), 1U);
            EXPECT_EQ(second.lines, first.lines);
        }
    });
}

TEST(Layouts, GgmlWithoutAVersionIsRefused) {
    run_alone([] {
        const Loaded loaded = load_into("ggml_no_version.so");
        EXPECT_FALSE(loaded.accepted);
        EXPECT_THAT(loaded.lines, ElementsAre(HasSubstr("is version unknown")));
    });
}

TEST(Layouts, GgmlThatLacksAFunctionIsRefused) {
    run_alone([] {
        const Loaded loaded = load_into("ggml_lacks_function.so");
        EXPECT_FALSE(loaded.accepted);
        EXPECT_THAT(loaded.lines, ElementsAre(AllOf(HasSubstr("ggml_lacks_function.so"),
                                                    HasSubstr("has no function ggml_graph_view"))));
    });
}

TEST(Layouts, OverrideGoesOnToTheFunctions) {
    run_alone([] {
        setenv("GGML_RKNPU2_ALLOW_ABI_MISMATCH", "1", 1);
        EXPECT_THAT(load_into("ggml_0_9_11_lacks_function.so").lines,
                    ElementsAre(HasSubstr("has no function ggml_graph_view")));
        EXPECT_TRUE(load_into("ggml_0_9_11.so").accepted);
    });
}

TEST(Layouts, KnownVersionIsAccepted) {
    run_alone([] {
        const Loaded loaded = load_into("ggml_0_25_2.so");
        EXPECT_TRUE(loaded.accepted);
        EXPECT_THAT(loaded.lines,
                    ElementsAre(HasSubstr("by the strategy owner"), HasSubstr("RK3588 NPU (simulated)")));
    });
}

// One host that is refused does not spoil another.
TEST(Layouts, RefusedHostBesideAGoodOne) {
    RKNPU2_NEEDS_HOST();
    run_alone([] {
        EXPECT_FALSE(load_into("ggml_0_9_11.so").accepted);
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        EXPECT_FALSE(load_into("ggml_no_version.so").accepted);
        Random random;
        const BackendPtr backend = new_backend(*host);
        StoredMatmul product(*host, GGML_TYPE_Q8_0, {3, 48, 64});
        product.set_weight(random_weight(*host, GGML_TYPE_Q8_0, 48, 64, random));
        EXPECT_LT(product.error(backend.get(), random), 0.03);
    });
}

// Numbers are compiled in: a ggml that has put an operation or a type in between would be misunderstood.
TEST(Layouts, TheHostHasTheNumbersThatWeWereBuiltWith) {
    RKNPU2_NEEDS_HOST();
    run_alone([] {
        const auto host = GgmlHost::open(stock_files());
        ASSERT_TRUE(host);
#define OP(name) EXPECT_STREQ(host->ggml.ggml_op_name(GGML_OP_##name), #name)
        OP(ADD);
        OP(CLAMP);
        OP(CUSTOM);
        OP(DIV);
        OP(FLASH_ATTN_EXT);
        OP(GLU);
        OP(L2_NORM);
        OP(MAP_CUSTOM1);
        OP(MAP_CUSTOM2);
        OP(MAP_CUSTOM3);
        OP(MUL);
        OP(MUL_MAT);
        OP(MUL_MAT_ID);
        OP(NONE);
        OP(NORM);
        OP(OPT_STEP_ADAMW);
        OP(OPT_STEP_SGD);
        OP(PERMUTE);
        OP(RESHAPE);
        OP(RMS_NORM);
        OP(ROPE);
        OP(SCALE);
        OP(SET_ROWS);
        OP(SQR);
        OP(SQRT);
        OP(SUB);
        OP(TRANSPOSE);
        OP(UNARY);
        OP(VIEW);
#undef OP
#define TYPE(name, lower) EXPECT_STREQ(host->ggml.ggml_type_name(GGML_TYPE_##name), lower)
        TYPE(F16, "f16");
        TYPE(F32, "f32");
        TYPE(I32, "i32");
        TYPE(I64, "i64");
#undef TYPE
    });
}

// The plug-in made from the headers of ggml 0.25.1, in whichever host there is.
TEST(Layouts, PluginOf0_25_1RunsInTheHost) {
    RKNPU2_NEEDS_HOST();
    const std::string plugin = PLUGIN_0_25_1;
    if (plugin.empty())
        GTEST_SKIP()
            << "no plug-in of ggml 0.25.1: a build with sanitizers, or no source tree when CMake ran "
               "(scripts/host-llama.sh --ggml 0.25.1 --source-only)";
    run_alone([&] {
        const auto host = GgmlHost::open(stock_files());
        ASSERT_TRUE(host);
        host->load_plugin(plugin);
        ASSERT_NE(host->device, nullptr);
        EXPECT_THAT(host->take_lines(), IsEmpty());
        Random random;
        const BackendPtr backend = new_backend(*host);
        for (const ggml_type type : {GGML_TYPE_F16, GGML_TYPE_Q4_K}) {
            StoredMatmul product(*host, type, {17, 80, 512});
            product.set_weight(random_weight(*host, type, 80, 512, random));
            ASSERT_TRUE(product.supported());
            const uint64_t runs = simulator_counts().runs;
            EXPECT_LT(product.error(backend.get(), random), 0.03);
            EXPECT_GT(simulator_counts().runs, runs);
        }
    });
}

}  // namespace
}  // namespace rknpu2::test
