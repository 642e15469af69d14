// SPDX-License-Identifier: MIT
// Nobody but the owner (and the superuser) has a say in what lies in a cache directory.
#include "system/file_cache.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr uid_t kSomebody = 12345;

class FileCacheTest : public ::testing::Test {
  protected:
    FileCacheTest() {
        std::string pattern = ::testing::TempDir() + "rknpu2_directory_XXXXXX";
        root_ = mkdtemp(pattern.data());
    }
    ~FileCacheTest() override { fs::remove_all(root_); }

    static Status write(FileCache& directory, const std::string& name, const std::string& text) {
        Result<std::optional<FileCache::Unfinished>> file = directory.start(text.size());
        RKNPU2_RETURN_IF_ERROR(file.status());
        EXPECT_EQ(::write(file.value()->number(), text.data(), text.size()),
                  static_cast<ssize_t>(text.size()));
        return directory.commit(std::move(*file.value()), name);
    }
    // Returns what a new object says to a first file there.
    static std::string refusal(const std::string& path) {
        FileCache directory(path, ".x", 1000);
        return write(directory, "a", "text").message();
    }
    static bool is_closed_on_exec(int file) { return (::fcntl(file, F_GETFD) & FD_CLOEXEC) != 0; }

    std::string root_;
};

TEST_F(FileCacheTest, IsItsOwnersAlone) {
    FileCache directory(root_ + "/a/b", ".x", 1000);
    ASSERT_TRUE(write(directory, "name", "text").ok());
    for (const char* const part : {"/a", "/a/b"}) {
        struct stat info {};
        ASSERT_EQ(::stat((root_ + part).c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 07777, 0700U) << part;
    }
    struct stat info {};
    ASSERT_EQ(::stat((root_ + "/a/b/name.x").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600U);
}

TEST_F(FileCacheTest, OneThatOthersMayWriteToIsNotUsed) {
    for (const unsigned mode : {0770U, 0720U, 0777U, 0702U, 01777U}) {
        const std::string path = root_ + "/" + std::to_string(mode);
        ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
        ASSERT_EQ(::chmod(path.c_str(), mode), 0);
        EXPECT_THAT(refusal(path), HasSubstr("others may write to " + path + ": chmod go-w makes it safe"));
        EXPECT_TRUE(fs::is_empty(path));
        ASSERT_EQ(::chmod(path.c_str(), mode & ~022U & 0777U), 0);
        EXPECT_EQ(refusal(path), "") << "what the message says helps";
    }
}

TEST_F(FileCacheTest, SomebodyElsesIsNotUsed) {
    if (::geteuid() != 0) GTEST_SKIP() << "only the superuser can give files away";
    const std::string path = root_ + "/theirs";
    ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
    ASSERT_EQ(::chown(path.c_str(), kSomebody, kSomebody), 0);
    EXPECT_THAT(refusal(path), HasSubstr("belongs to somebody else (user 12345)"));
    fs::create_directory(root_ + "/ours");
    fs::permissions(root_ + "/ours", fs::perms::owner_all);
    const std::string link = root_ + "/link";
    fs::create_directory_symlink(root_ + "/ours", link);
    EXPECT_EQ(refusal(link), "") << "our own link leads to our own directory";
    ASSERT_EQ(::lchown(link.c_str(), kSomebody, kSomebody), 0);
    EXPECT_THAT(refusal(link), HasSubstr("is a link of somebody else's"));
    EXPECT_THAT(refusal(link + "/below"), HasSubstr("is a link of somebody else's"));
    EXPECT_FALSE(fs::exists(root_ + "/ours/below"));
}

TEST_F(FileCacheTest, AFileThatOthersCouldHaveWrittenIsNotOpened) {
    FileCache directory(root_ + "/d", ".x", 1000);
    ASSERT_TRUE(write(directory, "name", "text").ok());
    ASSERT_TRUE(directory.open("name").ok());
    const std::string path = directory.path_of("name");
    ASSERT_EQ(::chmod(path.c_str(), 0620), 0);
    EXPECT_THAT(directory.open("name").status().message(), HasSubstr("others may write to it"));
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    EXPECT_TRUE(directory.open("name").ok());
    if (::geteuid() == 0) {
        ASSERT_EQ(::chown(path.c_str(), kSomebody, kSomebody), 0);
        EXPECT_THAT(directory.open("name").status().message(), HasSubstr("belongs to somebody else"));
    }
    fs::remove(path);
    fs::create_symlink("/etc/passwd", path);
    EXPECT_FALSE(directory.open("name").ok());
    // A new file takes its place, whatever it led to.
    ASSERT_TRUE(write(directory, "name", "text").ok());
    EXPECT_FALSE(fs::is_symlink(path));
    EXPECT_EQ(directory.open("name").value().bytes, 4U);
}

// The directory is held: another one of its name gets nothing and gives nothing.
TEST_F(FileCacheTest, AnotherDirectoryInItsPlaceIsNotSeen) {
    FileCache directory(root_ + "/d", ".x", 1000);
    ASSERT_TRUE(write(directory, "first", "text").ok());
    fs::rename(root_ + "/d", root_ + "/moved");
    fs::create_directory(root_ + "/other");
    std::ofstream(root_ + "/other/planted.x") << "planted";
    fs::create_directory_symlink(root_ + "/other", root_ + "/d");
    EXPECT_TRUE(directory.open("first").value().file.is_open());
    EXPECT_FALSE(directory.open("planted").value().file.is_open());
    ASSERT_TRUE(write(directory, "second", "text").ok());
    EXPECT_TRUE(fs::exists(root_ + "/moved/second.x"));
    EXPECT_FALSE(fs::exists(root_ + "/other/second.x"));
}

TEST_F(FileCacheTest, NoFileOutlivesAnExec) {
    FileCache directory(root_ + "/d", ".x", 1000);
    {
        const auto file = directory.start(4);
        ASSERT_TRUE(file.ok() && file.value());
        EXPECT_TRUE(is_closed_on_exec(file.value()->number()));
        EXPECT_FALSE(fs::is_empty(root_ + "/d"));
    }
    EXPECT_TRUE(fs::is_empty(root_ + "/d")) << "nobody committed it";
    ASSERT_TRUE(write(directory, "name", "text").ok());
    EXPECT_TRUE(is_closed_on_exec(directory.open("name").value().file.number()));
}

// A board's clock may have been wrong when files were written or when the process began.
TEST_F(FileCacheTest, FilesFromTheFutureMakeRoomAndThoseInUseDoNot) {
    fs::create_directory(root_ + "/d");
    fs::permissions(root_ + "/d", fs::perms::owner_all);
    for (const char* const name : {"future", "past"}) {
        std::ofstream(root_ + "/d/" + name + ".x") << std::string(400, 'x');
        const timespec times[2] = {{name[0] == 'f' ? 4000000000 : 1000000000, 0},
                                   {name[0] == 'f' ? 4000000000 : 1000000000, 0}};
        ASSERT_EQ(::utimensat(AT_FDCWD, (root_ + "/d/" + name + ".x").c_str(), times, 0), 0);
    }
    FileCache directory(root_ + "/d", ".x", 1000);
    ASSERT_TRUE(write(directory, "first", std::string(400, 'x')).ok());
    EXPECT_FALSE(fs::exists(directory.path_of("past")));
    EXPECT_TRUE(fs::exists(directory.path_of("future")));
    ASSERT_TRUE(write(directory, "second", std::string(400, 'x')).ok());
    EXPECT_FALSE(fs::exists(directory.path_of("future")));
    const auto none = directory.start(400);
    EXPECT_TRUE(none.ok() && !none.value().has_value()) << "its own files are in use";
    EXPECT_TRUE(fs::exists(directory.path_of("first")));
}

// A bound may be lowered between two processes. What is not ours, or used by others now, stays.
TEST_F(FileCacheTest, TheBoundHoldsFromTheFirstUse) {
    {
        FileCache directory(root_ + "/d", ".x", 1000);
        for (const char* const name : {"a", "b", "c", "d"})
            ASSERT_TRUE(write(directory, name, std::string(200, 'x')).ok());
    }
    std::ofstream(root_ + "/d/notes") << std::string(2000, 'x');
    timespec when[2] = {{1000000000, 0}, {1000000000, 0}};
    for (const char* const name : {"c", "a", "d", "b"}) {
        when[0].tv_sec = ++when[1].tv_sec;
        ASSERT_EQ(::utimensat(AT_FDCWD, (root_ + "/d/" + name + ".x").c_str(), when, 0), 0);
    }
    FileCache same(root_ + "/d", ".x", 800);
    EXPECT_TRUE(same.open("none").ok());
    for (const char* const name : {"a", "b", "c", "d"})
        EXPECT_TRUE(fs::exists(same.path_of(name))) << name;
    FileCache lower(root_ + "/d", ".x", 500);
    const auto opened = lower.open("b");
    EXPECT_TRUE(opened.ok() && opened.value().file.is_open());
    EXPECT_FALSE(fs::exists(lower.path_of("c")));
    EXPECT_FALSE(fs::exists(lower.path_of("a")));
    EXPECT_TRUE(fs::exists(lower.path_of("d")));
    EXPECT_TRUE(fs::exists(root_ + "/d/notes"));
    FileCache lowest(root_ + "/d", ".x", 100);
    EXPECT_FALSE(lowest.open("d").value().file.is_open());
    EXPECT_FALSE(lowest.open("b").value().file.is_open());
}

// Sizes near the end of 64 bits do not wrap around to fit.
TEST_F(FileCacheTest, AFileLargerThanAnythingHasNoRoom) {
    FileCache directory(root_ + "/d", ".x", 1000);
    ASSERT_TRUE(write(directory, "name", "text").ok());
    for (const uint64_t bytes : {uint64_t{997}, UINT64_MAX, UINT64_MAX - 3}) {
        const auto file = directory.start(bytes);
        ASSERT_TRUE(file.ok());
        EXPECT_FALSE(file.value().has_value()) << bytes;
    }
    EXPECT_TRUE(fs::exists(directory.path_of("name")));
}

}  // namespace
}  // namespace rknpu2
