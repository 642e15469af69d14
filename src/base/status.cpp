// SPDX-License-Identifier: MIT
#include "base/status.hpp"

#include <exception>
#include <new>

namespace rknpu2 {

const char* status_code_name(StatusCode code) {
    switch (code) {
        case StatusCode::kOk:
            return "ok";
        case StatusCode::kInvalidArgument:
            return "invalid argument";
        case StatusCode::kUnsupported:
            return "unsupported";
        case StatusCode::kOutOfMemory:
            return "out of memory";
        case StatusCode::kDeviceUnavailable:
            return "device unavailable";
        case StatusCode::kDeviceError:
            return "device error";
        case StatusCode::kTimeout:
            return "timeout";
        case StatusCode::kIo:
            return "input/output error";
        case StatusCode::kAborted:
            return "aborted";
        case StatusCode::kInternal:
            return "internal error";
    }
    return "unknown status";
}

const std::string& Status::message() const {
    static const auto* const empty = new std::string;  // see no_memory()
    return rep_ ? rep_->message : *empty;
}

std::string Status::to_string() const {
    if (ok()) return status_code_name(StatusCode::kOk);
    return std::string(status_code_name(code())) + ": " + message();
}

Status Status::no_memory() noexcept {
    // Short enough to lie in the string itself; the pointer owns nothing.
    // Never destroyed, since threads may still be at work while the process ends; in memory that is there.
    alignas(Rep) static std::byte memory[sizeof(Rep)];
    static const auto* const rep = new (memory) Rep{StatusCode::kOutOfMemory, "host memory"};
    Status status;
    status.rep_ = std::shared_ptr<const Rep>(std::shared_ptr<const Rep>(), rep);
    return status;
}

Status Status::of_exception() noexcept {
    try {
        try {
            throw;
        } catch (const std::bad_alloc&) {
            return no_memory();
        } catch (const std::exception& error) {
            return {StatusCode::kInternal, error.what()};
        } catch (...) {
            return {StatusCode::kInternal, "unknown exception"};
        }
    } catch (...) {  // no memory for the message
        return no_memory();
    }
}

Status Status::with_context(const std::string& context) && {
    if (ok()) return std::move(*this);
    return Status(code(), context + ": " + message());
}

}  // namespace rknpu2
