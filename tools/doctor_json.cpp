// SPDX-License-Identifier: MIT
// What the doctor found as JSON: the file of a bug report, and what its two processes tell each other.
#include <nlohmann/json.hpp>

#include "doctor_report.hpp"

namespace rknpu2 {

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
                                   self_test, measurements, measure_error, measure_crashed, readings)

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
    if (result.wrong > 0) {
        const Mismatch& first = result.first;
        to["first_wrong"] = {
            {"m", first.m}, {"n", first.n}, {"expected", first.expected}, {"got", first.got}};
    }
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

static void to_json(ordered_json& to, const MeasuredParameter& parameter) {
    to = {{"name", parameter.name},
          {"value", parameter.value},
          {"measured", parameter.measured()},
          {"source", parameter.source}};
}

static ordered_json json_of_measurements(const DoctorReport& report) {
    const Measurements& measurements = report.measurements;
    if (measurements.speeds.empty()) return nullptr;
    ordered_json shapes = ordered_json::array();
    for (const Speed& speed : measurements.speeds) {
        const SpeedShape& shape = speed.shape;
        const double predicted = predicted_us(shape, simulator_profile());
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
        if (report.profile) shapes.back()["fitted_us"] = predicted_us(shape, report.profile->profile);
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
        {"profile", report.profile ? ordered_json(report.profile->parameters) : nullptr},
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
