// SPDX-License-Identifier: MIT
#include "doctor_report.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

using nlohmann::ordered_json;

const char* use_name(Use use) {
    switch (use) {
        case Use::kPlugin:
            return "plugin";
        case Use::kLargeModels:
            return "large_models";
        case Use::kOther:
            return "other";
    }
    return "?";
}

const char* binding_name(Binding binding) {
    switch (binding) {
        case Binding::kOwn:
            return "own";
        case Binding::kSlices:
            return "slices";
        case Binding::kRows:
            return "rows";
    }
    return "?";
}

ordered_json json_of(const Check& check) {
    return {{"id", check.id},
            {"health", health_name(check.health)},
            {"title", check.title},
            {"found", check.found},
            {"advice", check.advice}};
}

ordered_json json_of(const SelfTestResult& result) {
    const SelfTestCase& test = result.test;
    ordered_json json = {{"what", test.what},
                         {"type", dtype_name(operand_type(test.arithmetic))},
                         {"result", dtype_name(result_type(test.arithmetic))},
                         {"ac_layout", layout_name(test.ac_layout)},
                         {"b_layout", layout_name(test.b_layout)},
                         {"use", use_name(test.use)},
                         {"m", test.M},
                         {"k", test.K},
                         {"n", test.N},
                         {"core", test.core},
                         {"domain", test.domain},
                         {"binding", binding_name(test.binding)},
                         {"exact", test.integers},
                         {"ran", result.ran()},
                         {"passed", result.passed()},
                         {"error", result.error},
                         {"wrong", result.wrong}};
    if (operand_type(test.arithmetic) == DType::kFloat16) {
        json["worst_of_allowed"] = result.worst;
        json["as_simulator"] = result.as_simulator;
    }
    if (result.first) {
        json["first_wrong"] = {{"m", result.first->m},
                               {"n", result.first->n},
                               {"expected", result.first->expected},
                               {"got", result.first->got}};
    }
    return json;
}

ordered_json json_of(const Measurements& measurements, const std::optional<MeasuredProfile>& fitted) {
    const rknnsim::Profile simulator = simulator_profile();
    ordered_json speeds = ordered_json::array();
    for (const Speed& speed : measurements.speeds) {
        const SpeedShape& shape = speed.shape;
        const double predicted = predicted_us(shape, simulator);
        ordered_json json = {{"type", dtype_name(operand_type(shape.arithmetic))},
                             {"m", shape.M},
                             {"k", shape.K},
                             {"n", shape.N},
                             {"cores", shape.cores},
                             {"run_us", speed.run_us},
                             {"low_us", speed.low_us},
                             {"high_us", speed.high_us},
                             {"gops", speed.gops},
                             {"weights_gbps", speed.weights_gbps},
                             {"simulator_us", predicted},
                             {"ratio", speed.run_us / predicted}};
        if (fitted) json["fitted_us"] = predicted_us(shape, fitted->profile);
        speeds.push_back(json);
    }
    return {{"clock", measurements.virtual_clock ? "virtual" : "wall"},
            {"rounds", measurements.rounds},
            {"bind_us", measurements.bind_us},
            {"shapes", speeds}};
}

ordered_json json_of(const MeasuredProfile& profile) {
    ordered_json parameters = ordered_json::array();
    for (const MeasuredParameter& parameter : profile.parameters) {
        parameters.push_back({{"name", parameter.name},
                              {"value", parameter.value},
                              {"measured", parameter.measured},
                              {"source", parameter.source}});
    }
    return parameters;
}

const char* state_name(CaseState state) {
    switch (state) {
        case CaseState::kRan:
            return "ran";
        case CaseState::kFailed:
            return "failed";
        case CaseState::kTimedOut:
            return "timed_out";
        case CaseState::kCrashed:
            return "crashed";
        case CaseState::kLeftOut:
            return "left_out";
    }
    return "?";
}

ordered_json json_of(const Reading& reading) {
    ordered_json figures = ordered_json::array();
    for (const Figure& figure : reading.figures) {
        ordered_json json = {{"name", figure.name}, {"value", figure.value}};
        if (figure.of > 0) json["of"] = figure.of;
        if (!figure.unit.empty()) json["unit"] = figure.unit;
        figures.push_back(json);
    }
    return {{"id", reading.id},         {"title", reading.title}, {"state", state_name(reading.state)},
            {"answer", reading.answer}, {"error", reading.error}, {"figures", figures}};
}

ordered_json json_of(const Strategy& strategy) {
    return {{"right", strategy.right}, {"wrong", strategy.wrong}, {"lost_share", strategy.lost_share}};
}

ordered_json json_of(const CoherencyVerdict& choice) {
    return {{"chosen", choice.chosen},
            {"told", choice.told},
            {"owner", json_of(choice.owner)},
            {"lines", json_of(choice.lines)}};
}

ordered_json json_of_runtime(const DoctorReport& report) {
    const bool found = report.runtime_error.empty();
    return {{"found", found},
            {"error", report.runtime_error},
            {"library", report.runtime.library},
            {"api_version", report.runtime.api_version},
            {"driver_version", report.runtime.driver_version},
            {"simulated", found && report.runtime.simulated}};
}

// One line, whatever a file or a library said.
std::string clean(std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }, ' ');
    return text;
}

void add_section(const char* title, const std::string& prefix, const std::vector<Check>& checks,
                 std::string& text) {
    text += format("\n%s\n", title);
    for (const Check& check : checks) {
        if (!check.id.starts_with(prefix)) continue;
        text += format("  %-8s %s: %s", health_name(check.health), clean(check.title).c_str(),
                       clean(check.found).c_str());
        if (!check.advice.empty()) text += " -> " + clean(check.advice);
        text += "\n";
    }
}

size_t count(const std::vector<Check>& checks, Health health) {
    return static_cast<size_t>(
        std::count_if(checks.begin(), checks.end(), [&](const Check& c) { return c.health == health; }));
}

}  // namespace

std::vector<Check> DoctorReport::checks() const {
    std::vector<Check> all = system;
    const auto add_problem = [&](const char* id, const char* title, const std::string& found,
                                 const char* advice) {
        if (!found.empty()) all.push_back({id, Health::kProblem, title, found, advice});
    };
    add_problem("system.lock", "lock", lock_error,
                "programs that use the NPU at the same time can freeze a board");
    for (Check& check : checks_of(self_test))
        all.push_back(std::move(check));
    const auto skip = [&](const char* id, const char* title, const char* why) {
        all.push_back({id, Health::kSkipped, title,
                       system_only          ? "not asked for"
                       : lock_error.empty() ? why
                                            : "the NPU was not used",
                       ""});
    };
    if (self_test.empty())
        skip("self_test", "self-test", running.empty() ? "there is no runtime to test" : "not yet");
    for (const Reading& reading : readings)
        all.push_back(check_of(reading));
    if (readings.empty())
        skip("reading", "readings", running.empty() ? "there is no runtime to try" : "not yet");
    if (const std::optional<CoherencyVerdict> choice = coherency()) all.push_back(check_of(*choice));
    if (board_profile) all.push_back(*board_profile);
    if (measurements) {
        const rknnsim::Profile simulator = simulator_profile();
        for (const Speed& speed : measurements->speeds)
            all.push_back(check_of(speed, simulator));
    } else if (measure_error.empty()) {
        skip("speed", "speed", running.empty() ? "there is no runtime to measure" : "not yet");
    }
    add_problem("speed", "speed", measure_error,
                "the runtime fails under repeated runs: report it with this report's file");
    add_problem("speed.unfinished", "unfinished", running,
                "the program or the board did not get past this: report it with this report's file");
    if (!bad_end.empty())
        all.push_back(
            {"speed.end", Health::kWarning, "end",
             "after all was done, the process with the runtime " + bad_end,
             "programs that use this runtime may end like that: report it with this report's file"});
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

std::string to_json(const DoctorReport& report) {
    const std::vector<Check> checks = report.checks();
    ordered_json lines = ordered_json::array();
    for (const Check& check : checks)
        lines.push_back(json_of(check));
    ordered_json tests = ordered_json::array();
    for (const SelfTestResult& result : report.self_test)
        tests.push_back(json_of(result));
    ordered_json read = ordered_json::array();
    for (const Reading& reading : report.readings)
        read.push_back(json_of(reading));
    const std::optional<CoherencyVerdict> choice = report.coherency();
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
        {"runtime", json_of_runtime(report)},
        {"checks", lines},
        {"self_test", tests},
        {"readings", read},
        {"coherency", choice ? json_of(*choice) : ordered_json(nullptr)},
        {"measurements",
         report.measurements ? json_of(*report.measurements, report.profile) : ordered_json(nullptr)},
        {"profile", report.profile ? json_of(*report.profile) : ordered_json(nullptr)},
    };
    return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string to_text(const DoctorReport& report) {
    const std::vector<Check> checks = report.checks();
    std::string text = format("rknpu2-doctor %s, %s\n", RKNPU2_VERSION, report.when.c_str());
    add_section("System", "system", checks, text);
    add_section("Results", "self_test", checks, text);
    add_section("Readings (what was tried out, since sources disagree or are silent)", "reading", checks,
                text);
    const bool simulated = report.measurements && report.measurements->virtual_clock;
    add_section(simulated ? "Speed (SIMULATED: times of the simulator's model, nothing was measured)"
                          : "Speed (medians of wall time; submits included)",
                "speed", checks, text);
    text += format("\n%zu ok, %zu warnings, %zu problems, %zu skipped\n", count(checks, Health::kOk),
                   count(checks, Health::kWarning), count(checks, Health::kProblem),
                   count(checks, Health::kSkipped));
    return text;
}

std::vector<std::string> provenance_of(const DoctorReport& report) {
    const auto shown = [](const std::string& text) { return text.empty() ? std::string("unknown") : text; };
    const bool simulated = report.measurements && report.measurements->virtual_clock;
    std::vector<std::string> lines = {
        format("A profile for RKNNSIM_PROFILE and rknpu2-bench predict --profile, by rknpu2-doctor %s on %s.",
               RKNPU2_VERSION, report.when.c_str()),
        "board: " + shown(report.board) + "; kernel: " + shown(report.kernel),
        "runtime: " + report.runtime.library + ", " + shown(report.runtime.api_version) + "; driver " +
            shown(report.runtime.driver_version)};
    for (const Check& check : report.system) {
        if (check.id.ends_with("_clock")) lines.push_back(check.title + ": " + check.found);
    }
    lines.push_back(simulated ? "SIMULATED: the times are those of the simulator's virtual clock."
                              : format("Wall times, medians of %zu rounds.",
                                       report.measurements ? report.measurements->rounds : 0));
    return lines;
}

}  // namespace rknpu2
