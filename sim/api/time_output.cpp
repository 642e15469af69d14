// SPDX-License-Identifier: MIT
#include "api/time_output.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>

#include "api/runtime_state.hpp"
#include "base/format.hpp"
#include "core/process.hpp"
#include "core/system.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

// "%p" in a file name stands for the process id.
std::string with_process_id(std::string path) {
    const std::string id = std::to_string(getpid());
    for (size_t at = 0; (at = path.find("%p", at)) != std::string::npos; at += id.size())
        path.replace(at, 2, id);
    return path;
}

std::string part_of(const std::string& path) {
    return path + ".part" + std::to_string(getpid());
}

std::string cannot_write(const char* setting, const std::string& path) {
    return format("%s: cannot write %s: %s", setting, path.c_str(), std::strerror(errno));
}

// Said at the start, not after an hour of work.
Outcome check_writable(const char* setting, const std::string& path) {
    const std::string part = part_of(path);
    const int fd = above_standard(open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (fd < 0) return {Code::kFail, cannot_write(setting, path)};
    close(fd);
    unlink(part.c_str());
    return {};
}

// A reader never sees half a file.
void write_file(const char* setting, const std::string& path, const std::function<bool(FILE*)>& body) {
    const NoFileSizeSignal limited;
    const std::string part = part_of(path);
    const int fd = above_standard(open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    FILE* file = fd < 0 ? nullptr : fdopen(fd, "w");
    bool ok = file != nullptr && body(file);
    if (file != nullptr) ok = std::fclose(file) == 0 && ok;
    if (ok && std::rename(part.c_str(), path.c_str()) == 0) return;
    const std::string text = cannot_write(setting, path);
    unlink(part.c_str());
    print_line("error", "time", text);
}

void print_text(const std::string& text) {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

Outcome TimeOutput::create(const Settings& settings, std::unique_ptr<TimeOutput>* output) {
    auto made = std::make_unique<TimeOutput>();
    made->process_ = process_id();
    if (!settings.report.empty()) {
        made->report_path_ = with_process_id(settings.report);
        made->report_ = std::make_unique<Report>();
        if (settings.report != "-") {
            RKNNSIM_RETURN_IF_ERROR(check_writable("RKNNSIM_REPORT", made->report_path_));
        }
    }
    if (!settings.trace.empty()) {
        made->trace_path_ = with_process_id(settings.trace);
        made->trace_ = std::make_unique<Trace>();
        RKNNSIM_RETURN_IF_ERROR(check_writable("RKNNSIM_TRACE", made->trace_path_));
    }
    *output = std::move(made);
    return {};
}

std::vector<Timeline::Listener*> TimeOutput::listeners() const {
    std::vector<Timeline::Listener*> result;
    if (report_ != nullptr) result.push_back(report_.get());
    if (trace_ != nullptr) result.push_back(trace_.get());
    return result;
}

void TimeOutput::write(VirtualClock& clock) {
    if (written_ || process_id() != process_ || listeners().empty()) return;
    written_ = true;
    const TimeTotals totals = clock.totals();
    const Profile profile = clock.profile();
    clock.settled([&] {
        if (report_ != nullptr) {
            const std::string text = report_->text(totals, profile);
            if (report_path_ == "-") {
                print_text(text);
            } else {
                write_file("RKNNSIM_REPORT", report_path_,
                           [&](FILE* file) { return std::fputs(text.c_str(), file) >= 0; });
            }
        }
        if (trace_ == nullptr) return;
        write_file("RKNNSIM_TRACE", trace_path_, [&](FILE* file) { return trace_->write(file); });
        if (trace_->dropped() > 0) {
            print_line(
                "warning", "time",
                format("RKNNSIM_TRACE: the trace is full; %llu later runs and host slices are not in it",
                       static_cast<unsigned long long>(trace_->dropped())));
        }
    });
}

}  // namespace rknnsim
