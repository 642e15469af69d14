// SPDX-License-Identifier: MIT
#include "core/simulator.hpp"

#include <algorithm>
#include <mutex>

#include "base/format.hpp"
#include "core/cached_view.hpp"
#include "core/convert.hpp"

namespace rknnsim {

Simulator::Simulator(Settings settings, std::unique_ptr<Faults> faults, std::vector<Observer*> observers)
    : settings_(std::move(settings)),
      faults_(std::move(faults)),
      tier_(find_tier(settings_.kernel.c_str())),
      memory_(static_cast<uint64_t>(settings_.domain_bytes), settings_.cache),
      observers_(std::move(observers)) {}

Outcome Simulator::create_context(const Request& request, uint64_t* handle,
                                  std::shared_ptr<Context>* context) {
    Problem problem;
    RKNNSIM_RETURN_IF_ERROR(check_request(request, settings_, &problem));
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    *handle = next_handle_++;
    *context = std::make_shared<Context>(std::move(problem), *handle, settings_);
    contexts_[*handle] = *context;
    return {};
}

std::shared_ptr<Context> Simulator::find_context(uint64_t handle) const {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    const auto found = contexts_.find(handle);
    return found == contexts_.end() ? nullptr : found->second;
}

Outcome Simulator::destroy_context(uint64_t handle) {
    std::shared_ptr<Context> last;  // released after the lock
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    const auto found = contexts_.find(handle);
    if (found == contexts_.end()) return {Code::kInvalidContext, "unknown context"};
    last = std::move(found->second);
    contexts_.erase(found);
    if (contexts_.empty()) scratch_.trim();
    faults_->context_destroyed(handle);
    return {};
}

size_t Simulator::context_count() const {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    return contexts_.size();
}

std::vector<std::shared_ptr<Context>> Simulator::contexts() const {
    std::vector<std::shared_ptr<Context>> all;
    {
        const std::shared_lock<std::shared_mutex> lock(mutex_);
        for (const auto& [handle, context] : contexts_)
            all.push_back(context);
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a->handle() < b->handle(); });
    return all;
}

bool Simulator::was_context(uint64_t handle) const {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    return handle >= kFirstHandle && handle < next_handle_;
}

template <typename Body>
Outcome Simulator::ask(Body&& body) const {
    for (Observer* observer : observers_)
        RKNNSIM_RETURN_IF_ERROR(body(*observer));
    return {};
}

template <typename Body>
void Simulator::tell(Body&& body) const {
    for (Observer* observer : observers_)
        body(*observer);
}

Outcome Simulator::bind(Context& context, const OperandDesc& attr, const std::shared_ptr<Memory>& memory) {
    RKNNSIM_RETURN_IF_ERROR(context.bind(attr, memory));
    const BindEvent event{.context = context.handle(),
                          .problem = context.problem(),
                          .M = context.rows(),
                          .which = attr.which,
                          .memory = memory,
                          .bytes = attr.bytes,
                          .converted = context.converts(attr.which)};
    tell([&](Observer& observer) { observer.on_bind(event); });
    return {};
}

Outcome Simulator::sync(const char* call, const std::shared_ptr<Memory>& memory, bool to_device,
                        bool from_device) {
    SyncEvent event{.memory = *memory,
                    .to_device = to_device,
                    .from_device = from_device,
                    .call = call,
                    .activity = calls_ - ++syncs_};
    RKNNSIM_RETURN_IF_ERROR(ask([&](Observer& observer) { return observer.before_sync(event); }));
    if (memory->imported && !settings_.cache.import_syncs) {
        if (to_device) memory->allocation->declare_written(memory->offset, memory->size);
        event.passes = 0;
        tell([&](Observer& observer) { observer.on_sync(event); });
        return {};
    }
    hand_over(event);
    return {};
}

void Simulator::hand_over(SyncEvent event) {
    const Memory& memory = event.memory;
    Allocation& allocation = *memory.allocation;
    if (event.to_device) {
        allocation.declare_written(memory.offset, memory.size);
        allocation.view().clean(memory.offset, memory.size);
    }
    if (event.from_device) {
        allocation.view().invalidate(memory.offset, memory.size);
        allocation.results().read(memory.offset, memory.size);
    }
    event.passes = event.to_device && event.from_device && event.lines == 0 ? 2 : 1;
    tell([&](Observer& observer) { observer.on_sync(event); });
}

Outcome Simulator::convert(const char* call, const Problem& problem, const void* from, void* to) {
    const ConversionRequest request{call, problem, settings_.int4_bytes, from, to};
    RKNNSIM_RETURN_IF_ERROR(ask([&](Observer& observer) { return observer.before_conversion(request); }));
    b_normal_to_native(input_type(problem.type), problem.K, problem.N, settings_.int4_bytes, from, to);
    return {};
}

Outcome Simulator::release(const char* call, const Memory& memory) {
    return ask([&](Observer& observer) { return observer.before_release(call, memory); });
}

Outcome Simulator::find_range(const void* address, uint64_t bytes, Memory* range) {
    range->allocation = memory_.find_by_address(address, bytes, &range->offset);
    range->size = bytes;
    if (range->allocation != nullptr) return {};
    return {Code::kInvalidParameter,
            rknpu2::format("%llu bytes at %p are not within a buffer of this library",
                           static_cast<unsigned long long>(bytes), address)};
}

Outcome Simulator::device_bytes(const void* address, uint64_t bytes, std::byte* to) {
    ++syncs_;  // a look is no activity
    Memory range;
    RKNNSIM_RETURN_IF_ERROR(find_range(address, bytes, &range));
    range.allocation->view().look(range.offset, range.size, to);
    return {};
}

Outcome Simulator::clean_lines(const void* address, uint64_t bytes, bool invalidate) {
    if (bytes == 0) return {};
    ++syncs_;
    Memory lines;
    RKNNSIM_RETURN_IF_ERROR(find_range(address, bytes, &lines));
    const size_t first = lines.offset / kLineBytes;
    const size_t last = (lines.offset + bytes - 1) / kLineBytes;
    lines.offset = first * kLineBytes;
    lines.size = std::min((last + 1) * kLineBytes, lines.allocation->size()) - lines.offset;
    hand_over({.memory = lines, .to_device = true, .from_device = invalidate, .lines = last - first + 1});
    return {};
}

Outcome Simulator::run(const char* call, Context& context) {
    const size_t live = context_count();
    if (settings_.contexts_fail && live > static_cast<size_t>(settings_.contexts)) {
        return {Code::kFail,
                rknpu2::format("%zu contexts are alive, more than %lld (RKNNSIM_CONTEXTS)", live,
                               static_cast<long long>(settings_.contexts)),
                Rule::kManyContexts};
    }
    const RunRequest request{call, context, live};
    RKNNSIM_RETURN_IF_ERROR(ask([&](Observer& observer) { return observer.before_run(request); }));
    std::optional<RunEvent> event;
    Outcome outcome = context.run(*tier_, scratch_, *faults_, &event);
    if (event.has_value()) tell([&](Observer& observer) { observer.on_run(*event); });
    if (!outcome.ok() || !event->computed) return outcome;
    tell([&](Observer& observer) { observer.on_result(call, context); });
    ++runs_;
    macs_ += context.macs();
    return {};
}

}  // namespace rknnsim
