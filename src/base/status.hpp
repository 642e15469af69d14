// SPDX-License-Identifier: MIT
// How our code reports failure: a value, never an exception and never an abort.
//
// Status is a code and a text; Result<T> is a Status or a T. Both are [[nodiscard]]: dropping one is a
// compiler warning. A caller that passes a failure on adds what only it knows
// (`std::move(status).with_context("packing blk.0.ffn_up")`), so the line that a user reads names the tensor and
// the cause. Cost: one pointer when all is well.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>

namespace rknpu2 {

enum class StatusCode {
    kOk,
    kInvalidArgument,    // the caller broke a documented rule
    kUnsupported,        // legal, but not something we do
    kOutOfMemory,        // host or device memory
    kDeviceUnavailable,  // no runtime, no device
    kDeviceError,        // the runtime reported a failure
    kTimeout,            // the device did not answer
    kIo,                 // files
    kAborted,            // the user asked to stop
    kInternal,           // a bug of ours
};

class [[nodiscard]] Status {
  public:
    Status() = default;  // ok
    Status(StatusCode code, std::string message)
        : rep_(std::make_shared<const Rep>(Rep{code, std::move(message)})) {}

    bool ok() const { return rep_ == nullptr; }
    StatusCode code() const { return rep_ ? rep_->code : StatusCode::kOk; }
    const std::string& message() const;  // empty when ok
    // "out of memory: packing blk.0.ffn_up.weight: ..."
    std::string to_string() const;

    // kOutOfMemory of the host's memory; makes itself without any.
    static Status no_memory() noexcept;
    // What the exception that is being handled says: no_memory(), or kInternal. Call it from a catch block.
    static Status of_exception() noexcept;

    // Puts "context: " in front of the message; does nothing to an ok status.
    Status with_context(const std::string& context) &&;

  private:
    struct Rep {
        StatusCode code;
        std::string message;
    };
    std::shared_ptr<const Rep> rep_;
};

template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit, so that `return value;` reads well
    Result(Status status) : value_(std::move(status)) {}  // NOLINT: the same; `status` must not be ok

    bool ok() const { return std::holds_alternative<T>(value_); }
    Status status() const { return ok() ? Status() : std::get<Status>(value_); }
    T& value() { return std::get<T>(value_); }
    const T& value() const { return std::get<T>(value_); }
    T take() { return std::move(std::get<T>(value_)); }
    // As Status::with_context(); does nothing to a value.
    Result with_context(const std::string& context) && {
        return ok() ? std::move(*this) : Result(status().with_context(context));
    }

  private:
    std::variant<Status, T> value_;
};

}  // namespace rknpu2

// Returns the status from the calling function unless it is ok.
#define RKNPU2_RETURN_IF_ERROR(expression)                                          \
    do {                                                                            \
        if (::rknpu2::Status status_ = (expression); !status_.ok()) return status_; \
    } while (false)

// The value of a Result: a right-hand side, or an only argument. Returns the status from the calling function
// unless it is ok.
#define RKNPU2_TAKE(expression)                                 \
    __extension__({                                             \
        auto taken_result_ = (expression);                      \
        if (!taken_result_.ok()) return taken_result_.status(); \
        taken_result_.take();                                   \
    })
