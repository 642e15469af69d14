// SPDX-License-Identifier: MIT
// Which profile serves which board, and what becomes of those that do not or are broken.
#include "runtime/board_profile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A machine's root with a device tree and folders for profiles, removed at the end.
class BoardProfileTest : public ::testing::Test {
  protected:
    BoardProfileTest() {
        std::string name = (fs::temp_directory_path() / "rknpu2-profile-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "cannot make " << name;
        root_ = name;
        write("/proc/device-tree/compatible", std::string("radxa,rock-5b\0rockchip,rk3588\0", 29));
        board_.api_version = "2.3.2 (429f97ae6b@2025-04-09)";
        config_.profile_directory = root_ + "/home/.config/ggml-rknpu2";
    }
    ~BoardProfileTest() override { fs::remove_all(root_); }

    std::string write(const std::string& path, const std::string& content) const {
        fs::create_directories(fs::path(root_ + path).parent_path());
        std::ofstream(root_ + path, std::ios::binary) << content;
        return root_ + path;
    }
    std::string in_home(const std::string& content) const {
        return write("/home/.config/ggml-rknpu2/" + kName, content);
    }
    BoardProfileChoice choose() const { return choose_board_profile(config_, board_, root_); }

    const std::string kName = "radxa-rock-5b-2.3.2-429f97ae6b-2025-04-09.profile";
    std::string root_;
    RuntimeInfo board_;
    Config config_;
};

TEST_F(BoardProfileTest, AKeyIsSafeForTheNameOfAFile) {
    EXPECT_EQ(board_profile_name(board_key(board_, root_)), kName);
    board_.api_version = "../../etc/2.0\n";
    EXPECT_EQ(board_key(board_, root_).runtime, "etc-2.0");
    board_.api_version = "";
    EXPECT_EQ(board_key(board_, root_).runtime, "unknown");
    board_.api_version = std::string(500, '9');
    EXPECT_LE(board_key(board_, root_).runtime.size(), 80U);
    write("/proc/device-tree/compatible", "");
    write("/proc/device-tree/model", std::string("Radxa ROCK 5B+ (v1.2)\0", 22));
    EXPECT_EQ(board_key(board_, root_).board, "Radxa-ROCK-5B-v1.2");
    fs::remove_all(root_ + "/proc");
    EXPECT_EQ(board_key(board_, root_).board, "unknown");
}

// What was found on a simulator never serves a board, whatever the board calls itself.
TEST_F(BoardProfileTest, ASimulatorIsABoardOfItsOwn) {
    RuntimeInfo simulator = board_;
    simulator.simulated = true;
    EXPECT_EQ(board_key(simulator, root_).board, "simulator");
    write("/proc/device-tree/compatible", "simulator");
    EXPECT_EQ(board_key(board_, root_).board, "unknown");
    config_.profile = write("/simulator.profile", "board = simulator\ncoherency = lines\n");
    const BoardProfileChoice choice = choose();
    EXPECT_EQ(choice.coherency, "");
    EXPECT_THAT(choice.warnings, ElementsAre(HasSubstr("is of board simulator, and this is unknown")));
}

TEST_F(BoardProfileTest, TheUsersOwnComesBeforeTheSystems) {
    const std::string system = write("/etc/ggml-rknpu2/" + kName, "coherency = owner\n");
    EXPECT_EQ(choose().path, system);
    EXPECT_EQ(choose().coherency, "owner");
    const std::string own = in_home("# by hand\n\n coherency =  lines # quicker here\n");
    const BoardProfileChoice choice = choose();
    EXPECT_EQ(choice.path, own);
    EXPECT_EQ(choice.coherency, "lines");
    EXPECT_EQ(choice.info, "board profile " + own);
    EXPECT_THAT(choice.warnings, IsEmpty());
    config_.profile_directory.clear();  // no home
    EXPECT_EQ(choose().path, system);
}

TEST_F(BoardProfileTest, WithoutOneTheLineSaysWhereItWouldBe) {
    const BoardProfileChoice choice = choose();
    EXPECT_EQ(choice.path, "");
    EXPECT_EQ(choice.coherency, "");
    EXPECT_THAT(choice.warnings, IsEmpty());
    EXPECT_THAT(choice.info, HasSubstr("no board profile (" + kName + " in " + config_.profile_directory +
                                       " or " + root_ + "/etc/ggml-rknpu2)"));
    EXPECT_THAT(choice.info, HasSubstr("so the safe one"));
    in_home("coherency = lines\n");
    config_.profile = "none";
    EXPECT_EQ(choose().coherency, "");
    EXPECT_THAT(choose().info, HasSubstr("GGML_RKNPU2_PROFILE=none"));
}

// Neither by the name of the file nor by what is in it.
TEST_F(BoardProfileTest, OfAnotherBoardOrRuntimeItIsNotTaken) {
    write("/home/.config/ggml-rknpu2/radxa-rock-5a-2.3.2-429f97ae6b-2025-04-09.profile",
          "coherency = lines\n");
    write("/home/.config/ggml-rknpu2/radxa-rock-5b-2.3.0-c949ad889d-2024-11-07.profile",
          "coherency = lines\n");
    EXPECT_EQ(choose().path, "");
    in_home("board = radxa-rock-5a\ncoherency = lines\n");
    EXPECT_EQ(choose().coherency, "");
    EXPECT_THAT(choose().warnings,
                ElementsAre(HasSubstr(": is of board radxa-rock-5a, and this is radxa-rock-5b")));
    in_home("board = radxa-rock-5b\nruntime = 2.3.0\ncoherency = lines\n");
    EXPECT_EQ(choose().coherency, "");
    EXPECT_THAT(choose().warnings,
                ElementsAre(HasSubstr(": is of runtime 2.3.0, and this is 2.3.2-429f97ae6b-2025-04-09")));
    in_home("board = radxa-rock-5b\nruntime = 2.3.2-429f97ae6b-2025-04-09\ncoherency = lines\n");
    EXPECT_EQ(choose().coherency, "lines");
}

TEST_F(BoardProfileTest, UnknownNamesAreOneWarningAndTheRestIsTaken) {
    in_home("coherency = lines\ncolour = red\nbanks = 4\ncolumns = 4096\n");
    const BoardProfileChoice choice = choose();
    EXPECT_EQ(choice.columns, 4096);
    EXPECT_EQ(choice.coherency, "lines");
    EXPECT_THAT(choice.warnings,
                ElementsAre(HasSubstr("left out, being unknown to this version: colour, banks")));
}

// One clear line with the file and the line's number, and the safe strategy.
TEST_F(BoardProfileTest, ABrokenProfileIsOneLine) {
    const std::pair<std::string, std::string> cases[] = {
        {"coherency\n", ":1: expected \"name = value\""},
        {"# first\ncoherency =\n", ":2: expected \"name = value\""},
        {" = owner\n", ":1: expected \"name = value\""},
        {"coherency = import\n", ":1: coherency is \"import\", but must be owner or lines"},
        {"coherency = owner\n\ncoherency = lines\n", ":3: coherency is given twice"},
        {"columns = many\n", ":1: columns is \"many\", but must be a multiple of 64 from 64 to 131072"},
        {"columns = 100\n", ":1: columns is \"100\", but must be a multiple of 64 from 64 to 131072"},
        {"columns = 64\ncolumns = 64\n", ":2: columns is given twice"},
        {"coherency = owner\ncolour = \x1b[2J\n", ":2: not a line of text"},
        {std::string("coherency = owner\0lines\n", 24), ":1: not a line of text"},
    };
    for (const auto& [content, part] : cases) {
        const std::string path = in_home(content);
        const BoardProfileChoice choice = choose();
        EXPECT_EQ(choice.path, "") << content;
        EXPECT_EQ(choice.coherency, "") << content;
        ASSERT_EQ(choice.warnings.size(), 1U) << content;
        EXPECT_EQ(choice.warnings[0], "board profile: " + path + part);
        EXPECT_THAT(choice.info, HasSubstr("so the safe one"));
    }
}

// A broken one of the user's is not passed over for the system's: somebody has to know.
TEST_F(BoardProfileTest, WhatCannotBeReadIsOneLine) {
    write("/etc/ggml-rknpu2/" + kName, "coherency = lines\n");
    fs::create_directories(config_.profile_directory + "/" + kName);
    BoardProfileChoice choice = choose();
    EXPECT_EQ(choice.coherency, "");
    EXPECT_THAT(choice.warnings, ElementsAre(HasSubstr(config_.profile_directory + "/" + kName)));
    config_.profile = root_ + "/none.profile";
    choice = choose();
    EXPECT_EQ(choice.coherency, "");
    EXPECT_THAT(choice.warnings, ElementsAre(HasSubstr(root_ + "/none.profile")));
    config_.profile = write("/large", std::string(1 << 20, '#'));
    EXPECT_THAT(choose().warnings, ElementsAre(HasSubstr(root_ + "/large")));
}

TEST_F(BoardProfileTest, AFileByNameIsTaken) {
    config_.profile = write("/mine", "coherency = lines");
    EXPECT_EQ(choose().path, config_.profile);
    EXPECT_EQ(choose().coherency, "lines");
    config_.profile = write("/empty", "");
    EXPECT_EQ(choose().coherency, "");
    EXPECT_THAT(choose().info, HasSubstr("tells none, so the safe one"));
}

}  // namespace
}  // namespace rknpu2
