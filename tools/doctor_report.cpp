// SPDX-License-Identifier: MIT
#include "doctor_report.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "runtime/board_profile.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

void add_section(const char* title, const std::string& prefix, const std::vector<Check>& checks,
                 std::string& text) {
    text += format("\n%s\n", title);
    for (const Check& check : checks) {
        if (!check.id.starts_with(prefix)) continue;
        text += format("  %-8s %s: %s", health_name(check.health), printable(check.title).c_str(),
                       printable(check.found).c_str());
        if (!check.advice.empty()) text += " -> " + printable(check.advice);
        text += "\n";
    }
}

size_t count(const std::vector<Check>& checks, Health health) {
    return static_cast<size_t>(
        std::count_if(checks.begin(), checks.end(), [&](const Check& c) { return c.health == health; }));
}

// What was there before, for people; empty: nothing.
std::string replaced_text(const std::string& path, const std::string& chosen) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return {};
    const Result<std::string> text = read_regular_file(path, 1 << 20);
    const Result<BoardAnswers> before =
        text.ok() ? parse_board_answers(text.value(), path) : Result<BoardAnswers>(text.status());
    if (!before.ok()) return ", in place of one that could not be read";
    if (before.value().coherency == chosen) return ", in place of one that said the same";
    if (before.value().coherency.empty()) return ", in place of one that told no coherency";
    return ", in place of one that said coherency = " + before.value().coherency;
}

// How wide runs may be, as a line of the profile; empty when as wide as the plug-in makes them by itself.
std::string columns_line(const DoctorReport& report) {
    const Reading* const reading = find_reading(report.readings, "wide-n");
    const size_t columns = reading != nullptr ? fewer_columns(*reading) : 0;
    if (columns == 0) return {};
    const std::string& why = reading->ran() ? reading->answer : reading->error;
    return format("columns = %zu  # %s\n", columns, printable(why).c_str());
}

// How fast the NPU is, as the plug-in's choice between NPU and CPU asks; empty when that was not measured.
std::string rates_lines(const Measurements& measurements) {
    const auto us_of = [&](const SpeedShape& shape) -> double {
        const auto speed = std::ranges::find(measurements.speeds, shape, &Speed::shape);
        return speed != measurements.speeds.end() ? speed->run_us : 0;
    };
    const double call_us = us_of(kCallShape), stream_us = us_of(kStreamShape);
    if (call_us <= 0 || stream_us <= call_us) return {};
    const double bytes = static_cast<double>(kStreamShape.K * kStreamShape.N) * kStreamShape.cores;
    MeasuredRates rates;
    rates.set(Rate::kNpuRunUs, call_us + measurements.bind_us);
    rates.set(Rate::kNpuStreamGbps, bytes / (stream_us - call_us) / 1e3);
    return rates.check().ok() ? rates.lines() : "";
}

// What the plug-in reads. There must be a choice, and one of its strategies must be right.
std::string board_profile_text(const DoctorReport& report, const std::string& root) {
    const BoardKey key = board_key(report.runtime, root);
    const CoherencyVerdict choice = report.coherency().value();
    return format("# For ggml-rknpu2, by rknpu2-doctor %s on %s.\n", RKNPU2_VERSION, report.when.c_str()) +
           format("board = %s\nruntime = %s\n", key.board.c_str(), key.runtime.c_str()) +
           format("coherency = %s  # %s\n", choice.chosen.c_str(), printable(choice.why).c_str()) +
           columns_line(report) + rates_lines(report.measurements);
}

}  // namespace

int Findings::strikes() const {
    int strikes = measure_state == StepState::kCrashed ? 1 : 0;
    const auto add = [&](const Outcome& outcome) {
        strikes += outcome.state == StepState::kTimedOut || outcome.state == StepState::kCrashed ? 1 : 0;
    };
    std::for_each(self_test.begin(), self_test.end(), add);
    std::for_each(readings.begin(), readings.end(), add);
    return strikes;
}

std::vector<Check> DoctorReport::checks() const {
    std::vector<Check> all = system;
    const auto add_problem = [&](const CheckLine& line, const std::string& found, const char* advice) {
        if (!found.empty()) all.push_back(line.problem(found, advice));
    };
    const auto add_skipped = [&](const CheckLine& line, const std::string& to_do) {
        all.push_back(line.skipped(system_only           ? "not asked for"
                                   : !lock_error.empty() ? "the NPU was not used"
                                   : running.empty()     ? "there is no runtime to " + to_do
                                                         : "not yet"));
    };
    add_problem({"system.lock", "lock"}, lock_error,
                "programs that use the NPU at the same time can freeze a board");
    for (Check& check : checks_of(self_test))
        all.push_back(std::move(check));
    if (self_test.empty()) add_skipped({"self_test", "self-test"}, "test");
    for (const Reading& reading : readings)
        all.push_back(check_of(reading));
    if (readings.empty()) add_skipped({"reading", "readings"}, "try");
    if (const std::optional<CoherencyVerdict> choice = coherency()) all.push_back(check_of(*choice));
    if (board_profile) all.push_back(*board_profile);
    for (const Speed& speed : measurements.speeds)
        all.push_back(check_of(speed));
    if (measurements.speeds.empty() && measure_error.empty()) add_skipped({"speed", "speed"}, "measure");
    if (measure_state == StepState::kLeftOut)
        all.push_back(CheckLine{"speed", "speed"}.skipped(measure_error));
    else
        add_problem({"speed", "speed"}, measure_error,
                    "the runtime fails under repeated runs: report it with this report's file");
    add_problem({"speed.unfinished", "unfinished"}, running,
                "the program or the board did not get past this: report it with this report's file");
    if (!bad_end.empty()) {
        all.push_back(CheckLine{"speed.end", "end"}.warning(
            "after all was done, the process with the runtime " + bad_end,
            "programs that use this runtime may end like that: report it with this report's file"));
    }
    return all;
}

std::optional<CoherencyVerdict> DoctorReport::coherency() const {
    if (readings.size() < probes().size()) return std::nullopt;
    return choose_coherency(readings);
}

Health worst_of(const std::vector<Check>& checks) {
    if (count(checks, Health::kProblem) > 0) return Health::kProblem;
    return count(checks, Health::kWarning) > 0 ? Health::kWarning : Health::kOk;
}

std::string to_text(const DoctorReport& report) {
    const std::vector<Check> checks = report.checks();
    std::string text = format("rknpu2-doctor %s, %s\n", RKNPU2_VERSION, report.when.c_str());
    add_section("System", "system", checks, text);
    add_section("Results", "self_test", checks, text);
    add_section("Readings (what was tried out, since sources disagree or are silent)", "reading", checks,
                text);
    const bool simulated = report.measurements.virtual_clock;
    add_section(simulated ? "Speed (SIMULATED: times of the simulator's model, nothing was measured)"
                          : "Speed (medians of wall time; submits included)",
                "speed", checks, text);
    text += format("\n%zu ok, %zu warnings, %zu problems, %zu skipped\n", count(checks, Health::kOk),
                   count(checks, Health::kWarning), count(checks, Health::kProblem),
                   count(checks, Health::kSkipped));
    return text;
}

Result<std::string> board_profile_path(const std::string& option, const Config& config,
                                       const DoctorReport& report, const std::string& root) {
    const auto nowhere = [](const char* why) { return Status(StatusCode::kUnsupported, why); };
    if (option == "none") return nowhere("not asked for");
    const std::optional<CoherencyVerdict> choice = report.coherency();
    if (!choice) return nowhere("not everything could be tried out");
    if (choice->chosen.empty()) return nowhere("no strategy is right");
    if (!(choice->chosen == "owner" ? choice->owner : choice->lines).right)
        return nowhere("what tells whether a strategy is right could not be tried out");
    const Reading* const wide = find_reading(report.readings, "wide-n");
    if (wide == nullptr || wide->state == StepState::kLeftOut)
        return nowhere("how wide runs may be could not be tried out");
    if (!option.empty()) return option;
    if (report.runtime.simulated) return nowhere("a simulator's answers go only where --board-profile says");
    if (report.quick) return nowhere("the answers of --quick go only where --board-profile says");
    if (config.profile_directory.empty()) return nowhere("there is no home; --board-profile names a file");
    return config.profile_directory + "/" + board_profile_name(board_key(report.runtime, root));
}

Status write_board_profile(const Result<std::string>& path, DoctorReport& report, const std::string& root) {
    const CheckLine line{"reading.board-profile", "board profile"};
    if (!path.ok()) {
        report.board_profile = line.skipped("not written: " + path.status().message());
        return {};
    }
    const std::string chosen = report.coherency().value().chosen;
    const std::string replaced = replaced_text(path.value(), chosen);
    std::error_code ignored;  // what is missing shows when the file is written
    std::filesystem::create_directories(std::filesystem::path(path.value()).parent_path(), ignored);
    Status status = write_file_atomically(path.value(), board_profile_text(report, root));
    report.board_profile = status.ok()
                               ? line.ok("coherency = " + chosen + ", written to " + path.value() + replaced)
                               : line.warning(status.message(), "--board-profile names another file");
    return status;
}

// The report as JSON: the file of a bug report, and what the doctor's two processes tell each other.
using nlohmann::json;
using nlohmann::ordered_json;

NLOHMANN_JSON_SERIALIZE_ENUM(StepState, {{StepState::kRan, "ran"},
                                         {StepState::kFailed, "failed"},
                                         {StepState::kTimedOut, "timed_out"},
                                         {StepState::kCrashed, "crashed"},
                                         {StepState::kLeftOut, "left_out"}})
NLOHMANN_JSON_SERIALIZE_ENUM(Use, {{Use::kPlugin, "plugin"},
                                   {Use::kLargeModels, "large_models"},
                                   {Use::kOther, "other"}})
NLOHMANN_JSON_SERIALIZE_ENUM(Binding,
                             {{Binding::kOwn, "own"}, {Binding::kSlices, "slices"}, {Binding::kRows, "rows"}})

// For messages.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RuntimeInfo, library, api_version, driver_version, simulated)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SelfTestCase, what, arithmetic, M, K, N, ac_layout, b_layout, core, domain,
                                   binding, integers, use)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Mismatch, m, n, expected, got)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SelfTestResult, state, error, test, wrong, first, worst, as_simulator)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SpeedShape, arithmetic, M, K, N, cores)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Speed, shape, run_us, low_us, high_us)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Measurements, virtual_clock, rounds, bind_us, speeds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Figure, name, value, of, unit)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Reading, state, error, id, title, answer, figures)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Findings, next, opened, running, runtime_error, runtime, lock_error, done,
                                   self_test, measurements, measure_error, measure_state, readings)

// For the report, whose names people know (docs/doctor.md).
static void to_json(ordered_json& to, const Check& check) {
    to = {{"id", check.id},
          {"health", health_name(check.health)},
          {"title", check.title},
          {"found", check.found},
          {"advice", check.advice}};
}

static void to_json(ordered_json& to, const SelfTestResult& result) {
    const SelfTestCase& test = result.test;
    to = {{"what", test.what},
          {"type", dtype_name(operand_type(test.arithmetic))},
          {"result", dtype_name(result_type(test.arithmetic))},
          {"ac_layout", layout_name(test.ac_layout)},
          {"b_layout", layout_name(test.b_layout)},
          {"use", test.use},
          {"m", test.M},
          {"k", test.K},
          {"n", test.N},
          {"core", test.core},
          {"domain", test.domain},
          {"binding", test.binding},
          {"exact", test.integers},
          {"ran", result.ran()},
          {"passed", result.passed()},
          {"error", result.error},
          {"wrong", result.wrong}};
    if (operand_type(test.arithmetic) == DType::kFloat16) {
        to["worst_of_allowed"] = result.worst;
        to["as_simulator"] = result.as_simulator;
    }
    if (result.wrong > 0) to["first_wrong"] = json(result.first);
}

static void to_json(ordered_json& to, const Figure& figure) {
    to = {{"name", figure.name}, {"value", figure.value}};
    if (figure.of > 0) to["of"] = figure.of;
    if (!figure.unit.empty()) to["unit"] = figure.unit;
}

static void to_json(ordered_json& to, const Reading& reading) {
    to = {{"id", reading.id},         {"title", reading.title}, {"state", reading.state},
          {"answer", reading.answer}, {"error", reading.error}, {"figures", reading.figures}};
}

static void to_json(ordered_json& to, const Strategy& strategy) {
    to = {{"right", strategy.right}, {"wrong", strategy.wrong}, {"lost_share", strategy.lost_share}};
}

static void to_json(ordered_json& to, const CoherencyVerdict& choice) {
    to = {{"chosen", choice.chosen}, {"told", choice.told}, {"owner", choice.owner}, {"lines", choice.lines}};
}

static ordered_json json_of_measurements(const DoctorReport& report) {
    const Measurements& measurements = report.measurements;
    if (measurements.speeds.empty()) return nullptr;
    ordered_json shapes = ordered_json::array();
    for (const Speed& speed : measurements.speeds) {
        const SpeedShape& shape = speed.shape;
        const double predicted = predicted_us(shape);
        shapes.push_back({{"type", dtype_name(operand_type(shape.arithmetic))},
                          {"m", shape.M},
                          {"k", shape.K},
                          {"n", shape.N},
                          {"cores", shape.cores},
                          {"run_us", speed.run_us},
                          {"low_us", speed.low_us},
                          {"high_us", speed.high_us},
                          {"gops", speed.gops()},
                          {"weights_gbps", speed.weights_gbps()},
                          {"simulator_us", predicted},
                          {"ratio", speed.run_us / predicted}});
    }
    return {{"clock", measurements.virtual_clock ? "virtual" : "wall"},
            {"rounds", measurements.rounds},
            {"bind_us", measurements.bind_us},
            {"shapes", shapes}};
}

std::string to_json(const DoctorReport& report) {
    const std::vector<Check> checks = report.checks();
    const std::optional<CoherencyVerdict> choice = report.coherency();
    const bool found = report.runtime_error.empty();
    const ordered_json document = {
        {"schema", 1},
        {"tool", "rknpu2-doctor"},
        {"version", RKNPU2_VERSION},
        {"when", report.when},
        {"quick", report.quick},
        {"root", report.root},
        {"board", report.board},
        {"kernel", report.kernel},
        {"health", health_name(worst_of(checks))},
        {"running", report.running},
        {"runtime",
         {{"found", found},
          {"error", report.runtime_error},
          {"library", report.runtime.library},
          {"api_version", report.runtime.api_version},
          {"driver_version", report.runtime.driver_version},
          {"simulated", found && report.runtime.simulated}}},
        {"checks", checks},
        {"self_test", report.self_test},
        {"readings", report.readings},
        {"coherency", choice ? ordered_json(*choice) : nullptr},
        {"measurements", json_of_measurements(report)},
    };
    return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

// MessagePack keeps NaN and bytes that are no UTF-8, which JSON does not.
std::string message_of(const Findings& findings) {
    std::string bytes;
    json::to_msgpack(findings, bytes);
    return bytes;
}

void read_message(const std::string& message, Findings& findings) {
    json::from_msgpack(message).get_to(findings);
}

}  // namespace rknpu2
