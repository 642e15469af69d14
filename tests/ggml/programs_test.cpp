// SPDX-License-Identifier: MIT
// Stock llama.cpp with the plug-in when something breaks: one line of ours, an exit status, no crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>

#include "ggml/ggml_host.hpp"
#include "support/missing_path.hpp"

namespace rknpu2::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kOurs = "ggml-rknpu2: ";

class ProgramsTest : public ::testing::Test {
  protected:
    void SetUp() override { RKNPU2_NEEDS_MODEL(); }

    // llama-completion of a few tokens. Threads that wait must not spin: the tests share the machine.
    static Ended complete(const std::string& environment, const std::string& options = "",
                          const std::string& model = MODEL) {
        return run_program(command(environment, options + " -c 128 -p 'The capital of France is'", model));
    }

    static std::string command(const std::string& environment, const std::string& options,
                               const std::string& model = MODEL) {
        return "OMP_WAIT_POLICY=passive GGML_BACKEND_PATH=" PLUGIN " GGML_RKNPU2_RUNTIME=" SIMULATOR " " +
               environment + " " HOST_BIN_DIR "/llama-completion -m " + model +
               " -ngl 99 -n 4 --temp 0 --seed 1 -no-cnv " + options;
    }

    // Errors of ours; the line about the device that was found is none.
    static std::vector<std::string> complaints(const Ended& ended) {
        std::vector<std::string> lines;
        for (const std::string& line : lines_with(ended.output, kOurs)) {
            if (line.find("precision") == std::string::npos) lines.push_back(line);
        }
        return lines;
    }
};

TEST_F(ProgramsTest, NothingBreaks) {
    const Ended ended = complete("");
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("Paris"));
    EXPECT_THAT(complaints(ended), IsEmpty());
}

// Calls that come while the prompt is read and while the answer is written.
TEST_F(ProgramsTest, MatmulThatFailsInTheMiddleOfAGraph) {
    for (const int call : {100, 1000}) {
        const Ended ended =
            complete("GGML_RKNPU2_ON_ERROR=fail RKNNSIM_FAULTS=fail:rknn_matmul_run:code=-2:nth=" +
                         std::to_string(call),
                     "--no-warmup");
        EXPECT_GT(ended.status, 0) << ended.output;
        EXPECT_THAT(complaints(ended),
                    ElementsAre(HasSubstr("rknn_matmul_run: the runtime answered -2 (timed out)")))
            << ended.output;
    }
}

TEST_F(ProgramsTest, MatmulThatFailsOnceIsTriedAgain) {
    const Ended ended = complete("RKNNSIM_FAULTS=fail:rknn_matmul_run:code=-2:nth=1000", "--no-warmup");
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("Paris"));
    EXPECT_THAT(complaints(ended), ElementsAre(HasSubstr("trying again in new contexts"))) << ended.output;
}

// A slab of weights of some layer: by then the first layers have made all areas that a token needs.
constexpr const char* kPackingFails = "GGML_RKNPU2_ON_ERROR=fail RKNNSIM_FAULTS=fail:rknn_create_mem:nth=16";

TEST_F(ProgramsTest, AllocationThatFailsInTheMiddleOfPacking) {
    const Ended ended = complete(kPackingFails, "--no-warmup");
    EXPECT_GT(ended.status, 0) << ended.output;
    EXPECT_THAT(complaints(ended), ElementsAre(HasSubstr("out of memory: packing"))) << ended.output;
}

// llama.cpp does not look at what its warm-up gives; what comes after is right.
TEST_F(ProgramsTest, FailureWhileWarmingUp) {
    const Ended ended = complete(kPackingFails);
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("Paris"));
    EXPECT_THAT(complaints(ended), ElementsAre(HasSubstr("out of memory: packing"))) << ended.output;
}

TEST_F(ProgramsTest, MemoryThatIsThereTheSecondTime) {
    const Ended ended = complete("RKNNSIM_FAULTS=fail:rknn_create_mem:nth=3", "--no-warmup");
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("Paris"));
    EXPECT_THAT(complaints(ended), ElementsAre(HasSubstr("trying again in new contexts"))) << ended.output;
}

TEST_F(ProgramsTest, TruncatedModel) {
    const TemporaryFolder folder;
    const std::string model = folder.path("truncated.gguf");
    const uintmax_t size = std::filesystem::file_size(MODEL);
    for (const double part : {0.0, 0.01, 0.5, 0.999}) {
        std::filesystem::copy_file(MODEL, model, std::filesystem::copy_options::overwrite_existing);
        std::filesystem::resize_file(model, static_cast<uintmax_t>(static_cast<double>(size) * part));
        const Ended ended = complete("", "", model);
        EXPECT_GT(ended.status, 0) << "cut to " << part << "\n" << ended.output;
        EXPECT_THAT(complaints(ended), IsEmpty()) << ended.output;
    }
}

// A prompt of more than 128 tokens, which flows through whole layers, in a process that may have few threads.
// The host's own first ones write its log.
TEST_F(ProgramsTest, ThreadsThatCannotBeHad) {
    const TemporaryFolder folder;
    std::string prompt;
    for (int i = 0; i < 22; ++i)
        prompt += "The capital of France is Paris. ";
    const auto read = [&](const std::string& environment) {
        return run_program("{ " +
                           command("GGML_RKNPU2_THREADS=3 " + environment,
                                   "-t 1 --no-warmup -c 512 -p '" + prompt + "The capital of France is'") +
                           " 2>" + folder.path("log") + "; }");
    };
    const auto log = [&] { return Ended{0, run_program("cat " + folder.path("log")).output}; };
    const Ended expected = read("");
    EXPECT_EQ(expected.status, 0) << log().output;
    EXPECT_THAT(expected.output, HasSubstr(prompt + "The capital of France is Paris"));
    EXPECT_THAT(complaints(log()), IsEmpty());
    const auto expect_same = [&](const std::string& setting) {
        const Ended ended = read("LD_PRELOAD=" FAILING_THREADS " " + setting);
        EXPECT_EQ(ended.status, 0) << setting << "\n" << log().output;
        EXPECT_EQ(ended.output, expected.output) << setting;
        EXPECT_THAT(complaints(log()), ElementsAre(HasSubstr("threads could be started"))) << setting;
    };
    for (int most = 1; most <= 5; ++most)
        expect_same("RKNPU2_TEST_MOST_THREADS=" + std::to_string(most));
    // Two of the device's team, three of the lane.
    for (int first = 3; first <= 7; ++first)
        expect_same("RKNPU2_TEST_FAIL_THREADS=" + std::to_string(first) + ",1");
}

// `ulimit -f`: a packed weight that is larger is not kept, and nothing else happens.
TEST_F(ProgramsTest, ALimitOfTheSizeOfFilesEndsNothing) {
    const TemporaryFolder folder;
    run_alone([&] {
        constexpr rlim_t kMost = rlim_t{20} << 20;
        rlimit limit{};
        ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = kMost;
        ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
        const Ended ended = complete("GGML_RKNPU2_WEIGHT_CACHE=" + folder.path("weights"));
        EXPECT_EQ(ended.status, 0) << ended.output;
        EXPECT_THAT(ended.output, HasSubstr("Paris"));
        EXPECT_THAT(complaints(ended),
                    ElementsAre(AllOf(HasSubstr("packed weights are not kept"), HasSubstr("File too large"))))
            << ended.output;
        size_t files = 0;
        for (const auto& file : std::filesystem::directory_iterator(folder.path("weights"))) {
            EXPECT_EQ(file.path().extension(), ".rknpuw") << file.path();
            EXPECT_LE(file.file_size(), kMost);
            ++files;
        }
        EXPECT_GT(files, 100U) << "smaller weights are kept";
    });
}

// Without an NPU the host goes on with its CPU, and knows why.
TEST_F(ProgramsTest, RuntimeThatIsNotThere) {
    const Ended ended = complete("GGML_RKNPU2_RUNTIME=" + missing_path());
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_THAT(complaints(ended), ElementsAre(HasSubstr(missing_path() + ": no such file")));
}

TEST_F(ProgramsTest, NumberOfCoresThatDoesNotExist) {
    const Ended ended = complete("GGML_RKNPU2_CORES=9");
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_THAT(complaints(ended), ElementsAre(HasSubstr("GGML_RKNPU2_CORES=9: must be 1 to 3")));
}

}  // namespace
}  // namespace rknpu2::test
