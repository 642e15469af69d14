// SPDX-License-Identifier: MIT
// The profile file, the report, the trace and real time: what RKNNSIM_PROFILE, _REPORT, _TRACE and _REALTIME
// do.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "api/rknnsim_time.h"
#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

using ::testing::HasSubstr;

std::string read_file(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

class TimeOutputTest : public SimTest {
  protected:
    void SetUp() override {
        SimTest::SetUp();
        std::string pattern = ::testing::TempDir() + "rknnsim-XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override {
        SimTest::TearDown();
        std::filesystem::remove_all(folder_);
    }
    std::string path(const std::string& name) const { return folder_ + "/" + name; }

    static void run_once(int type, Shape shape, int core_mask = 0, int ac_layout = 1) {
        Matmul matmul(type, shape, kBNative, ac_layout);
        EXPECT_EQ(rknn_matmul_set_core_mask(matmul.ctx(), core_mask), 0);
        EXPECT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
        EXPECT_EQ(matmul.run(), 0);
    }

    // The shipped profile with one text replaced.
    std::string profile_with(const std::string& from, const std::string& to) {
        std::string text = read_file(RKNNSIM_PROFILE_FILE);
        const size_t at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        const std::string file = path("test.profile");
        std::ofstream(file) << text.replace(at, from.size(), to);
        return file;
    }

    std::string folder_;
};

TEST_F(TimeOutputTest, AProfileCanBeGiven) {
    set("RKNNSIM_PROFILE", profile_with("submit_us = 33 ", "submit_us = 77.5 "));
    double value = 0;
    ASSERT_EQ(rknnsim_profile_get("submit_us", &value), 0);
    EXPECT_EQ(value, 77.5);
    run_once(kI8I32, {2, 64, 96});
    rknnsim_run_time time{};
    ASSERT_EQ(rknnsim_last_run(&time), 0);
    EXPECT_EQ(time.submit_ns, 77500U);
}

TEST_F(TimeOutputTest, AProfileWithAMistakeFailsEveryCall) {
    const std::pair<const char*, const char*> mistakes[] = {
        {"submit_us = 33", "submit_ms = 33"},         {"submit_us = 33", "submit_us = soon"},
        {"submit_us = 33", "submit_us = -1"},         {"submit_us = 33", "submit_us 33"},
        {"buffer_banks = 12", "buffer_banks = 12.5"}, {"submit_us = 33", "clock_mhz = 900\nsubmit_us = 33"},
        {"buffer_banks = 12", "buffer_banks = nan"},
    };
    for (const auto& [from, to] : mistakes) {
        const std::string file = profile_with(from, to);
        set("RKNNSIM_PROFILE", file);
        const std::string line = stderr_of([] { EXPECT_EQ(rknnsim_time_advance(1), -1); });
        EXPECT_THAT(line, HasSubstr(file + ":")) << to;
        EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
        rknn_matmul_ctx ctx = 0;
        rknn_matmul_info info = info_of(kI8I32, {1, 32, 32});
        rknn_matmul_io_attr attr{};
        EXPECT_EQ(rknn_matmul_create(&ctx, &info, &attr), -1);
    }
    set("RKNNSIM_PROFILE", profile_with("submit_us = 33", "# nothing"));
    EXPECT_THAT(stderr_of([] { EXPECT_EQ(rknnsim_time_advance(1), -1); }), HasSubstr("submit_us is missing"));
    set("RKNNSIM_PROFILE", path("none"));
    EXPECT_THAT(stderr_of([] { EXPECT_EQ(rknnsim_time_advance(1), -1); }), HasSubstr("No such file"));
    ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);  // nobody writes to it: no reason to wait
    set("RKNNSIM_PROFILE", path("pipe"));
    EXPECT_THAT(stderr_of([] { EXPECT_EQ(rknnsim_time_advance(1), -1); }), HasSubstr("not a regular file"));
    set("RKNNSIM_PROFILE", folder_);
    EXPECT_THAT(stderr_of([] { EXPECT_EQ(rknnsim_time_advance(1), -1); }), HasSubstr("cannot be read"));
}

TEST_F(TimeOutputTest, TheReportHasShapesTotalsAndTheError) {
    set("RKNNSIM_REPORT", path("report"));
    for (int i = 0; i < 3; ++i)
        run_once(kI8I32, {7, 576, 96});
    run_once(kF16F32, {2, 64, 48}, 2, 0);
    EXPECT_FALSE(std::filesystem::exists(path("report")));
    ASSERT_EQ(rknnsim_reset(), 0);
    const std::string text = read_file(path("report"));
    EXPECT_THAT(text, HasSubstr("4 runs"));
    EXPECT_THAT(text, ::testing::ContainsRegex("int8>int32 native +7 x 576 x 96 +3 "));
    EXPECT_THAT(text, ::testing::ContainsRegex("fp16>fp32 +normal +2 x 64 x 48 +1 "));
    EXPECT_THAT(text, HasSubstr("core 1: 1 runs"));
    EXPECT_THAT(text, HasSubstr("a model's times, not a board's"));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

// 1 MB by the runtime's call, twice, once of it both ways; 64 KB line by line.
TEST_F(TimeOutputTest, TheReportHasSyncsAndTheirBytes) {
    set("RKNNSIM_REPORT", path("report"));
    ASSERT_EQ(rknnsim_profile_set("sync_us", 1) | rknnsim_profile_set("sync_gbps", 10) |
                  rknnsim_profile_set("line_ns", 5),
              0);
    {
        Matmul matmul(kI8I32, {1, 64, 64});
        rknn_tensor_mem* mem = rknn_create_mem(matmul.ctx(), 1000000);
        EXPECT_EQ(rknn_mem_sync(matmul.ctx(), mem, 1) | rknn_mem_sync(matmul.ctx(), mem, 3), 0);
        EXPECT_EQ(rknnsim_cache_lines(mem->virt_addr, 64000, 2), 0);
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
    }
    ASSERT_EQ(rknnsim_reset(), 0);
    EXPECT_THAT(read_file(path("report")), HasSubstr("sync 0.307 ms (3 syncs of 3.1 MB)"));
}

TEST_F(TimeOutputTest, TheReportCanGoToStderrAndNamesTheProcess) {
    set("RKNNSIM_REPORT", "-");
    run_once(kI8I32, {7, 576, 96});
    EXPECT_THAT(stderr_of([] { EXPECT_EQ(rknnsim_reset(), 0); }), HasSubstr("7 x 576 x 96"));
    set("RKNNSIM_REPORT", path("report.%p"));
    run_once(kI8I32, {7, 576, 96});
    ASSERT_EQ(rknnsim_reset(), 0);
    EXPECT_TRUE(std::filesystem::exists(path("report." + std::to_string(getpid()))));
}

TEST_F(TimeOutputTest, WithoutSettingsNothingIsSaid) {
    run_once(kI8I32, {7, 576, 96});
    EXPECT_EQ(stderr_of([] { EXPECT_EQ(rknnsim_reset(), 0); }), "");
}

TEST_F(TimeOutputTest, AForkedChildWritesNothing) {
    set("RKNNSIM_REPORT", path("report"));
    run_once(kI8I32, {7, 576, 96});
    const pid_t child = fork();
    if (child == 0) {
        rknnsim_reset();
        _exit(std::filesystem::exists(path("report")) ? 1 : 0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST_F(TimeOutputTest, AFileThatCannotBeWrittenIsOneLineAtTheStart) {
    for (const char* name : {"RKNNSIM_REPORT", "RKNNSIM_TRACE"}) {
        set(name, path("no/such/folder/file"));
        const std::string line = stderr_of([] { EXPECT_EQ(rknnsim_time_advance(1), -1); });
        EXPECT_THAT(line, HasSubstr(std::string(name) + ": cannot write " + path("no/such/folder/file")));
        EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
        unsetenv(name);
        ASSERT_EQ(rknnsim_reset(), 0);
    }
}

TEST_F(TimeOutputTest, AFileThatCannotBeWrittenAtTheEndIsOneLine) {
    std::filesystem::create_directory(path("gone"));
    set("RKNNSIM_TRACE", path("gone/trace.json"));
    run_once(kI8I32, {7, 576, 96});
    std::filesystem::remove(path("gone"));
    const std::string line = stderr_of([] { EXPECT_EQ(rknnsim_reset(), 0); });
    EXPECT_THAT(line, HasSubstr("RKNNSIM_TRACE: cannot write"));
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
}

// Nanoseconds of "ts" or "dur", exactly.
int64_t ns_of(const nlohmann::json& value) {
    return std::llround(value.get<double>() * 1000);
}

TEST_F(TimeOutputTest, TheTraceIsJsonWhoseSlicesDoNotOverlap) {
    set("RKNNSIM_TRACE", path("trace.json"));
    std::vector<std::thread> threads;
    for (int core = 0; core < 3; ++core) {
        threads.emplace_back([core] {
            for (int i = 0; i < 3; ++i) {
                run_once(kI8I32, {70, 2080, 96}, 1 << core);      // two tiles
                run_once(kF16F32, {9, 8192 + 96, 48}, 0, i % 2);  // two segments, some core
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    rknnsim_time_sums sums{};
    ASSERT_EQ(rknnsim_time_totals(&sums), 0);
    ASSERT_EQ(rknnsim_reset(), 0);

    const nlohmann::json trace = nlohmann::json::parse(read_file(path("trace.json")), nullptr, false);
    ASSERT_FALSE(trace.is_discarded());
    EXPECT_EQ(trace["otherData"]["dropped"], 0);
    std::map<std::pair<int, int>, std::vector<std::pair<int64_t, int64_t>>> lanes;
    std::map<std::pair<int, int>, std::string> names;
    std::map<std::string, int64_t> time_of;
    size_t runs = 0;
    for (const nlohmann::json& event : trace["traceEvents"]) {
        const std::pair<int, int> lane{event["pid"], event["tid"]};
        if (event["name"] == "thread_name") names[lane] = event["args"]["name"];
        if (event["ph"] != "X") continue;
        const int64_t start = ns_of(event["ts"]);
        lanes[lane].emplace_back(start, start + ns_of(event["dur"]));
        if (lane.first == 1) time_of[event["name"]] += ns_of(event["dur"]);
        runs += event["args"].contains("context") ? 1 : 0;
    }
    EXPECT_EQ(runs, sums.all.runs);
    EXPECT_EQ(runs, 18U);
    for (auto& [lane, slices] : lanes) {
        EXPECT_TRUE(names.contains(lane)) << lane.first << " " << lane.second;
        std::sort(slices.begin(), slices.end());
        for (size_t i = 1; i < slices.size(); ++i)
            EXPECT_LE(slices[i - 1].second, slices[i].first) << names[lane] << " slice " << i;
    }
    // The lanes add up to the totals, but for a nanosecond of rounding a slice.
    EXPECT_NEAR(static_cast<double>(time_of["int8 70x2080x96"] + time_of["fp16 9x8288x48"]),
                static_cast<double>(sums.all.busy_ns), 1);
    EXPECT_NEAR(static_cast<double>(time_of["MAC"]), static_cast<double>(sums.all.mac_ns), 100);
    EXPECT_NEAR(static_cast<double>(time_of["MAC"] + time_of["stall"]), static_cast<double>(sums.all.busy_ns),
                100);
    EXPECT_GT(time_of["read A"], 0);
    EXPECT_GT(time_of["read C"], 0);
    EXPECT_NEAR(
        static_cast<double>(time_of["read A"] + time_of["read B"] + time_of["read C"] + time_of["write C"]),
        static_cast<double>(sums.all.dma_ns), 400);
}

// A delayed run holds its core; a lost one takes its time as well.
TEST_F(TimeOutputTest, FaultsTakeVirtualTime) {
    set("RKNNSIM_FAULTS", "delay:nth=2:us=500,lost:nth=3");
    Matmul matmul(kI8I32, {2, 64, 96});
    ASSERT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
    uint64_t lasted[4] = {};
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(matmul.run(), i == 2 ? -2 : 0);
        rknnsim_run_time time{};
        ASSERT_EQ(rknnsim_last_run(&time), 0);
        lasted[i] = time.end_ns - time.call_ns;
    }
    EXPECT_EQ(lasted[1], lasted[0] + 500000);
    EXPECT_EQ(lasted[2], lasted[0]);
    EXPECT_EQ(lasted[3], lasted[0]);
    rknnsim_time_sums sums{};
    ASSERT_EQ(rknnsim_time_totals(&sums), 0);
    EXPECT_EQ(sums.all.runs, 4U);
    EXPECT_EQ(sums.core[0].busy_ns, 500000 + 4 * (lasted[0] - sums.submit_ns / 4));
}

TEST_F(TimeOutputTest, RealTimeLastsAsLongAsTheChipWould) {
    set("RKNNSIM_REALTIME", "1");
    const auto begin = std::chrono::steady_clock::now();
    run_once(kI8I32, {2, 64, 96});
    const auto passed = std::chrono::steady_clock::now() - begin;
    rknnsim_run_time time{};
    ASSERT_EQ(rknnsim_last_run(&time), 0);
    EXPECT_GT(time.end_ns - time.call_ns, 30000U);
    EXPECT_GE(passed, std::chrono::nanoseconds(time.end_ns - time.call_ns));
}

}  // namespace
}  // namespace rknnsim_test
