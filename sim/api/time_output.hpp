// SPDX-License-Identifier: MIT
// Where the virtual clock's report and trace go, and when: at the end of the process, when the library is
// unloaded, and at rknnsim_reset.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "core/settings.hpp"
#include "timing/report.hpp"
#include "timing/trace.hpp"

namespace rknnsim {

class TimeOutput {
  public:
    // An error when a file that the settings ask for cannot be made.
    static Outcome create(const Settings& settings, std::unique_ptr<TimeOutput>* output);

    // What the clock has to tell.
    std::vector<Timeline::Listener*> listeners() const;

    // Writes the files, whole or not at all; prints what went wrong. Once, and not in a forked child.
    void write(VirtualClock& clock);

  private:
    std::string report_path_;
    std::string trace_path_;
    std::unique_ptr<Report> report_;
    std::unique_ptr<Trace> trace_;
    pid_t process_ = 0;
    bool written_ = false;
};

}  // namespace rknnsim
