#include "base/file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace rknpu2 {
namespace {

using ::testing::HasSubstr;

TEST(ReadRegularFile, ReadsWholeFilesAndNothingElse) {
    std::string folder = ::testing::TempDir() + "rknpu2_file_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    const std::string content("a\0b\n", 4);
    std::ofstream(folder + "/file") << content;
    ASSERT_EQ(mkfifo((folder + "/pipe").c_str(), 0600), 0);
    EXPECT_EQ(read_regular_file(folder + "/file", 4).value(), content);
    const auto refusal = [&](const std::string& path, uint64_t most) {
        const Status status = read_regular_file(path, most).status();
        EXPECT_EQ(status.code(), StatusCode::kIo);
        EXPECT_THAT(status.message(), HasSubstr(path + ": cannot be read: "));
        return status.message();
    };
    EXPECT_THAT(refusal(folder + "/file", 3), HasSubstr("larger than"));
    EXPECT_THAT(refusal(folder + "/none", 4), HasSubstr("No such file"));
    EXPECT_THAT(refusal(folder + "/pipe", 4), HasSubstr("not a regular file"))
        << "and does not wait for a writer";
    EXPECT_THAT(refusal(folder, 4), HasSubstr("not a regular file"));
    EXPECT_THAT(refusal("/dev/zero", 4), HasSubstr("not a regular file"));
    std::filesystem::remove_all(folder);
}

TEST(WriteFileAtomically, ReplacesWholeAndNamesTheProcess) {
    std::string folder = ::testing::TempDir() + "rknpu2_file_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    const std::string path = with_process_id(folder + "/s_%p.json");
    EXPECT_EQ(path, folder + "/s_" + std::to_string(getpid()) + ".json");
    for (const char* const content : {"one", "two"}) {
        ASSERT_TRUE(write_file_atomically(path, content).ok());
        EXPECT_EQ(read_regular_file(path, 100).value(), content);
    }
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1) << "a partial file was left";
    const Status status = write_file_atomically(folder + "/none/s.json", "x");
    EXPECT_EQ(status.code(), StatusCode::kIo);
    EXPECT_EQ(status.message(), "cannot write " + folder + "/none/s.json: No such file or directory");
    // What is not a file is written to, not replaced.
    ASSERT_TRUE(write_file_atomically("/dev/null", "x").ok());
    EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
    std::filesystem::remove_all(folder);
}

TEST(WriteFileAtomically, ALinkLeadsToTheFileAndStandardOutputStays) {
    std::string folder = ::testing::TempDir() + "rknpu2_file_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    std::filesystem::create_symlink("file", folder + "/link");
    for (const char* const content : {"one", "two"}) {  // the first through a link to nothing
        ASSERT_TRUE(write_file_atomically(folder + "/link", content).ok());
        EXPECT_TRUE(std::filesystem::is_symlink(folder + "/link"));
        EXPECT_EQ(read_regular_file(folder + "/file", 100).value(), content);
    }
    // A redirected standard output is a file that others have open: it is written to, not replaced.
    const FileDescriptor open(::open((folder + "/file").c_str(), O_RDWR | O_CLOEXEC));
    const std::string as_fd = "/proc/self/fd/" + std::to_string(open.number());
    for (const std::string& path : {as_fd, std::string("/dev/stdout"), std::string("/dev/full")})
        EXPECT_FALSE(replaceable_file(path).has_value()) << path;
    ASSERT_TRUE(write_file_atomically(as_fd, "three").ok());
    char found[8] = {};
    EXPECT_EQ(::pread(open.number(), found, sizeof found, 0), 5);
    EXPECT_STREQ(found, "three");
    std::filesystem::create_symlink("loop", folder + "/loop");
    EXPECT_FALSE(write_file_atomically(folder + "/loop", "x").ok());
    std::filesystem::remove_all(folder);
}

// A link in the place of the partial file is somebody's attempt to have another file overwritten.
TEST(WriteFileAtomically, FollowsNoLinkOfItsOwn) {
    std::string folder = ::testing::TempDir() + "rknpu2_file_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    const std::string victim = folder + "/victim";
    ASSERT_TRUE(write_file_atomically(victim, "precious").ok());
    const std::string path = folder + "/s.json";
    std::filesystem::create_symlink(victim, path + "." + std::to_string(getpid()) + ".part");
    const Status status = write_file_atomically(path, "x");
    EXPECT_THAT(status.message(), HasSubstr("cannot write " + path));
    EXPECT_EQ(read_regular_file(victim, 100).value(), "precious");
    EXPECT_FALSE(std::filesystem::exists(path));
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace rknpu2
