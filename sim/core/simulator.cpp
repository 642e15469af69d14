#include "core/simulator.hpp"

#include <algorithm>
#include <mutex>

#include "base/format.hpp"
#include "core/cached_view.hpp"

namespace rknnsim {

Simulator::Simulator(Settings settings, std::unique_ptr<Faults> faults, Observers observers,
                     Checker::Print print)
    : settings_(std::move(settings)),
      faults_(std::move(faults)),
      tier_(find_tier(settings_.kernel.c_str())),
      checker_(settings_.check, print, settings_.cache),
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

Outcome Simulator::bind(Context& context, const OperandDesc& attr, const std::shared_ptr<Memory>& memory) {
    RKNNSIM_RETURN_IF_ERROR(context.bind(attr, memory));
    for (const auto& observer : observers_) {
        observer->on_bind({.context = context.handle(),
                           .problem = context.problem(),
                           .M = context.rows(),
                           .which = attr.which,
                           .memory = memory,
                           .bytes = attr.bytes,
                           .converted = context.converts(attr.which)});
    }
    return {};
}

Outcome Simulator::sync(const char* call, const std::shared_ptr<Memory>& memory, bool to_device,
                        bool from_device) {
    const uint64_t activity = calls_ - ++syncs_;
    RKNNSIM_RETURN_IF_ERROR(checker_.before_sync(call, *memory, to_device, from_device, activity));
    if (memory->imported && !settings_.cache.import_syncs) {
        if (to_device) memory->allocation->declare_written(memory->offset, memory->size);
        tell({.memory = *memory, .to_device = to_device, .from_device = from_device, .passes = 0});
        return {};
    }
    hand_over(*memory, to_device, from_device);
    if (to_device && checker_.on()) memory->allocation->view().synced(memory->offset, memory->size, activity);
    return {};
}

void Simulator::hand_over(const Memory& memory, bool to_device, bool from_device, size_t lines) {
    Allocation& allocation = *memory.allocation;
    if (to_device) {
        allocation.declare_written(memory.offset, memory.size);
        allocation.view().clean(memory.offset, memory.size);
    }
    if (from_device) {
        allocation.view().invalidate(memory.offset, memory.size);
        allocation.results().read(memory.offset, memory.size);
    }
    tell({.memory = memory,
          .to_device = to_device,
          .from_device = from_device,
          .passes = to_device && from_device && lines == 0 ? 2 : 1,
          .lines = lines});
}

void Simulator::tell(const SyncEvent& event) {
    for (const auto& observer : observers_)
        observer->on_sync(event);
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
    hand_over(lines, true, invalidate, last - first + 1);
    return {};
}

// Said once, when runs go on: a program that keeps so many keeps them.
Outcome Simulator::check_context_count(const char* call) {
    const size_t live = context_count();
    if (static_cast<int64_t>(live) <= settings_.contexts) return {};
    const std::string text = rknpu2::format("%zu contexts are alive, more than %lld (RKNNSIM_CONTEXTS)", live,
                                            static_cast<long long>(settings_.contexts));
    if (settings_.contexts_fail) return {Code::kFail, text, Rule::kManyContexts};
    if (many_contexts_said_.exchange(true) && !checker_.strict()) return {};
    return checker_.find(Rule::kManyContexts, call,
                         text +
                             ": boards have been seen with a thousand, and one whose runs failed from here "
                             "on; destroy what is not needed");
}

Outcome Simulator::run(const char* call, Context& context) {
    RKNNSIM_RETURN_IF_ERROR(check_context_count(call));
    RKNNSIM_RETURN_IF_ERROR(checker_.before_run(call, context));
    std::optional<RunEvent> event;
    Outcome outcome = context.run(*tier_, scratch_, *faults_, &event);
    if (event.has_value()) {
        for (const auto& observer : observers_)
            observer->on_run(*event);
    }
    if (!outcome.ok() || !event->computed) return outcome;
    checker_.after_run(call, context);
    ++runs_;
    macs_ += context.macs();
    return {};
}

}  // namespace rknnsim
