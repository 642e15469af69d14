// SPDX-License-Identifier: MIT
// What the process that examines the NPU tells the doctor, as messages of watched_process.hpp. Both ends are
// the same program, so there are no versions; numbers arrive with all their bits, NaN too.
#pragma once

#include <string>

#include "doctor_report.hpp"

namespace rknpu2 {

// Encoders. A result of the self-test is that of the next case, in order.
std::string message_of_opened(const RuntimeInfo& info);
std::string message_of_no_runtime(const std::string& error);
std::string message_of_waiting();  // for other programs that use the NPU
std::string message_of_no_lock(const std::string& error);
std::string message_of_beginning(const std::string& what);
std::string message_of_result(const SelfTestResult& result);
std::string message_of_measurements(const Measurements& measurements);  // so far
std::string message_of_no_measurements(const std::string& error);
std::string message_of_trying_out();                     // measuring is over, well or not
std::string message_of_reading(const Reading& reading);  // of the next probe, in order
std::string message_of_end();

// What the messages so far amount to.
struct Told {
    bool opened = false;
    bool waiting = false;
    bool asks = false;  // and waits for an answer
    bool ended = false;
};

// Puts what a message tells into `report` and `told`; `cases`: those of the self-test.
void apply_message(const std::string& message, const std::vector<SelfTestCase>& cases, DoctorReport& report,
                   Told& told);

}  // namespace rknpu2
