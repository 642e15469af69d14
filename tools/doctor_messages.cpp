// SPDX-License-Identifier: MIT
#include "doctor_messages.hpp"

#include <nlohmann/json.hpp>
#include <vector>

namespace rknpu2 {
namespace {

using nlohmann::json;

// MessagePack keeps NaN and bytes that are no UTF-8, which JSON does not.
std::string encoded(const json& message) {
    std::string bytes;
    json::to_msgpack(message, bytes);
    return bytes;
}

SelfTestResult result_of(const json& message, const SelfTestCase& test) {
    SelfTestResult result;
    result.test = test;
    result.state = static_cast<CaseState>(message["state"].get<int>());
    result.error = message["error"];
    result.wrong = message["wrong"];
    result.worst = message["worst"];
    result.as_simulator = message["as_simulator"];
    if (message.contains("first")) {
        const json& first = message["first"];
        result.first = Mismatch{first[0], first[1], first[2], first[3]};
    }
    return result;
}

Reading reading_of(const json& message, const Probe& probe) {
    Reading reading = not_tried(probe, message["error"]);
    reading.state = static_cast<CaseState>(message["state"].get<int>());
    reading.answer = message["answer"];
    for (const json& figure : message["figures"])
        reading.figures.push_back({figure[0], figure[1], figure[2], figure[3]});
    return reading;
}

Measurements measurements_of(const json& message, bool quick) {
    Measurements measurements;
    measurements.virtual_clock = message["virtual_clock"];
    measurements.rounds = message["rounds"];
    measurements.bind_us = message["bind_us"];
    const std::vector<SpeedShape> shapes = speed_shapes(quick);
    for (const json& speed : message["speeds"]) {
        measurements.speeds.push_back(
            {shapes.at(measurements.speeds.size()), speed[0], speed[1], speed[2], speed[3], speed[4]});
    }
    return measurements;
}

}  // namespace

std::string message_of_opened(const RuntimeInfo& info) {
    return encoded({{"kind", "opened"},
                    {"library", info.library},
                    {"api_version", info.api_version},
                    {"driver_version", info.driver_version},
                    {"simulated", info.simulated}});
}

std::string message_of_no_runtime(const std::string& error) {
    return encoded({{"kind", "no runtime"}, {"error", error}});
}

std::string message_of_waiting() {
    return encoded({{"kind", "waiting"}});
}

std::string message_of_no_lock(const std::string& error) {
    return encoded({{"kind", "no lock"}, {"error", error}});
}

std::string message_of_beginning(const std::string& what) {
    return encoded({{"kind", "beginning"}, {"what", what}});
}

std::string message_of_result(const SelfTestResult& result) {
    json message = {{"kind", "result"},      {"state", static_cast<int>(result.state)},
                    {"error", result.error}, {"wrong", result.wrong},
                    {"worst", result.worst}, {"as_simulator", result.as_simulator}};
    if (result.first)
        message["first"] =
            json::array({result.first->m, result.first->n, result.first->expected, result.first->got});
    return encoded(message);
}

std::string message_of_measurements(const Measurements& measurements) {
    json speeds = json::array();
    for (const Speed& speed : measurements.speeds)
        speeds.push_back(
            json::array({speed.run_us, speed.low_us, speed.high_us, speed.gops, speed.weights_gbps}));
    return encoded({{"kind", "measurements"},
                    {"virtual_clock", measurements.virtual_clock},
                    {"rounds", measurements.rounds},
                    {"bind_us", measurements.bind_us},
                    {"speeds", speeds}});
}

std::string message_of_no_measurements(const std::string& error) {
    return encoded({{"kind", "no measurements"}, {"error", error}});
}

std::string message_of_trying_out() {
    return encoded({{"kind", "trying out"}});
}

std::string message_of_reading(const Reading& reading) {
    json figures = json::array();
    for (const Figure& figure : reading.figures)
        figures.push_back(json::array({figure.name, figure.value, figure.of, figure.unit}));
    return encoded({{"kind", "reading"},
                    {"state", static_cast<int>(reading.state)},
                    {"error", reading.error},
                    {"answer", reading.answer},
                    {"figures", figures}});
}

std::string message_of_end() {
    return encoded({{"kind", "end"}});
}

void apply_message(const std::string& bytes, const std::vector<SelfTestCase>& cases, DoctorReport& report,
                   Told& told) {
    const json message = json::from_msgpack(bytes);
    const std::string kind = message["kind"];
    told.waiting = kind == "waiting";
    told.asks = kind == "beginning";
    if (told.waiting) report.running = "waiting for other programs that use the NPU";
    if (kind == "opened") {
        told.opened = true;
        report.runtime_error.clear();
        report.runtime = {message["library"], message["api_version"], message["driver_version"],
                          message["simulated"]};
    } else if (kind == "no runtime") {
        report.runtime_error = message["error"];
    } else if (kind == "no lock") {
        report.lock_error = message["error"];
        if (!report.self_test.empty() && !report.measure_ended) report.measure_error = report.lock_error;
    } else if (kind == "beginning") {
        report.running = message["what"];
    } else if (kind == "result") {
        report.self_test.push_back(result_of(message, cases.at(report.self_test.size())));
    } else if (kind == "measurements") {
        report.measurements = measurements_of(message, report.quick);
    } else if (kind == "no measurements") {
        report.measure_error = message["error"];
    } else if (kind == "trying out") {
        report.measure_ended = true;
    } else if (kind == "reading") {
        report.readings.push_back(reading_of(message, probes().at(report.readings.size())));
    } else if (kind == "end") {
        told.ended = true;
        report.running = "closing the runtime";
    }
}

}  // namespace rknpu2
