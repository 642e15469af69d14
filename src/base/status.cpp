// SPDX-License-Identifier: MIT
#include "base/status.hpp"

#include <exception>
#include <new>

namespace rknpu2 {
namespace {

// By code.
constexpr const char* kCodeNames[] = {
    "ok",           "invalid argument", "unsupported",        "out of memory", "device unavailable",
    "device error", "timeout",          "input/output error", "aborted",       "internal error"};

}  // namespace

const std::string& Status::message() const {
    static const auto* const empty = new std::string;  // see no_memory()
    return rep_ ? rep_->message : *empty;
}

std::string Status::to_string() const {
    const std::string name = kCodeNames[static_cast<size_t>(code())];
    return ok() ? name : name + ": " + message();
}

Status Status::no_memory() noexcept {
    // Short enough to lie in the string itself; the pointer owns nothing.
    // Never destroyed, since threads may still work while the process ends; static, since no memory is left.
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
