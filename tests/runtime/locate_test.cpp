// SPDX-License-Identifier: MIT
#include "runtime/locate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A folder of its own, removed at the end.
class LocateTest : public ::testing::Test {
  protected:
    LocateTest() {
        std::string name = (fs::temp_directory_path() / "rknpu2-locate-XXXXXX").string();
        if (mkdtemp(name.data()) != nullptr) folder_ = fs::canonical(name);
    }
    ~LocateTest() override {
        std::error_code ignored;
        fs::remove_all(folder_, ignored);
    }
    void SetUp() override {
        ASSERT_FALSE(folder_.empty());
        fs::create_directory(folder_ / "bin");
    }

    std::string make_file(const fs::path& relative) const {
        const fs::path path = folder_ / relative;
        fs::create_directories(path.parent_path());
        std::ofstream(path) << "x";
        return path.string();
    }

    fs::path folder_;
};

TEST_F(LocateTest, AutoTakesTheVendorsLibraryWhereThereIsADeviceNode) {
    if (npu_device_nodes().empty()) GTEST_SKIP() << "no device node of the rknpu driver on this machine";
    const Result<std::string> found = locate_runtime("auto", folder_.string());
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_EQ(found.value(), "librknnrt.so");
}

TEST_F(LocateTest, AutoWithoutADeviceNodeSaysWhyAndHowToSimulate) {
    if (!npu_device_nodes().empty()) GTEST_SKIP() << "this machine has an NPU";
    // A simulator beside us changes nothing: simulating is the user's decision.
    make_file("sim/librknnrt.so");
    const Result<std::string> found = locate_runtime("auto", (folder_ / "bin").string());
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.status().code(), StatusCode::kDeviceUnavailable);
    EXPECT_THAT(found.status().message(), HasSubstr("GGML_RKNPU2_RUNTIME=sim"));
    EXPECT_THAT(found.status().message(), HasSubstr(has_rocket_driver() ? "rocket" : "no device node"));
}

TEST_F(LocateTest, SimIsBesideTheFolderOfTheProgramAsBuilt) {
    const std::string library = make_file("sim/librknnrt.so");
    const Result<std::string> found = locate_runtime("sim", (folder_ / "bin").string());
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_EQ(found.value(), library);
}

TEST_F(LocateTest, SimIsInAFolderBelowAsInstalled) {
    const std::string library = make_file("lib/rknnsim/librknnrt.so");
    const Result<std::string> found = locate_runtime("sim", (folder_ / "lib").string());
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_EQ(found.value(), library);
}

TEST_F(LocateTest, SimAsBuiltComesFirst) {
    const std::string built = make_file("sim/librknnrt.so");
    make_file("bin/rknnsim/librknnrt.so");
    const Result<std::string> found = locate_runtime("sim", (folder_ / "bin").string());
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_EQ(found.value(), built);
}

TEST_F(LocateTest, SimThatIsNowhereNamesBothPlaces) {
    const Result<std::string> found = locate_runtime("sim", (folder_ / "bin").string());
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.status().code(), StatusCode::kDeviceUnavailable);
    EXPECT_THAT(found.status().message(), HasSubstr((folder_ / "sim/librknnrt.so").string()));
    EXPECT_THAT(found.status().message(), HasSubstr((folder_ / "bin/rknnsim/librknnrt.so").string()));
}

TEST_F(LocateTest, SimFromARelativeFolderIsAnAbsolutePath) {
    const std::string library = make_file("sim/librknnrt.so");
    const fs::path relative = fs::relative(folder_ / "bin");
    const Result<std::string> found = locate_runtime("sim", relative.string());
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_EQ(found.value(), library);
}

TEST_F(LocateTest, APathIsTakenAsItIs) {
    const std::string library = make_file("elsewhere/my-runtime.so");
    const Result<std::string> found = locate_runtime(library, folder_.string());
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_EQ(found.value(), library);
}

TEST_F(LocateTest, APathThatDoesNotExistIsNamedWithItsSetting) {
    const std::string path = (folder_ / "librknnrt.so").string();
    const Result<std::string> found = locate_runtime(path, folder_.string());
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.status().code(), StatusCode::kDeviceUnavailable);
    EXPECT_EQ(found.status().message(), "GGML_RKNPU2_RUNTIME=" + path + ": no such file");
}

TEST_F(LocateTest, ANodeThatMayNotBeUsedIsNone) {
    const std::string missing = (folder_ / "card9").string();
    const std::string node = (folder_ / "card1").string();
    std::ofstream(node) << "";
    EXPECT_FALSE(may_use_any({}));
    EXPECT_FALSE(may_use_any({missing}));
    EXPECT_TRUE(may_use_any({missing, node}));
    const std::string render = (folder_ / "renderD128").string();
    std::ofstream(render) << "";
    EXPECT_FALSE(may_use_any({missing, render})) << "the runtime opens the card";
    EXPECT_TRUE(may_use_any({render}));
    EXPECT_TRUE(check_access({}).ok());
    EXPECT_TRUE(check_access({missing, node}).ok());
    EXPECT_THAT(check_access({missing, render}).message(),
                HasSubstr("this user may not read and write " + missing));
}

}  // namespace
}  // namespace rknpu2
