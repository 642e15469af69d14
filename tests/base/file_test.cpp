#include "base/file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

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

}  // namespace
}  // namespace rknpu2
