#include "sim/random/model.hpp"

#include <algorithm>
#include <cstring>

#include "base/format.hpp"
#include "matrix/layout.hpp"

namespace rknnsim_random {
namespace {

using rknpu2::DType;
using rknpu2::format;

rknn_tensor_type number_of(DType type) {
    switch (type) {
        case DType::kFloat16:
            return 1;
        case DType::kInt8:
            return 2;
        case DType::kInt16:
            return 4;
        case DType::kInt32:
            return 6;
        case DType::kInt4:
            return 10;
        default:
            return 0;
    }
}

bool is_object(const std::string& name, const rknn_matmul_tensor_attr& a, const rknn_matmul_tensor_attr& b) {
    return name == a.name && a.n_dims == b.n_dims && a.size == b.size && a.type == b.type &&
           std::memcmp(a.dims, b.dims, sizeof a.dims) == 0;
}

}  // namespace

bool Context::converts(int operand) const {
    if (operand == kC) return false;
    return operand == kA ? info.AC_layout == 0 : info.B_layout != 1;
}

rknn_matmul_tensor_attr attr_of(const rknn_matmul_info& info, int operand, int M) {
    rknn_matmul_tensor_attr attr{};
    attr.name[0] = "ABC"[operand];
    const DType type = operand == kC ? output_of(info.type) : input_of(info.type);
    const auto rows = static_cast<uint32_t>(M);
    const auto K = static_cast<uint32_t>(info.K);
    const auto N = static_cast<uint32_t>(info.N);
    const auto atom = static_cast<uint32_t>(rknpu2::atom_elements(type));
    const auto group = static_cast<uint32_t>(rknpu2::kernel_group(type));
    std::vector<uint32_t> dims;
    if (operand == kB) {
        dims = info.B_layout == 0 ? std::vector<uint32_t>{K, N} : std::vector<uint32_t>{N, K};
        if (info.B_layout == 1) dims = {N / group, K / 32, group, 32};
    } else {
        const uint32_t columns = operand == kA ? K : N;
        dims = {rows, columns};
        if (info.AC_layout == 1) dims = {columns / atom, rows, atom};
    }
    attr.n_dims = static_cast<uint32_t>(dims.size());
    size_t elements = 1;
    for (size_t i = 0; i < dims.size(); ++i) {
        attr.dims[i] = dims[i];
        elements *= dims[i];
    }
    attr.size = static_cast<uint32_t>(rknpu2::dtype_bytes(type, elements));
    attr.type = number_of(type);
    return attr;
}

const rknnsim_random::Context* Model::context(int slot) const {
    const auto found = contexts_.find(slot);
    return found == contexts_.end() || !found->second.live ? nullptr : &found->second;
}

const Memory* Model::memory(int slot) const {
    const auto found = memories_.find(slot);
    return found == memories_.end() || !found->second.live ? nullptr : &found->second;
}

int Model::live_contexts() const {
    return static_cast<int>(std::count_if(contexts_.begin(), contexts_.end(),
                                          [](const auto& entry) { return entry.second.live; }));
}

uint64_t Model::used(int domain) const {
    std::map<const Allocation*, uint64_t> seen;
    for (const auto& [slot, mem] : memories_) {
        if (mem.live && mem.allocation->domain == domain)
            seen[mem.allocation.get()] = mem.allocation->pages();
    }
    uint64_t total = 0;
    for (const auto& [allocation, pages] : seen)
        total += pages;
    return total;
}

std::string Model::apply(const Step& step, const Outcome& outcome) {
    const Expect expect = predict(step);
    if (expect.unsure && (outcome.code != 0 || !expect.ok)) return "";
    if (expect.ok) {
        if (outcome.code == 0) return effect(step, &outcome);
        return format("expected success, got %d", outcome.code);
    }
    if (outcome.code == 0) {
        if (outcome.messages > 0) return "";  // told, as a warning
        return format("expected an error (%s), got success without a message", expect.why);
    }
    const bool returns_memory = step.call >= Call::kCreateMem && step.call <= Call::kFromPhys;
    if (returns_memory || (outcome.code < 0 && (expect.code == 0 || expect.code == outcome.code))) return "";
    return format("expected error %d (%s), got %d", expect.code, expect.why, outcome.code);
}

void Model::plan(const Step& step) {
    if (predict(step).ok) effect(step, nullptr);
}

// What a call that succeeded means. `outcome` is nullptr when planning.
std::string Model::effect(const Step& step, const Outcome* outcome) {
    switch (step.call) {
        case Call::kCreate:
        case Call::kCreateDynamic:
            return create(step, outcome);
        case Call::kSelectShape:
            contexts_[step.ctx].M = step.shapes.front().M;
            return "";
        case Call::kBind:
            return bind(step, outcome);
        case Call::kSetQuant:
            if (!contexts_[step.ctx].computes_zero()) contexts_[step.ctx].scales[step.operand] = step.scale;
            return "";
        case Call::kGetQuant:
            if (outcome == nullptr || outcome->scale == 1.0F) return "";
            return format("expected the scale 1, got %g", outcome->scale);
        case Call::kRun:
        case Call::kCollide:
            return run(step, outcome);
        case Call::kDestroy:
            contexts_[step.ctx].live = false;
            return "";
        case Call::kConvertB:
            convert(step);
            return "";
        case Call::kCreateMem:
        case Call::kCreateMem2:
        case Call::kFromFd:
        case Call::kFromPhys:
            return add_memory(step, outcome);
        case Call::kDestroyMem:
            memories_[step.mem].live = false;
            memories_[step.mem].allocation.reset();
            return "";
        case Call::kSync:
            if ((step.flags & 1U) != 0) clean(memories_[step.mem], memories_[step.mem].size);
            return "";
        case Call::kWrite:
            write(step);
            return "";
        case Call::kInspect:
            return inspect(step, outcome);
        case Call::kEditMem:
            if (memory(step.mem) != nullptr) memories_[step.mem].edited = step.edit.has_value();
            return "";
        default:
            return "";
    }
}

std::string Model::create(const Step& step, const Outcome* outcome) {
    Context& context = contexts_[step.ctx];
    context = {};
    context.live = true;
    context.info = step.info;
    context.dynamic = step.call == Call::kCreateDynamic;
    if (context.dynamic) {
        for (const rknn_matmul_shape& shape : step.shapes)
            context.rows.push_back(shape.M);
    } else {
        context.rows = {step.info.M};
        context.M = step.info.M;
    }
    if (outcome == nullptr) return "";
    if (outcome->handle == 0) return "the new context is 0";
    for (size_t i = 0; i < context.rows.size(); ++i) {
        const rknn_matmul_io_attr& got = outcome->attrs.at(i);
        const rknn_matmul_tensor_attr* const attrs[] = {&got.A, &got.B, &got.C};
        for (int operand = 0; operand < 3; ++operand) {
            const rknn_matmul_tensor_attr want = attr_of(context.info, operand, context.rows[i]);
            if (!is_object(want.name, *attrs[operand], want))
                return format("shape %zu: the attributes of %s are not the documented ones", i, want.name);
        }
    }
    return "";
}

std::string Model::add_memory(const Step& step, const Outcome* outcome) {
    Memory mem;
    mem.live = true;
    mem.size = step.size;
    mem.ctx = step.ctx;
    if (step.call == Call::kCreateMem || step.call == Call::kCreateMem2) {
        mem.allocation = std::make_shared<Allocation>();
        mem.allocation->domain = is_zero(step.ctx) ? 0 : contexts_.at(step.ctx).info.iommu_domain_id;
        mem.allocation->size = step.size;
        mem.allocation->cached = step.call == Call::kCreateMem || (step.flags & 2U) == 0;
        if (with_data_ && step.size <= kMaxData) {
            mem.allocation->cpu.resize(mem.allocation->pages());
            mem.allocation->device.resize(mem.allocation->pages());
            mem.allocation->computed.resize(mem.allocation->pages());
        }
        if (outcome != nullptr) mem.allocation->iova = outcome->mem.phys_addr;
    } else {
        const Memory& source = memories_.at(step.source);
        mem.allocation = source.allocation;
        mem.by_address = step.call == Call::kFromPhys;
        mem.offset = static_cast<uint64_t>(step.offset) + (mem.by_address ? source.offset : 0);
    }
    std::string problem;
    if (outcome != nullptr) {
        if (outcome->mem.size != mem.size) problem = "the new memory has another size";
        if (outcome->mem.phys_addr != mem.allocation->iova + mem.offset)
            problem = "the new memory has another device address than its place in the buffer";
        if (problem.empty() && step.call <= Call::kCreateMem2) problem = check_address(mem);
    }
    memories_[step.mem] = std::move(mem);
    return problem;
}

// Row "4 GiB of address space for each of 16 domains, page 0 never".
std::string Model::check_address(const Memory& memory) const {
    const Allocation& own = *memory.allocation;
    if (own.iova == 0 || own.iova % 4096 != 0 || own.iova + own.pages() > kDomainBytes)
        return format("the device address 0x%llx is not one of the domain",
                      static_cast<unsigned long long>(own.iova));
    for (const auto& [slot, other] : memories_) {
        if (!other.live || other.allocation->domain != own.domain) continue;
        const Allocation& theirs = *other.allocation;
        if (own.iova < theirs.iova + theirs.pages() && theirs.iova < own.iova + own.pages())
            return format("its device addresses overlap those of mem[%d]", slot);
    }
    return "";
}

void Model::clean(const Memory& memory, uint64_t size) {
    Allocation& allocation = *memory.allocation;
    if (allocation.cpu.empty()) return;
    std::memcpy(allocation.device.data() + memory.offset, allocation.cpu.data() + memory.offset, size);
}

// Binding C may fill with 0xAA what is still zero and no run has written: "poison".
std::string Model::poison(const Memory& memory, const std::vector<uint8_t>& now) {
    Allocation& allocation = *memory.allocation;
    for (size_t i = 0; i < now.size(); ++i) {
        const size_t at = memory.offset + i;
        if (now[i] == allocation.cpu[at]) continue;
        if (allocation.cpu[at] != 0 || now[i] != 0xAA || allocation.computed[at] != 0 || !settings_.check)
            return format("byte %zu of C: binding it changes 0x%02x to 0x%02x", i, allocation.cpu[at],
                          now[i]);
        allocation.cpu[at] = now[i];
        if (!allocation.cached) allocation.device[at] = now[i];
    }
    return "";
}

std::string Model::bind(const Step& step, const Outcome* outcome) {
    Context& context = contexts_[step.ctx];
    rknn_matmul_tensor_attr attr =
        attr_of(context.info, step.operand, context.rows.at(static_cast<size_t>(step.shape)));
    if (step.edit.has_value()) apply_edit(*step.edit, &attr);
    const int operand = attr.name[0] - 'A';
    Binding& binding = context.bindings[operand];
    binding = {.bound = true, .M = context.M, .mem = step.mem, .size = attr.size};
    binding.converted = context.converts(operand);
    const Memory& mem = memories_[step.mem];
    if (!with_data_) return "";
    if (binding.converted) {
        const uint8_t* from = mem.allocation->cpu.data() + mem.offset;
        binding.bytes.assign(from, from + attr.size);
    } else if (operand != kC) {
        clean(mem, attr.size);
    } else if (outcome != nullptr) {
        return poison(mem, outcome->bytes);
    }
    return "";
}

// What the device computes with.
const uint8_t* Model::seen(const Context& context, int operand) const {
    const Binding& binding = context.bindings[operand];
    if (binding.converted) return binding.bytes.data();
    const Memory& mem = memories_.at(binding.mem);
    constexpr uint64_t kAutoBytes = uint64_t{1} << 20;
    const auto shadow = settings_.shadow;
    const bool copied = operand == kA || shadow == Settings::Shadow::kFull ||
                        (shadow == Settings::Shadow::kAuto && binding.size <= kAutoBytes);
    return (copied ? mem.allocation->device : mem.allocation->cpu).data() + mem.offset;
}

// The checker has to tell when the program has stored other data than the device was shown, and only then.
// Of large operands it looks only at samples, and may miss a change.
std::string Model::check_staleness(const Context& context, const Outcome& outcome) const {
    bool may = false;
    bool must = false;
    for (const int operand : {kA, kB}) {
        const Binding& binding = context.bindings[operand];
        const Memory* mem = memory(binding.mem);
        if (!in_use(context, operand) || mem == nullptr) continue;
        const uint8_t* cpu = mem->allocation->cpu.data() + mem->offset;
        const uint8_t* device =
            binding.converted ? binding.bytes.data() : mem->allocation->device.data() + mem->offset;
        if (std::memcmp(cpu, device, binding.size) == 0) continue;
        may = true;
        // Weights without a device copy have only a fingerprint, which a cleaning of a part renews.
        const bool guess = operand == kB && settings_.shadow == Settings::Shadow::kLazy;
        must = must || (operand == kA && !binding.converted) ||
               (binding.size <= 4096 && (binding.converted || !guess));
    }
    if (outcome.stale > 0 && !may) return "the checker calls an input stale that is not";
    if (outcome.stale == 0 && must && settings_.check) return "the checker says nothing of a stale input";
    return "";
}

std::string Model::check_run(const Context& context, const uint8_t* got) const {
    Operation op;
    op.type = context.info.type;
    op.M = static_cast<size_t>(context.M);
    op.K = static_cast<size_t>(context.info.K);
    op.N = static_cast<size_t>(context.info.N);
    op.b_layout = context.info.B_layout;
    if (sabotage_ == Sabotage::kSwapped) op.b_layout = op.b_layout == 2 ? 0 : 2;
    op.ac_layout = context.info.AC_layout;
    op.settings = settings_;
    op.zero = context.computes_zero() || !in_use(context, kA) || !in_use(context, kB);
    std::copy(context.scales, context.scales + 3, op.scales);
    for (const int operand : {kA, kB}) {
        if (op.zero) break;
        (operand == kA ? op.a : op.b) = seen(context, operand);
    }
    ++compared_;
    return compare(op, multiply(op), got);
}

std::string Model::run(const Step& step, const Outcome* outcome) {
    Context& context = contexts_[step.ctx];
    const uint64_t count = step.call == Call::kRun ? 1 : outcome == nullptr ? 0 : outcome->done;
    runs_ += count;
    macs_ += count * static_cast<uint64_t>(context.M) * static_cast<uint64_t>(context.info.K) *
             static_cast<uint64_t>(context.info.N);
    if (!with_data_ || outcome == nullptr) return "";
    const Binding& c = context.bindings[kC];
    if (outcome->bytes.size() != c.size)
        return format("C has %zu bytes, expected %llu", outcome->bytes.size(), (unsigned long long)c.size);
    std::vector<uint8_t> got = outcome->bytes;
    if (sabotage_ == Sabotage::kFlippedByte) got[got.size() / 2] ^= 0x40U;
    std::string problem = check_run(context, got.data());
    if (problem.empty() && step.section == 0 && step.call == Call::kRun)
        problem = check_staleness(context, *outcome);
    const Memory& mem = memories_[c.mem];
    std::fill_n(mem.allocation->computed.begin() + static_cast<ptrdiff_t>(mem.offset), c.size, uint8_t{1});
    std::copy(got.begin(), got.end(), mem.allocation->cpu.begin() + static_cast<ptrdiff_t>(mem.offset));
    clean(mem, c.size);
    return problem;
}

// Nothing may have written to a memory but the program and the runs.
std::string Model::inspect(const Step& step, const Outcome* outcome) const {
    const Memory* mem = memory(step.mem);
    if (!with_data_ || outcome == nullptr || mem == nullptr || mem->allocation->cpu.empty()) return "";
    const uint8_t* want = mem->allocation->cpu.data() + mem->offset;
    for (size_t i = 0; i < outcome->bytes.size(); ++i) {
        if (outcome->bytes[i] != want[i])
            return format("byte %zu of mem[%d]: expected 0x%02x, got 0x%02x", i, step.mem, want[i],
                          outcome->bytes[i]);
    }
    return outcome->bytes.size() == mem->size ? "" : "the memory has another size";
}

void Model::write(const Step& step) {
    const Memory* mem = memory(step.mem);
    if (mem == nullptr || mem->allocation->cpu.empty()) return;
    const size_t first = mem->offset + static_cast<size_t>(step.offset);
    fill(step.pattern, step.seed, mem->allocation->cpu.data() + first, step.size);
    if (!mem->allocation->cached)
        std::memcpy(mem->allocation->device.data() + first, mem->allocation->cpu.data() + first, step.size);
}

// The layout conversion is a function of the CPU: it stores like any other.
void Model::convert(const Step& step) {
    const Memory* from = memory(step.source);
    const Memory* to = memory(step.mem);
    if (from == nullptr || to == nullptr || !with_data_) return;
    const DType type = input_of(step.info.type);
    const auto K = static_cast<size_t>(step.info.K);
    const auto N = static_cast<size_t>(step.info.N);
    const uint8_t* source = from->allocation->cpu.data() + from->offset;
    std::vector<uint8_t> native(rknpu2::dtype_bytes(type, K * N));
    for (size_t k = 0; k < K; ++k) {
        for (size_t n = 0; n < N; ++n) {
            const size_t at = rknpu2::b_index_normal(k, n, N);
            const size_t target = rknpu2::b_index_native(k, n, K, N, type);
            if (type == DType::kInt4) {
                const int value =
                    settings_.int4_bytes ? static_cast<int8_t>(source[at]) : rknpu2::int4_get(source, at);
                rknpu2::int4_set(native.data(), target, value);
            } else {
                const size_t width = rknpu2::dtype_bytes(type, 1);
                std::memcpy(native.data() + target * width, source + at * width, width);
            }
        }
    }
    Allocation& allocation = *to->allocation;
    std::copy(native.begin(), native.end(), allocation.cpu.begin() + static_cast<ptrdiff_t>(to->offset));
    if (!allocation.cached)
        std::copy(native.begin(), native.end(),
                  allocation.device.begin() + static_cast<ptrdiff_t>(to->offset));
}

}  // namespace rknnsim_random
