// SPDX-License-Identifier: MIT
// Hosts that are laid out in another way are refused in one clear line; hosts that fit are taken, whatever their
// release.
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

// One line, each time, before anything of the host is used.
void expect_refused(const std::string& stub, const std::string& in, const std::string& fact) {
    run_alone([&] {
        setenv("DIFFERS", in.c_str(), 1);
        const Loaded first = load_into(stub);
        const Loaded second = load_into(stub);
        EXPECT_FALSE(first.accepted || second.accepted) << in;
        EXPECT_THAT(first.lines,
                    ElementsAre(AllOf(HasSubstr("ggml-rknpu2: not loaded: "), HasSubstr(stub),
                                      HasSubstr(fact), HasSubstr("use another release of the host"))))
            << in;
        EXPECT_EQ(second.lines, first.lines) << in;
    });
}

TEST(Layouts, AGgmlThatLacksAFunctionIsRefused) {
    expect_refused("ggml_lacks_function.so", "", "has no function ggml_graph_view");
}

// The stock host, with one thing changed each: what is not as we think is named.
TEST(Layouts, AGgmlThatDiffersIsRefused) {
    RKNPU2_NEEDS_HOST();
    const std::pair<const char*, const char*> differences[] = {
        {"a shorter tensor",
         "it differs from ggml 0.9.3 to 0.9.11 and 0.11.0 to 0.25.3 in the size of a tensor"},
        {"names that are too long", " in the size of a tensor;"},
        {"a larger tensor", " in a tensor's name;"},
        {"as large as with longer names", " in a tensor's name;"},
        {"longer names, and more behind", " in a tensor's name;"},
        {"longer names behind more", " in a tensor's name;"},
        {"no MUL_MAT", "has no operation MUL_MAT"},
        {"no last operation", "has no operation GLU"},
        {"an operation twice", "has no operation "},
        {"a type's name", " in type 2 (q4_0);"},
        {"a type's block", " in type 14 (q6_K);"},
        {"the traits", " in type 0 (f32);"},
        {"no conversion", " in the conversion of a type;"},
        {"another conversion", " in the conversion of a type;"},
        {"a moved conversion", " in the conversion of a type;"},
        {"another function for a conversion", " in the conversion of a type;"},
        {"the type", " in a tensor's type;"},
        {"the shape", " in a tensor's shape;"},
        {"the strides", " in a tensor's strides;"},
        {"the memory", " in a tensor's memory;"},
        {"the name", " in a tensor's name;"},
        {"the size", " in a tensor's size;"},
        {"the operation", " in a tensor's operation;"},
        {"the sources", " in a tensor's sources;"},
        {"more sources", " in a tensor's sources;"},
        {"a view", " in a view;"},
        {"the output's flag", " in the flag of an output;"},
        {"the parameter's flag", " in the flag of a parameter;"},
        {"the count of nodes", " in a graph's count of nodes;"},
        {"a larger graph", " in the size of a graph;"},
        {"the nodes", " in a graph's nodes;"},
        {"no counts of uses", " in a graph's counts of uses;"},
        {"the counts of uses", " in a graph's counts of uses;"},
        {"another order of a set", " in a graph's counts of uses;"},
        {"another order of a set's pointers", " in a graph's counts of uses;"},
        {"a view of a graph", " in a view of a graph;"},
        {"the CPU's buffer", " in the CPU's buffer;"},
        {"a buffer's usage", " in the CPU's buffer;"},
        {"an entry of a buffer", " in a buffer's table;"},
        {"another order of a buffer", " in a buffer's table;"},
        {"a larger table of a buffer", " in a buffer's table;"},
        {"a tensor's buffer", " in a tensor's memory;"},
        {"a backend's device", " in a backend's table;"},
        {"an entry of a backend", " in a backend's table;"},
        {"an entry of a device", " in a device's table;"},
        {"an entry of a registry", " in a registry's table;"},
        {"a buffer type's name", " in a buffer type's table;"},
        {"a device's properties", " in a device's properties;"},
        {"a larger table of a backend", " in a backend's table;"},
        {"a larger table of a buffer type", " in a buffer type's table;"},
        {"a larger table of a device", " in a device's table;"},
        {"a larger table of a device that hides it", " in a device's table;"},
        {"a larger table of a registry", " in a registry's table;"},
    };
    for (const auto& [in, fact] : differences)
        expect_refused("differing_host.so", in, fact);
}

// A release does not tell: what fits is taken, and the log says that nobody has tried it.
TEST(Layouts, AGgmlThatFitsIsTaken) {
    RKNPU2_NEEDS_HOST();
    const std::pair<const char*, const char*> releases[] = {{"nothing", nullptr},
                                                            {"longer names", nullptr},
                                                            {"the longest names", nullptr},
                                                            {"a release of tomorrow", "version 0.99.0"},
                                                            {"no version", "version unknown"}};
    for (const auto& [in, said] : releases) {
        run_alone([in = in, said = said] {
            setenv("DIFFERS", in, 1);
            const Loaded loaded = load_into("differing_host.so");
            EXPECT_TRUE(loaded.accepted) << in;
            const std::vector<std::string> untried = [&] {
                std::vector<std::string> found;
                for (const std::string& line : loaded.lines)
                    if (line.find("nobody has tried this plug-in") != std::string::npos)
                        found.push_back(line);
                return found;
            }();
            if (said == nullptr) {
                EXPECT_THAT(untried, IsEmpty());
            } else {
                EXPECT_THAT(untried, ElementsAre(HasSubstr(said)));
            }
        });
    }
}

// One host that is refused does not spoil another.
TEST(Layouts, RefusedHostBesideAGoodOne) {
    RKNPU2_NEEDS_HOST();
    run_alone([] {
        setenv("DIFFERS", "the shape", 1);
        EXPECT_FALSE(load_into("differing_host.so").accepted);
        const auto host = GgmlHost::open_with_device();
        ASSERT_TRUE(host);
        EXPECT_FALSE(load_into("ggml_lacks_function.so").accepted);
        Random random;
        const BackendPtr backend = new_backend(*host);
        StoredMatmul product(*host, GGML_TYPE_Q8_0, {3, 48, 64});
        product.set_weight(random_weight(*host, GGML_TYPE_Q8_0, 48, 64, random));
        EXPECT_LT(product.error(backend.get(), random), 0.03);
    });
}

}  // namespace
}  // namespace rknpu2::test
