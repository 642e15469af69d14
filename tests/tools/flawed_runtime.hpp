// SPDX-License-Identifier: MIT
// A device that multiplies by the specification, and then does something to its results, or does not run at
// all, or fails.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "support/fake_runtime.hpp"

namespace rknpu2::test {

struct Flaw {
    std::function<void(NpuMemory& result)> spoil;
    Status run_status;
    bool no_run = false;
    size_t largest_run = SIZE_MAX;  // of multiplications; nothing happens in one with more
    std::function<void(const ContextSpec& spec)> before_run;
    int lasts_us = 0;                                // of real time, when it does not run
    bool slices_from_start = false;                  // the offset of an import is ignored
    std::function<void(ContextSpec& spec)> misread;  // what it takes the context for
};

class FlawedContext final : public NpuContext {
  public:
    FlawedContext(std::unique_ptr<NpuContext> inner, const ContextSpec& spec, const Flaw& flaw)
        : inner_(std::move(inner)), spec_(spec), flaw_(flaw) {}

    size_t operand_bytes(Operand operand, size_t index) const override {
        return inner_->operand_bytes(operand, index);
    }
    Result<std::unique_ptr<NpuMemory>> allocate(size_t bytes) override { return inner_->allocate(bytes); }
    Result<std::unique_ptr<NpuMemory>> import_slice(const NpuMemory& memory, size_t offset,
                                                    size_t bytes) override {
        return inner_->import_slice(memory, flaw_.slices_from_start ? 0 : offset, bytes);
    }
    Status select_rows(size_t index) override { return inner_->select_rows(index); }
    Status bind(Operand operand, NpuMemory& memory) override {
        if (operand == Operand::kResult) result_ = &memory;
        return inner_->bind(operand, memory);
    }
    Status sync_to_device(NpuMemory& memory) override { return inner_->sync_to_device(memory); }
    Status sync_from_device(NpuMemory& memory) override { return inner_->sync_from_device(memory); }
    Status run() override {
        if (flaw_.before_run) flaw_.before_run(spec_);
        if (flaw_.lasts_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(flaw_.lasts_us));
        const bool too_large = spec_.rows.back() * spec_.K * spec_.N > flaw_.largest_run;
        if (!flaw_.run_status.ok() || flaw_.no_run || too_large) return flaw_.run_status;
        RKNPU2_RETURN_IF_ERROR(inner_->run());
        if (flaw_.spoil) flaw_.spoil(*result_);
        return {};
    }

  private:
    std::unique_ptr<NpuContext> inner_;
    const ContextSpec spec_;
    const Flaw& flaw_;
    NpuMemory* result_ = nullptr;
};

class FlawedRuntime final : public NpuRuntime {
  public:
    explicit FlawedRuntime(Flaw flaw = {}) : inner_(state_), flaw_(std::move(flaw)) {}
    const RuntimeInfo& info() const override { return inner_.info(); }
    Result<std::unique_ptr<NpuContext>> create_context(const ContextSpec& spec) override {
        ContextSpec taken = spec;
        if (flaw_.misread) flaw_.misread(taken);
        Result<std::unique_ptr<NpuContext>> context = inner_.create_context(taken);
        if (!context.ok()) return context;
        return std::unique_ptr<NpuContext>(std::make_unique<FlawedContext>(context.take(), spec, flaw_));
    }
    const testing::FakeState& state() const { return state_; }

  private:
    testing::FakeState state_;
    testing::FakeRuntime inner_;
    Flaw flaw_;
};

}  // namespace rknpu2::test
