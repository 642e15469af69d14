// SPDX-License-Identifier: MIT
#include "runtime/rknn_runtime.hpp"

#include <dlfcn.h>
#include <link.h>

#include <climits>
#include <cstring>
#include <utility>

#include "base/format.hpp"
#include "base/log.hpp"
#include "runtime/rknn_abi.hpp"
#include "system/descriptors.hpp"

namespace rknpu2 {
namespace {

// For the host and the vendor's library. Its own use of them is not known: errno 24 and then a crash was seen
// at a limit of 1024 (rk-llama.cpp, RKNPU2-deployment-guide.md, 2026).
constexpr size_t kDescriptorsToLeave = 64;

// A buffer takes one and a context some seven, and the vendor's library has been seen to crash when there is
// none.
Status check_descriptors() {
    if (descriptors_left() >= kDescriptorsToLeave) return {};
    return {StatusCode::kOutOfMemory,
            format("fewer than %zu of %zu file descriptors are left for memory of the NPU: raise "
                   "ulimit -n (65536)",
                   kDescriptorsToLeave, static_cast<size_t>(descriptor_limit()))};
}

// What a code of the runtime means; the numbers are part of the ABI.
const char* error_text(int code) {
    switch (code) {
        case -1:
            return "failed";
        case -2:
            return "timed out";
        case -3:
            return "device unavailable";
        case -4:
            return "no memory";
        case -5:
            return "invalid parameter";
        case -6:
            return "invalid model";
        case -7:
            return "invalid context";
        case -8:
            return "invalid input";
        case -9:
            return "invalid output";
        case -10:
            return "wrong device";
        default:
            return "unknown error";
    }
}

Status check(int code, const char* call) {
    if (code == 0) return {};
    StatusCode kind = StatusCode::kDeviceError;
    if (code == -2) kind = StatusCode::kTimeout;
    if (code == -3) kind = StatusCode::kDeviceUnavailable;
    if (code == -4) kind = StatusCode::kOutOfMemory;
    return {kind, format("%s: the runtime answered %d (%s)", call, code, error_text(code))};
}

int type_code(NpuArithmetic arithmetic) {
    switch (arithmetic) {
        case NpuArithmetic::kInt8:
            return rknn::kTypeInt8ToInt32;
        case NpuArithmetic::kFloat16:
            return rknn::kTypeFloat16ToFloat32;
        case NpuArithmetic::kInt4:
            return rknn::kTypeInt4ToInt16;
        case NpuArithmetic::kInt8Narrow:
            return rknn::kTypeInt8ToInt8;
        case NpuArithmetic::kFloat16Narrow:
            return rknn::kTypeFloat16ToFloat16;
    }
    return 0;
}

int16_t layout_code(Layout layout) {
    switch (layout) {
        case Layout::kNormal:
            return rknn::kLayoutNormal;
        case Layout::kNative:
            return rknn::kLayoutNative;
        case Layout::kTransposed:
            return rknn::kLayoutTransposed;
    }
    return rknn::kLayoutNative;
}

class RknnMemory final : public NpuMemory {
  public:
    RknnMemory(const rknn::Functions& functions, rknn::Context context, rknn::TensorMem* memory)
        : functions_(functions), context_(context), memory_(memory) {}
    ~RknnMemory() override { functions_.destroy_mem(context_, memory_); }

    std::byte* data() const override { return static_cast<std::byte*>(memory_->virt_addr) + memory_->offset; }
    size_t size() const override { return memory_->size; }
    rknn::TensorMem* raw() const { return memory_; }

  private:
    const rknn::Functions& functions_;
    rknn::Context context_;
    rknn::TensorMem* memory_;
};

class RknnContext final : public NpuContext {
  public:
    RknnContext(const rknn::Functions& functions, const rknn::OptionalFunctions& optional)
        : functions_(functions), optional_(optional) {}
    ~RknnContext() override {
        if (created_) functions_.matmul_destroy(context_);
    }

    Status create(const ContextSpec& spec) {
        RKNPU2_RETURN_IF_ERROR(check_descriptors());
        rknn::MatmulInfo info{};
        info.M = static_cast<int32_t>(spec.rows.back());
        info.K = static_cast<int32_t>(spec.K);
        info.N = static_cast<int32_t>(spec.N);
        info.type = type_code(spec.arithmetic);
        info.B_layout = layout_code(spec.b_layout);
        info.AC_layout = layout_code(spec.ac_layout);
        info.iommu_domain_id = spec.domain;
        for (const size_t rows : spec.rows)
            shapes_.push_back({static_cast<int32_t>(rows), info.K, info.N});
        attributes_.resize(shapes_.size());
        RKNPU2_RETURN_IF_ERROR(
            check(functions_.matmul_create_dynamic_shape(&context_, &info, static_cast<int>(shapes_.size()),
                                                         shapes_.data(), attributes_.data()),
                  "rknn_matmul_create_dynamic_shape"));
        created_ = true;
        return check(functions_.matmul_set_core_mask(context_, 1 << spec.core), "rknn_matmul_set_core_mask");
    }

    Status query_version(rknn::Version& version) {
        return check(functions_.query(context_, rknn::kQueryVersion, &version, sizeof(version)),
                     "rknn_query");
    }

    size_t operand_bytes(Operand operand, size_t index) const override {
        return attribute(operand, index).size;
    }

    Result<std::unique_ptr<NpuMemory>> allocate(size_t bytes) override {
        if (bytes > INT32_MAX) {
            return Status(StatusCode::kInvalidArgument,
                          format("%zu bytes in one device buffer are too many", bytes));
        }
        RKNPU2_RETURN_IF_ERROR(check_descriptors());
        return wrap(functions_.create_mem(context_, static_cast<uint32_t>(bytes)), "rknn_create_mem", bytes);
    }

    Result<std::unique_ptr<NpuMemory>> allocate_non_cacheable(size_t bytes) override {
        if (optional_.create_mem2 == nullptr) return NpuContext::allocate_non_cacheable(bytes);
        return wrap(optional_.create_mem2(context_, bytes, rknn::kMemoryNonCacheable), "rknn_create_mem2",
                    bytes);
    }

    Result<std::unique_ptr<NpuMemory>> import_slice(const NpuMemory& memory, size_t offset,
                                                    size_t bytes) override {
        const rknn::TensorMem* const whole = static_cast<const RknnMemory&>(memory).raw();
        const size_t first = static_cast<size_t>(whole->offset) + offset;
        if (offset + bytes > memory.size() || first > INT32_MAX) {
            return Status(StatusCode::kInternal,
                          format("a slice of %zu bytes at %zu is not in its buffer", bytes, offset));
        }
        return wrap(functions_.create_mem_from_fd(context_, whole->fd, whole->virt_addr,
                                                  static_cast<uint32_t>(bytes), static_cast<int32_t>(first)),
                    "rknn_create_mem_from_fd", bytes);
    }

    Status select_rows(size_t index) override {
        RKNPU2_RETURN_IF_ERROR(check(functions_.matmul_set_dynamic_shape(context_, &shapes_[index]),
                                     "rknn_matmul_set_dynamic_shape"));
        selected_ = index;
        return {};
    }

    Status bind(Operand operand, NpuMemory& memory) override {
        rknn::TensorAttr copy = attribute(operand, selected_);
        return check(functions_.matmul_set_io_mem(context_, static_cast<RknnMemory&>(memory).raw(), &copy),
                     "rknn_matmul_set_io_mem");
    }

    Status sync_to_device(NpuMemory& memory) override { return sync(memory, rknn::kSyncToDevice); }
    Status sync_from_device(NpuMemory& memory) override { return sync(memory, rknn::kSyncFromDevice); }
    Status run() override { return check(functions_.matmul_run(context_), "rknn_matmul_run"); }

  private:
    const rknn::TensorAttr& attribute(Operand operand, size_t index) const {
        const rknn::IoAttr& io = attributes_[index];
        if (operand == Operand::kActivations) return io.A;
        return operand == Operand::kWeights ? io.B : io.C;
    }

    Status sync(NpuMemory& memory, int direction) {
        return check(functions_.mem_sync(context_, static_cast<RknnMemory&>(memory).raw(), direction),
                     "rknn_mem_sync");
    }

    Result<std::unique_ptr<NpuMemory>> wrap(rknn::TensorMem* memory, const char* call, size_t bytes) {
        if (memory == nullptr) {
            return Status(StatusCode::kOutOfMemory, format("%s: no %zu bytes of device memory", call, bytes));
        }
        return std::unique_ptr<NpuMemory>(std::make_unique<RknnMemory>(functions_, context_, memory));
    }

    const rknn::Functions& functions_;
    const rknn::OptionalFunctions& optional_;
    rknn::Context context_ = 0;
    bool created_ = false;
    size_t selected_ = 0;
    std::vector<rknn::Shape> shapes_;
    std::vector<rknn::IoAttr> attributes_;
};

class RknnRuntime final : public NpuRuntime {
  public:
    const RuntimeInfo& info() const override { return info_; }
    CacheLines cache_lines() const override { return cache_lines_; }

    Result<std::unique_ptr<NpuContext>> create_context(const ContextSpec& spec) override {
        if (spec.rows.empty()) return Status(StatusCode::kInternal, "a context without a row count");
        auto context = std::make_unique<RknnContext>(functions_, optional_);
        RKNPU2_RETURN_IF_ERROR(context->create(spec).with_context(
            format("K=%zu N=%zu %s on core %d, domain %d", spec.K, spec.N,
                   dtype_name(operand_type(spec.arithmetic)), spec.core, spec.domain)));
        return std::unique_ptr<NpuContext>(std::move(context));
    }

    Status convert_weights(NpuArithmetic arithmetic, size_t K, size_t N, void* from, void* to) override {
        const auto convert = optional_.b_normal_layout_to_native_layout;
        if (convert == nullptr) return NpuRuntime::convert_weights(arithmetic, K, N, from, to);
        rknn::MatmulInfo info{};
        info.M = 1;
        info.K = static_cast<int32_t>(K);
        info.N = static_cast<int32_t>(N);
        info.type = type_code(arithmetic);
        info.B_layout = rknn::kLayoutNative;
        info.AC_layout = rknn::kLayoutNative;
        return check(convert(from, to, info.K, info.N, &info), "rknn_B_normal_layout_to_native_layout");
    }

    // `wait` may be null.
    Status open(const std::string& library, StartWait* wait) {
        info_.library = library;
        void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) {
            const char* const why = dlerror();
            return {StatusCode::kDeviceUnavailable,
                    format("cannot load %s: %s", library.c_str(), why ? why : "?")};
        }
        // "librknnrt.so" may have been found in several places; an old one comes first on some boards.
        if (link_map* map = nullptr; dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_name[0] != '\0')
            info_.library = map->l_name;
        RKNPU2_RETURN_IF_ERROR(find_functions(handle));
        find_optional("rknn_create_mem2", handle, optional_.create_mem2);
        find_optional("rknn_B_normal_layout_to_native_layout", handle,
                      optional_.b_normal_layout_to_native_layout);
        cache_lines_ = CacheLines(handle);
        Status status = ask_version();
        while (!status.ok() && wait != nullptr && wait->again_after(status))
            status = ask_version();
        return status;
    }

  private:
    template <typename F>
    static Status find(void* handle, const char* name, F& function) {
        function = reinterpret_cast<F>(dlsym(handle, name));
        if (function != nullptr) return {};
        return {StatusCode::kDeviceUnavailable,
                format("it has no function %s: not a librknnrt.so of version 2.0 or later", name)};
    }

    template <typename F>
    static void find_optional(const char* name, void* handle, F& function) {
        function = reinterpret_cast<F>(dlsym(handle, name));
    }

    Status find_functions(void* handle) {
        rknn::Functions& f = functions_;
        Status status = [&]() -> Status {
            RKNPU2_RETURN_IF_ERROR(
                find(handle, "rknn_matmul_create_dynamic_shape", f.matmul_create_dynamic_shape));
            RKNPU2_RETURN_IF_ERROR(find(handle, "rknn_matmul_set_dynamic_shape", f.matmul_set_dynamic_shape));
            RKNPU2_RETURN_IF_ERROR(find(handle, "rknn_matmul_set_io_mem", f.matmul_set_io_mem));
            RKNPU2_RETURN_IF_ERROR(find(handle, "rknn_matmul_set_core_mask", f.matmul_set_core_mask));
            RKNPU2_RETURN_IF_ERROR(find(handle, "rknn_matmul_run", f.matmul_run));
            RKNPU2_RETURN_IF_ERROR(find(handle, "rknn_matmul_destroy", f.matmul_destroy));
            RKNPU2_RETURN_IF_ERROR(find(handle, "rknn_create_mem", f.create_mem));
            RKNPU2_RETURN_IF_ERROR(find(handle, "rknn_create_mem_from_fd", f.create_mem_from_fd));
            RKNPU2_RETURN_IF_ERROR(find(handle, "rknn_destroy_mem", f.destroy_mem));
            RKNPU2_RETURN_IF_ERROR(find(handle, "rknn_mem_sync", f.mem_sync));
            return find(handle, "rknn_query", f.query);
        }();
        return std::move(status).with_context(info_.library);
    }

    // The version can only be asked of a context, so the smallest one is made for it; this also shows that
    // the device answers.
    Status ask_version() {
        RknnContext context(functions_, optional_);
        ContextSpec smallest;
        smallest.K = 32;
        smallest.N = 32;
        smallest.rows = {1};
        RKNPU2_RETURN_IF_ERROR(
            context.create(smallest).with_context(info_.library + ": the NPU does not answer"));
        rknn::Version version{};
        // For information alone: a runtime that multiplies is one, whatever it answers here.
        if (const Status status = context.query_version(version); !status.ok()) {
            log(LogLevel::kWarning, "%s: its version is unknown: %s", info_.library.c_str(),
                status.message().c_str());
            info_.api_version = info_.driver_version = "unknown";
            return {};
        }
        version.api_version[sizeof(version.api_version) - 1] = '\0';
        version.drv_version[sizeof(version.drv_version) - 1] = '\0';
        info_.api_version = version.api_version;
        info_.driver_version = version.drv_version;
        info_.simulated = info_.api_version.find("rknnsim") != std::string::npos;
        return {};
    }

    RuntimeInfo info_;
    rknn::Functions functions_{};
    rknn::OptionalFunctions optional_{};
    CacheLines cache_lines_;
};

}  // namespace

static Result<std::unique_ptr<NpuRuntime>> open(const std::string& library, StartWait* wait) {
    auto runtime = std::make_unique<RknnRuntime>();
    RKNPU2_RETURN_IF_ERROR(runtime->open(library, wait));
    return std::unique_ptr<NpuRuntime>(std::move(runtime));
}

Result<std::unique_ptr<NpuRuntime>> open_rknn_runtime(const std::string& library) {
    return open(library, nullptr);
}

Result<std::unique_ptr<NpuRuntime>> wait_for_rknn_runtime(const std::string& library, StartWait& wait) {
    return open(library, &wait);
}

}  // namespace rknpu2
