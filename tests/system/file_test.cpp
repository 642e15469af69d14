// SPDX-License-Identifier: MIT
#include "system/file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
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

// Runs in a process of its own, which may spoil its streams and limits; how that ended, as waitpid() tells.
template <typename Body>
int status_alone(const Body& body) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) _exit(body());
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
}

// `ulimit -f`: as for a full disk, a Status and no file, and the signal is the host's again afterwards.
TEST(WriteFileAtomically, ALimitOfTheSizeOfFilesIsAFailure) {
    std::string folder = ::testing::TempDir() + "rknpu2_file_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    const std::string path = folder + "/s.json";
    const auto writes_too_much = [&] {
        const rlimit limit{4096, 4096};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
        for (int i = 0; i < 2; ++i) {
            const Status status = write_file_atomically(path, std::string(5000, 'x'));
            if (status.message() != "cannot write " + path + ": File too large") return 2;
        }
        if (!write_file_atomically(path, std::string(4096, 'x')).ok()) return 3;
        const FileDescriptor file = open_file(path.c_str(), O_RDWR);
        if (write_at(file.number(), "xyz", 3, 4095).message() != "cannot be written: File too large")
            return 4;
        sigset_t pending;
        sigpending(&pending);
        return sigismember(&pending, SIGXFSZ) != 0 ? 5 : 0;
    };
    EXPECT_EQ(status_alone(writes_too_much), 0);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1) << "a partial file was left";
    EXPECT_EQ(std::filesystem::file_size(path), 4096U);
    const int status = status_alone([&] {
        const int result = writes_too_much();
        const FileDescriptor file = open_file(path.c_str(), O_RDWR | O_APPEND);
        static_cast<void>(!::write(file.number(), "x", 1));
        return result;
    });
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ) << status;
    // A host that holds the signal back itself keeps the one that it has.
    const int held = status_alone([&] {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGXFSZ);
        sigprocmask(SIG_BLOCK, &set, nullptr);
        raise(SIGXFSZ);
        if (writes_too_much() != 5) return 1;
        sigset_t now;
        sigprocmask(SIG_BLOCK, nullptr, &now);
        return sigismember(&now, SIGXFSZ) != 0 ? 0 : 2;
    });
    EXPECT_EQ(held, 0);
    std::filesystem::remove_all(folder);
}

// A daemon, or `program <&- >&- 2>&-`: the next descriptors are those of the standard streams.
TEST(OpenFile, NeverStandsForAStandardStream) {
    std::string folder = ::testing::TempDir() + "rknpu2_file_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    const std::string path = folder + "/file";
    EXPECT_EQ(status_alone([&] {
                  for (const int closed : {2, 1, 0}) {
                      ::close(closed);
                      const FileDescriptor written = open_file(path.c_str(), O_RDWR | O_CREAT, 0600);
                      if (written.number() < 3) return 1;
                      if ((::fcntl(written.number(), F_GETFD) & FD_CLOEXEC) == 0) return 2;
                      const FileDescriptor folders = open_file(folder.c_str(), O_RDONLY | O_DIRECTORY);
                      if (folders.number() < 3) return 3;
                      if (open_file_at(folders.number(), "file", O_RDONLY).number() < 3) return 4;
                      if (open_regular_file(path).value().file.number() < 3) return 5;
                      std::FILE* const stream = open_stream_to(path);
                      if (stream == nullptr || ::fileno(stream) < 3) return 6;
                      std::fclose(stream);
                      if (::fcntl(closed, F_GETFD) != -1) return 7;  // nothing is left there
                  }
                  return open_file((folder + "/none").c_str(), O_RDONLY).is_open() || errno != ENOENT ? 8 : 0;
              }),
              0);
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace rknpu2
