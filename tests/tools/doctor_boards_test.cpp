// SPDX-License-Identifier: MIT
// The doctor says of each board that the simulator can play what that board is like, and chooses what is
// right and cheap there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "fake_board.hpp"
#include "program_run.hpp"
#include "timing/profile.hpp"

namespace rknpu2 {
namespace {

using nlohmann::json;
using test::FakeBoard;
using ::testing::HasSubstr;
using testing::Outcome;
using ::testing::StartsWith;
using testing::text_of;

class DoctorBoards : public ::testing::Test {
  protected:
    // Without settings of who runs the tests.
    json report(const std::string& settings, const std::string& arguments = "") const {
        const Outcome outcome = testing::run_program(
            RKNPU2_DOCTOR_PROGRAM, "--root '" + board_.root() + "' --runtime sim --quick --json " + arguments,
            settings, board_.root());
        EXPECT_EQ(outcome.status, 0) << settings << "\n" << outcome.out << outcome.err;
        return json::parse(outcome.out, nullptr, false);
    }

    FakeBoard board_;
};

std::map<std::string, std::string> answers(const json& report) {
    std::map<std::string, std::string> found;
    for (const json& reading : report["readings"])
        found[reading["id"]] = reading["answer"];
    return found;
}

// What the simulator plays when nothing is set, of the readings that are words.
const std::map<std::string, std::string>& default_answers() {
    static const std::map<std::string, std::string> all = {
        {"owner-sync", "works"},
        {"slab-sync", "works"},
        {"import-sync", "works"},
        {"bind-cleans", "cleans"},
        {"cache-lines", "work"},
        {"results-visible", "visible"},
        {"dirty-lines", "harmless"},
        {"non-cacheable", "old"},
        {"bind-cost", "the same for any size"},
        {"int4-input", "a byte for each value"},
        {"m-2048", "int8 to 2048; fp16 to 2048"},
        {"wide-n", "fp16 to 32768; int8 to 131072"},
        {"many-contexts", "200 or more"},
    };
    return all;
}

struct Played {
    const char* name;
    const char* settings;
    std::map<std::string, std::string> answers;  // that differ from default_answers(): how they begin
    const char* health = "ok";
};

void PrintTo(const Played& board, std::ostream* out) {
    *out << board.settings;
}

class DoctorPlayedBoards : public DoctorBoards, public ::testing::WithParamInterface<Played> {};

TEST_P(DoctorPlayedBoards, EachReadingIsSeen) {
    const Played& board = GetParam();
    const json found = report(board.settings);
    ASSERT_FALSE(found.is_discarded());
    std::map<std::string, std::string> expected = default_answers();
    for (const auto& [id, answer] : board.answers)
        expected[id] = answer;
    const std::map<std::string, std::string> given = answers(found);
    for (const auto& [id, answer] : expected) {
        ASSERT_TRUE(given.contains(id)) << id;
        EXPECT_THAT(given.at(id), StartsWith(answer)) << id;
    }
    // Whatever the board is like, both strategies are right, and whole buffers are cheaper to sync.
    EXPECT_EQ(found["coherency"]["chosen"], "owner");
    EXPECT_EQ(found["coherency"]["told"], true);
    EXPECT_EQ(found["coherency"]["owner"]["right"], true);
    EXPECT_EQ(found["coherency"]["lines"]["right"], true);
    EXPECT_EQ(found["health"], board.health);
}

INSTANTIATE_TEST_SUITE_P(
    All, DoctorPlayedBoards,
    ::testing::Values(
        Played{"Default", "RKNNSIM_BOARD=default", {}},
        Played{"ImportSync", "RKNNSIM_IMPORT_SYNC=nothing", {{"import-sync", "does nothing"}}},
        Played{"Bind", "RKNNSIM_BIND=leaves", {{"bind-cleans", "leaves the cache as it is"}}},
        Played{"Results", "RKNNSIM_RESULTS=synced", {{"results-visible", "old until synced"}}},
        Played{"Dirty", "RKNNSIM_DIRTY=overwrites", {{"dirty-lines", "overwrite results"}}},
        Played{"NonCacheable", "RKNNSIM_NON_CACHEABLE=coherent", {{"non-cacheable", "coherent"}}},
        Played{"Int4Input", "RKNNSIM_INT4_INPUT=nibbles", {{"int4-input", "two values in a byte"}}},
        Played{"Contexts",
               "RKNNSIM_CONTEXTS=150 RKNNSIM_MANY_CONTEXTS=fail",
               {{"many-contexts", "150, then: rknn_matmul_run"}}},
        Played{"Columns",
               "RKNNSIM_N_MAX=8192",
               {{"wide-n", "fp16 to 8192, and at 16384 K=64 N=16384"}},
               "warning"},
        Played{"Rows", "RKNNSIM_M_MAX=2047", {{"m-2048", "int8 to 2047, and at 2048 "}}},
        Played{"Worst",
               "RKNNSIM_BOARD=worst",
               {{"import-sync", "does nothing"},
                {"bind-cleans", "leaves the cache as it is"},
                {"results-visible", "old until synced"},
                {"dirty-lines", "overwrite results"},
                {"many-contexts", "150, then: rknn_matmul_run"}}},
        Played{"WorstWithExceptions",
               "RKNNSIM_BOARD=worst RKNNSIM_IMPORT_SYNC=works RKNNSIM_NON_CACHEABLE=coherent",
               {{"bind-cleans", "leaves the cache as it is"},
                {"results-visible", "old until synced"},
                {"dirty-lines", "overwrite results"},
                {"non-cacheable", "coherent"},
                {"many-contexts", "150, then: rknn_matmul_run"}}}),
    [](const ::testing::TestParamInfo<Played>& played) { return std::string(played.param.name); });

// A board whose syncs are slow: lines are cheaper, the profile says so, and the next doctor what it replaces.
TEST_F(DoctorBoards, WhereSyncsAreSlowLinesAreChosen) {
    rknnsim::Profile profile;
    ASSERT_TRUE(rknnsim::load_profile("", &profile).ok());
    ASSERT_TRUE(rknnsim::set_parameter("sync_gbps", 1, &profile).ok());
    std::string text;
    for (const rknnsim::ProfileParameter& parameter : rknnsim::profile_parameters())
        text += std::string(parameter.name) + " = " + std::to_string(parameter.value(profile)) + "\n";
    board_.write("/slow.profile", text);
    const std::string file = board_.root() + "/board.profile";
    const std::string argument = "--board-profile '" + file + "'";
    json found = report("RKNNSIM_PROFILE='" + board_.root() + "/slow.profile'", argument);
    EXPECT_EQ(found["coherency"]["chosen"], "lines");
    EXPECT_GT(found["coherency"]["owner"]["lost_share"], found["coherency"]["lines"]["lost_share"]);
    EXPECT_THAT(text_of(file), HasSubstr("board = simulator\nruntime = 2.3.2-rknnsim-"));
    EXPECT_THAT(text_of(file), HasSubstr("\ncoherency = lines  # "));
    found = report("", argument);
    EXPECT_EQ(found["coherency"]["chosen"], "owner");
    EXPECT_THAT(text_of(file), HasSubstr("\ncoherency = owner  # "));
    EXPECT_THAT(found.dump(), HasSubstr("in place of one that said coherency = lines"));
}

// A library that crashes or does not return where only a probe goes: a warning with its name, and the rest.
TEST_F(DoctorBoards, ACrashOrAHangOfAProbeIsAReading) {
    for (const auto& [kind, ending] : {std::pair("crash", "ended by signal 6 (Aborted)"),
                                       std::pair("block", "gave no answer for 20 s and was stopped")}) {
        const json found =
            report(std::string("RKNNSIM_FAULTS=") + kind + ":rknn_create_mem2:nth=1", "--patience 20");
        for (const json& reading : found["readings"]) {
            if (reading["id"] == "non-cacheable") {
                EXPECT_EQ(reading["state"], "crashed");
                EXPECT_EQ(reading["error"], std::string("the process with the runtime ") + ending);
            } else if (reading["state"] != "left_out") {
                EXPECT_EQ(reading["state"], "ran") << reading;
            }
        }
        EXPECT_EQ(answers(found)["many-contexts"], "200 or more");
        EXPECT_EQ(found["coherency"]["chosen"], "owner");
        EXPECT_EQ(found["health"], "warning");
        EXPECT_FALSE(found["measurements"].is_null());
    }
}

// Nothing of a simulator goes where a plug-in would find it.
TEST_F(DoctorBoards, ASimulatorsAnswersGoNowhereByThemselves) {
    const json found = report("HOME='" + board_.root() + "/home'");
    EXPECT_FALSE(std::filesystem::exists(board_.root() + "/home"));
    EXPECT_THAT(found.dump(), HasSubstr("a simulator's answers go only where --board-profile says"));
}

}  // namespace
}  // namespace rknpu2
