// SPDX-License-Identifier: MIT
#include "runtime/rknn_runtime.hpp"

#include <dlfcn.h>
#include <link.h>

#include <iterator>
#include <utility>

#include "base/format.hpp"
#include "base/log.hpp"
#include "runtime/rknn_abi.hpp"
#include "system/process.hpp"

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

// What a code of the runtime means, from -1 down; the numbers are part of the ABI.
struct Answer {
    const char* text;
    StatusCode kind = StatusCode::kDeviceError;
};
constexpr Answer kAnswers[] = {{"failed"},
                               {"timed out", StatusCode::kTimeout},
                               {"device unavailable", StatusCode::kDeviceUnavailable},
                               {"no memory", StatusCode::kOutOfMemory},
                               {"invalid parameter"},
                               {"invalid model"},
                               {"invalid context"},
                               {"invalid input"},
                               {"invalid output"},
                               {"wrong device"}};

Status check(int code, const char* call) {
    if (code == 0) return {};
    const bool known = code < 0 && code >= -static_cast<int>(std::size(kAnswers));
    const auto [text, kind] = known ? kAnswers[-1 - code] : Answer{"unknown error"};
    return {kind, format("%s: the runtime answered %d (%s)", call, code, text)};
}

// By NpuArithmetic.
constexpr int kTypes[] = {rknn::kTypeInt8ToInt32, rknn::kTypeFloat16ToFloat32, rknn::kTypeInt4ToInt16,
                          rknn::kTypeInt8ToInt8, rknn::kTypeFloat16ToFloat16};
// By Layout.
constexpr int16_t kLayouts[] = {rknn::kLayoutNormal, rknn::kLayoutNative, rknn::kLayoutTransposed};

rknn::MatmulInfo matmul_info(NpuArithmetic arithmetic, size_t M, size_t K, size_t N, Layout b, Layout ac) {
    rknn::MatmulInfo info{};
    info.M = static_cast<int32_t>(M);
    info.K = static_cast<int32_t>(K);
    info.N = static_cast<int32_t>(N);
    info.type = kTypes[static_cast<size_t>(arithmetic)];
    info.B_layout = kLayouts[static_cast<size_t>(b)];
    info.AC_layout = kLayouts[static_cast<size_t>(ac)];
    return info;
}

class RknnMemory final : public NpuMemory {
  public:
    RknnMemory(const rknn::Functions& functions, rknn::Context context)
        : functions_(functions), context_(context) {}
    ~RknnMemory() override {
        if (memory_ != nullptr) functions_.destroy_mem(context_, memory_);
    }
    // Once. False: it is none.
    bool own(rknn::TensorMem* memory) {
        memory_ = memory;
        return memory != nullptr;
    }

    std::byte* data() const override { return static_cast<std::byte*>(memory_->virt_addr) + memory_->offset; }
    size_t size() const override { return memory_->size; }
    rknn::TensorMem* raw() const { return memory_; }

  private:
    const rknn::Functions& functions_;
    rknn::Context context_;
    rknn::TensorMem* memory_ = nullptr;
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
        rknn::MatmulInfo info =
            matmul_info(spec.arithmetic, spec.rows.back(), spec.K, spec.N, spec.b_layout, spec.ac_layout);
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
        return make("rknn_create_mem", bytes,
                    [&] { return functions_.create_mem(context_, static_cast<uint32_t>(bytes)); });
    }

    Result<std::unique_ptr<NpuMemory>> allocate_non_cacheable(size_t bytes) override {
        if (optional_.create_mem2 == nullptr) return NpuContext::allocate_non_cacheable(bytes);
        return make("rknn_create_mem2", bytes,
                    [&] { return optional_.create_mem2(context_, bytes, rknn::kMemoryNonCacheable); });
    }

    Result<std::unique_ptr<NpuMemory>> import_slice(const NpuMemory& memory, size_t offset,
                                                    size_t bytes) override {
        const rknn::TensorMem* const whole = static_cast<const RknnMemory&>(memory).raw();
        const size_t first = static_cast<size_t>(whole->offset) + offset;
        if (offset > memory.size() || bytes > memory.size() - offset || first > INT32_MAX) {
            return Status(StatusCode::kInternal,
                          format("a slice of %zu bytes at %zu is not in its buffer", bytes, offset));
        }
        return make("rknn_create_mem_from_fd", bytes, [&] {
            return functions_.create_mem_from_fd(context_, whole->fd, whole->virt_addr,
                                                 static_cast<uint32_t>(bytes), static_cast<int32_t>(first));
        });
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

    // The owner is there before the call, so nothing that the runtime gives is lost.
    template <typename Call>
    Result<std::unique_ptr<NpuMemory>> make(const char* name, size_t bytes, const Call& call) {
        auto memory = std::make_unique<RknnMemory>(functions_, context_);
        if (!memory->own(call()))
            return Status(StatusCode::kOutOfMemory, format("%s: no %zu bytes of device memory", name, bytes));
        return std::unique_ptr<NpuMemory>(std::move(memory));
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
        rknn::MatmulInfo info = matmul_info(arithmetic, 1, K, N, Layout::kNative, Layout::kNative);
        return check(convert(from, to, info.K, info.N, &info), "rknn_B_normal_layout_to_native_layout");
    }

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
        cache_lines_ = CacheLines(handle);
        Status status = ask_version();
        while (!status.ok() && wait != nullptr && wait->again_after(status))
            status = ask_version();
        return status;
    }

  private:
    template <typename F>
    static void find(void* handle, const char* name, F& function) {
        function = reinterpret_cast<F>(dlsym(handle, name));
    }

    Status find_functions(void* handle) {
        Status status;
        const auto need = [&](const char* name, auto& function) {
            find(handle, name, function);
            if (function != nullptr || !status.ok()) return;
            status = {StatusCode::kDeviceUnavailable,
                      format("it has no function %s: not a librknnrt.so of version 2.0 or later", name)};
        };
        need("rknn_matmul_create_dynamic_shape", functions_.matmul_create_dynamic_shape);
        need("rknn_matmul_set_dynamic_shape", functions_.matmul_set_dynamic_shape);
        need("rknn_matmul_set_io_mem", functions_.matmul_set_io_mem);
        need("rknn_matmul_set_core_mask", functions_.matmul_set_core_mask);
        need("rknn_matmul_run", functions_.matmul_run);
        need("rknn_matmul_destroy", functions_.matmul_destroy);
        need("rknn_create_mem", functions_.create_mem);
        need("rknn_create_mem_from_fd", functions_.create_mem_from_fd);
        need("rknn_destroy_mem", functions_.destroy_mem);
        need("rknn_mem_sync", functions_.mem_sync);
        need("rknn_query", functions_.query);
        find(handle, "rknn_create_mem2", optional_.create_mem2);
        find(handle, "rknn_B_normal_layout_to_native_layout", optional_.b_normal_layout_to_native_layout);
        return std::move(status).with_context(info_.library);
    }

    // The version can only be asked of a context, so the smallest one is made for it; this also shows that
    // the device answers.
    Status ask_version() {
        RknnContext context(functions_, optional_);
        RKNPU2_RETURN_IF_ERROR(context.create(ContextSpec::smallest())
                                   .with_context(info_.library + ": the NPU does not answer"));
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

Result<std::unique_ptr<NpuRuntime>> open_rknn_runtime(const std::string& library, StartWait* wait) {
    auto runtime = std::make_unique<RknnRuntime>();
    RKNPU2_RETURN_IF_ERROR(runtime->open(library, wait));
    return std::unique_ptr<NpuRuntime>(std::move(runtime));
}

}  // namespace rknpu2
