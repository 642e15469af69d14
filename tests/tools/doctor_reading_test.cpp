// SPDX-License-Identifier: MIT
// What follows from readings: the strategy that is chosen, the lines of the report, and the board profile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "doctor_reading.hpp"
#include "doctor_report.hpp"
#include "fake_board.hpp"
#include "flawed_runtime.hpp"
#include "runtime/board_profile.hpp"
#include "support/missing_path.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kControl = "without it";

Reading make(const std::string& id, std::vector<Figure> figures) {
    Reading reading;
    reading.id = reading.title = id;
    reading.state = StepState::kRan;
    reading.answer = "yes";
    reading.figures = std::move(figures);
    return reading;
}

Figure right(const std::string& name) {
    return {name, 64, 64, ""};
}

// A board on which both strategies are right, by fact owner is cheaper.
std::vector<Reading> good_board() {
    std::vector<Reading> readings = {
        make("owner-sync", {{kControl, 3, 64, ""}, right("activations"), right("results")}),
        make("slab-sync", {{kControl, 0, 16, ""}, right("weights")}),
        make("cache-lines",
             {{kControl, 0, 64, ""}, right("activations"), right("weights"), right("results")}),
        make("dirty-lines", {{"results over memory as the CPU left it", 60, 64, ""},
                             right("results over cleaned memory"),
                             right("results over memory cleaned by lines")}),
        make("sync-cost", {})};
    for (const char* const size : {"4 KiB", "64 KiB", "1024 KiB"}) {
        for (const char* const way : {"to the device", "from it"}) {
            readings.back().add(std::string("owner ") + way + ", " + size, 10, "us");
            readings.back().add(std::string("lines ") + way + ", " + size, 20, "us");
        }
    }
    return readings;
}

void set(std::vector<Reading>& readings, const std::string& id, const std::string& name, double value) {
    for (Reading& reading : readings) {
        for (Figure& figure : reading.figures) {
            if (reading.id == id && figure.name == name) {
                figure.value = value;
                return;
            }
        }
    }
    ADD_FAILURE() << "no " << name << " of " << id;
}

void set_lines_us(std::vector<Reading>& readings, double value) {
    for (Figure& figure : readings.back().figures) {
        if (figure.name.starts_with("lines ")) figure.value = value;
    }
}

TEST(DoctorCoherency, OfTwoRightStrategiesTheCheaperOneIsChosen) {
    std::vector<Reading> readings = good_board();
    EXPECT_EQ(choose_coherency(readings).chosen, "owner");
    set_lines_us(readings, 9.5);  // no tenth is gained
    EXPECT_EQ(choose_coherency(readings).chosen, "owner");
    set_lines_us(readings, 8);
    EXPECT_EQ(choose_coherency(readings).chosen, "lines");
    EXPECT_THAT(choose_coherency(readings).why, HasSubstr("lines: right, costs 4.2 % of a run"));
}

// One old value in any trial of any of its steps is enough.
TEST(DoctorCoherency, AStrategyIsRightWhenEachOfItsTrialsIs) {
    const std::pair<const char*, const char*> of_owner[] = {{"owner-sync", "activations"},
                                                            {"owner-sync", "results"},
                                                            {"slab-sync", "weights"},
                                                            {"dirty-lines", "results over cleaned memory"}};
    for (const auto& [id, name] : of_owner) {
        std::vector<Reading> readings = good_board();
        set(readings, id, name, 63);
        const CoherencyVerdict verdict = choose_coherency(readings);
        EXPECT_EQ(verdict.chosen, "lines") << name << " of " << id;
        EXPECT_THAT(verdict.why, HasSubstr(std::string(name) + " of " + id + " 63 of 64"));
    }
    const std::pair<const char*, const char*> of_lines[] = {
        {"cache-lines", "activations"},
        {"cache-lines", "weights"},
        {"cache-lines", "results"},
        {"dirty-lines", "results over memory cleaned by lines"}};
    for (const auto& [id, name] : of_lines) {
        std::vector<Reading> readings = good_board();
        set_lines_us(readings, 1);
        set(readings, id, name, 63);
        EXPECT_EQ(choose_coherency(readings).chosen, "owner") << name << " of " << id;
    }
}

TEST(DoctorCoherency, WhenNeitherIsRightThatIsAProblem) {
    std::vector<Reading> readings = good_board();
    set(readings, "slab-sync", "weights", 0);
    set(readings, "cache-lines", "results", 10);
    const CoherencyVerdict verdict = choose_coherency(readings);
    EXPECT_EQ(verdict.chosen, "");
    EXPECT_EQ(check_of(verdict).health, Health::kProblem);
    EXPECT_THAT(check_of(verdict).found, HasSubstr("none is right"));
}

// In doubt it is the one that the plug-in takes without a profile.
TEST(DoctorCoherency, InDoubtItIsOwner) {
    std::vector<Reading> readings = good_board();
    set_lines_us(readings, 1);
    for (const char* const id : {"owner-sync", "slab-sync", "cache-lines"})
        set(readings, id, kControl, id == std::string("slab-sync") ? 16 : 64);
    EXPECT_EQ(choose_coherency(readings).chosen, "owner");
    EXPECT_THAT(choose_coherency(readings).why, HasSubstr("no trial ever saw an old value"));

    readings = good_board();
    readings[0] = not_tried(probes()[0], {StepState::kCrashed, "ended by signal 11"});
    EXPECT_EQ(readings[0].id, "owner-sync");
    set(readings, "cache-lines", "results", 0);
    EXPECT_EQ(choose_coherency(readings).chosen, "owner");
    EXPECT_EQ(check_of(choose_coherency(readings)).health, Health::kWarning);
    EXPECT_EQ(choose_coherency({}).chosen, "owner");
}

const Probe& probe(const std::string& id) {
    return *std::find_if(probes().begin(), probes().end(), [&](const Probe& p) { return p.id == id; });
}

// A device with a cache that does nothing is right in every way, which tells nothing.
TEST(DoctorProbes, WithoutACacheTheControlSaysThatNothingCanBeTold) {
    test::FlawedRuntime runtime;
    const RuntimeClock clock(test::missing_path("none.so"));
    Bench bench{runtime, clock, true};
    for (const char* const id : {"owner-sync", "bind-cleans"}) {
        const Reading reading = run_probe(probe(id), bench);
        EXPECT_EQ(reading.state, StepState::kRan) << reading.error;
        EXPECT_EQ(reading.answer, "cannot be told: nothing was ever old");
        EXPECT_EQ(reading.figures[0].name, kControl);
    }
}

// A device whose results are wrong now and then: every count shows it.
TEST(DoctorProbes, OneWrongResultIsCounted) {
    int runs = 0;
    test::Flaw flaw;
    flaw.spoil = [&](NpuMemory& result) {
        if (++runs == 10) result.data()[5] ^= std::byte{1};
    };
    test::FlawedRuntime runtime(flaw);
    const RuntimeClock clock(test::missing_path("none.so"));
    Bench bench{runtime, clock, true};
    const Reading reading = run_probe(probe("results-visible"), bench);
    ASSERT_TRUE(reading.ran()) << reading.error;
    EXPECT_EQ(reading.answer, "old until synced");
    EXPECT_EQ(reading.find("results")->value, 7);
    EXPECT_EQ(reading.find("results")->of, 8);
}

TEST(DoctorProbes, ALimitIsWhereTheFirstShapeFails) {
    const RuntimeClock clock(test::missing_path("none.so"));
    test::Flaw narrow;
    narrow.misread = [](ContextSpec& spec) { spec.N = spec.N > 8192 ? 0 : spec.N; };  // which is refused
    test::FlawedRuntime refuses(narrow);
    Bench bench{refuses, clock, true};
    Reading wide;
    ASSERT_TRUE(probe_wide_n(bench, wide).ok());
    EXPECT_EQ(wide.find("int8")->value, 8192);
    EXPECT_EQ(wide.find("fp16")->value, 8192);
    EXPECT_THAT(wide.answer, HasSubstr("int8 to 8192, and at 16384 N"));

    // One row is right where eight are not.
    test::Flaw one_row;
    one_row.misread = [](ContextSpec& spec) { spec.N = spec.N > 4096 && spec.rows[0] > 1 ? 0 : spec.N; };
    test::FlawedRuntime only_one_row(one_row);
    Bench third{only_one_row, clock, true};
    Reading columns;
    ASSERT_TRUE(probe_wide_n(third, columns).ok());
    EXPECT_EQ(columns.find("int8")->value, 4096);
    EXPECT_EQ(columns.find("fp16")->value, 4096);
    EXPECT_THAT(columns.answer, HasSubstr("int8 to 4096, and at 8192 "));

    test::Flaw flaw;
    flaw.misread = [](ContextSpec& spec) { spec.rows[0] = std::min<size_t>(spec.rows[0], 127); };
    test::FlawedRuntime few_rows(flaw);
    Bench other{few_rows, clock, true};
    Reading rows;
    ASSERT_TRUE(probe_many_rows(other, rows).ok());
    EXPECT_EQ(rows.find("int8")->value, 127);
    EXPECT_THAT(rows.answer, HasSubstr("int8 to 127, and at 128 the runtime asks for less memory"));
}

// What --quick leaves out, on a device that does nothing for a while: times, alone and beside busy CPUs.
TEST(DoctorProbes, WhatTakesLongIsTimed) {
    test::Flaw flaw;
    flaw.no_run = true;
    flaw.lasts_us = 300;
    flaw.misread = [](ContextSpec& spec) { spec.N = std::min<size_t>(spec.N, 8192); };  // as the fake takes
    test::FlawedRuntime runtime(flaw);
    const RuntimeClock clock(test::missing_path("none.so"));
    Bench bench{runtime, clock, false};
    Reading cores;
    ASSERT_TRUE(probe_int8_three_cores(bench, cores).ok());
    EXPECT_GE(cores.find("alone")->value, 300);
    EXPECT_GE(cores.find("with every CPU busy reading memory")->value, 300);
    EXPECT_GT(cores.find("by the simulator's profile")->value, 1000);
    Reading shapes;
    ASSERT_TRUE(probe_attention_shapes(bench, shapes).ok());
    EXPECT_EQ(shapes.figures.size(), 6U);
    for (const Figure& figure : shapes.figures)
        EXPECT_GE(figure.value, 300) << figure.name;
    bench.quick = true;
    for (const Probe& probe : probes()) {
        if (probe.quick) continue;
        EXPECT_EQ(run_probe(probe, bench).error, "left out by --quick");
        EXPECT_EQ(check_of(run_probe(probe, bench)).health, Health::kSkipped);
    }
}

// The register of assumptions has a row for each.
TEST(DoctorProbes, EachHasAnIdOfItsOwnThatTheRegisterHas) {
    std::set<std::string> ids;
    std::ostringstream facts;
    facts << std::ifstream(RKNPU2_DOCS "/hardware.csv").rdbuf();
    for (const Probe& probe : probes()) {
        EXPECT_THAT(facts.str(), HasSubstr(std::string(",`") + probe.id + "`,"));
        EXPECT_TRUE(ids.insert(probe.id).second) << probe.id;
    }
}

// A report of a board on which everything was read.
class DoctorBoardProfile : public ::testing::Test {
  protected:
    DoctorBoardProfile() {
        report_.when = "2026-11-29T01:00:00Z";
        report_.runtime.library = "/usr/lib/librknnrt.so";
        report_.runtime.api_version = "2.3.2 (429f97ae6b@2025-04-09)";
        report_.readings = good_board();
        while (report_.readings.size() < probes().size())
            report_.readings.push_back(
                not_tried(probes()[report_.readings.size()], {StepState::kLeftOut, "left out"}));
        wide() = make("wide-n", {{"fp16", 32768, 0, ""}, {"int8", 131072, 0, ""}});
        config_.profile_directory = board_.root() + "/home/.config/ggml-rknpu2";
    }
    Result<std::string> place(const std::string& option = "") const {
        return board_profile_path(option, config_, report_, board_.root());
    }
    Status write(const std::string& option = "") {
        return write_board_profile(place(option), report_, board_.root());
    }

    Reading& wide() { return *std::ranges::find(report_.readings, "wide-n", &Reading::id); }

    test::FakeBoard board_;
    Config config_;
    DoctorReport report_;
};

TEST_F(DoctorBoardProfile, ThePlugInFindsWhatTheDoctorWrites) {
    ASSERT_TRUE(write().ok());
    const std::string path = config_.profile_directory + "/radxa-rock-5b-2.3.2-429f97ae6b-2025-04-09.profile";
    EXPECT_EQ(report_.board_profile->found, "coherency = owner, written to " + path);
    EXPECT_EQ(report_.board_profile->health, Health::kOk);
    const BoardProfileChoice choice = choose_board_profile(config_, report_.runtime, board_.root());
    EXPECT_EQ(choice.path, path);
    EXPECT_EQ(choice.coherency, "owner");
    EXPECT_TRUE(choice.warnings.empty()) << choice.warnings[0];
    EXPECT_THAT(to_text(report_), HasSubstr("written to " + path));
}

// What choosing between NPU and CPU asks for is there when it was measured, and can be.
TEST_F(DoctorBoardProfile, RatesOfTheNpuAreThere) {
    const auto rates = [&](double call_us, double stream_us) {
        report_.measurements.bind_us = 3;
        report_.measurements.speeds = {{kCallShape, call_us}, {kStreamShape, stream_us}};
        EXPECT_TRUE(write().ok());
        return choose_board_profile(config_, report_.runtime, board_.root()).rates;
    };
    const MeasuredRates found = rates(20, 1820);
    EXPECT_EQ(found[Rate::kNpuRunUs], 23);
    EXPECT_NEAR(*found[Rate::kNpuStreamGbps], 3 * 4096.0 * 4096 / 1800 / 1e3, 1e-3);
    EXPECT_FALSE(found[Rate::kCpuFourBitGbps]);
    EXPECT_TRUE(rates(20, 19).is_empty());
    report_.measurements.speeds.clear();
    EXPECT_TRUE(write().ok());
    EXPECT_TRUE(choose_board_profile(config_, report_.runtime, board_.root()).rates.is_empty());
}

// Where wide runs are wrong, or end the process, the plug-in is told not to make them.
TEST_F(DoctorBoardProfile, ColumnsAreThereWhereWideRunsAreNotRight) {
    const auto columns = [&](const Reading& found) {
        wide() = found;
        EXPECT_TRUE(write().ok());
        return choose_board_profile(config_, report_.runtime, board_.root()).columns;
    };
    EXPECT_EQ(columns(make("wide-n", {{"fp16", 32768, 0, ""}, {"int8", 131072, 0, ""}})), 0);
    EXPECT_EQ(columns(make("wide-n", {{"fp16", 8192, 0, ""}, {"int8", 131072, 0, ""}})), 8192);
    EXPECT_EQ(columns(make("wide-n", {{"fp16", 32768, 0, ""}, {"int8", 4096, 0, ""}})), 4096);
    EXPECT_EQ(columns(make("wide-n", {{"fp16", 0, 0, ""}, {"int8", 131072, 0, ""}})), 4096);
    EXPECT_EQ(columns(not_tried(probe("wide-n"), {StepState::kCrashed, "ended by signal 6"})), 4096);
}

// Too much went wrong before it could be tried: what an earlier doctor has found stays.
TEST_F(DoctorBoardProfile, WhatWasLeftOutReplacesNothing) {
    wide() = not_tried(probe("wide-n"), {StepState::kLeftOut, "left out"});
    EXPECT_EQ(place().status().message(), "how wide runs may be could not be tried out");
    EXPECT_EQ(place("/some/file").ok(), false);
    report_.quick = true;
    EXPECT_FALSE(place("/some/file").ok());
    report_.quick = false;
    wide() = make("wide-n", {{"fp16", 32768, 0, ""}});
    EXPECT_TRUE(place().ok());
    for (Reading& reading : report_.readings)
        if (reading.id == "slab-sync")
            reading = not_tried(probe("slab-sync"), {StepState::kLeftOut, "left out"});
    EXPECT_EQ(place().status().message(), "what tells whether a strategy is right could not be tried out");
}

TEST_F(DoctorBoardProfile, WhatIsReplacedIsSaid) {
    ASSERT_TRUE(write().ok());
    ASSERT_TRUE(write().ok());
    EXPECT_THAT(report_.board_profile->found, HasSubstr(", in place of one that said the same"));
    const std::string file = board_.root() + "/mine";
    for (const auto& [before, said] :
         {std::pair("coherency = lines\n", ", in place of one that said coherency = lines"),
          std::pair("# nothing\n", ", in place of one that told no coherency"),
          std::pair("coherency\n", ", in place of one that could not be read")}) {
        board_.write("/mine", before);
        ASSERT_TRUE(write(file).ok());
        EXPECT_THAT(report_.board_profile->found, HasSubstr(file + said));
    }
}

TEST_F(DoctorBoardProfile, WhatIsNotSureGoesNowhereByItself) {
    EXPECT_EQ(place("none").status().message(), "not asked for");
    report_.quick = true;
    EXPECT_FALSE(place().ok());
    EXPECT_EQ(place("/some/file").value(), "/some/file");
    report_.quick = false;
    report_.runtime.simulated = true;
    EXPECT_FALSE(place().ok());
    EXPECT_EQ(place("/some/file").value(), "/some/file");
    report_.runtime.simulated = false;
    config_.profile_directory.clear();
    EXPECT_FALSE(place().ok());
    set(report_.readings, "slab-sync", "weights", 0);
    set(report_.readings, "cache-lines", "results", 0);
    EXPECT_FALSE(place("/some/file").ok());
    report_.readings.pop_back();
    EXPECT_EQ(place("/some/file").status().message(), "not everything could be tried out");
    ASSERT_TRUE(write("/some/file").ok());
    EXPECT_EQ(report_.board_profile->health, Health::kSkipped);
}

TEST_F(DoctorBoardProfile, AFileThatCannotBeWrittenIsAWarning) {
    const Status status = write("/proc/no/such/file");
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(report_.board_profile->health, Health::kWarning);
    EXPECT_THAT(report_.board_profile->found, HasSubstr("/proc/no/such/file"));
}

}  // namespace
}  // namespace rknpu2
