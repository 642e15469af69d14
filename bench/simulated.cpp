// SPDX-License-Identifier: MIT
#include "bench/simulated.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "base/aligned_buffer.hpp"

namespace rknpu2_bench {
namespace {

[[noreturn]] void die(const std::string& text) {
    throw std::runtime_error(text);
}

// Numbers of 0.5 to 1 in size for fp16, whose sums stay ordinary; any bytes for integers.
void fill(void* data, size_t bytes, bool halves, unsigned seed) {
    std::mt19937 random(seed);
    auto* words = static_cast<uint32_t*>(data);
    for (size_t i = 0; i < bytes / 4; ++i) {
        words[i] = static_cast<uint32_t>(random());
        if (halves) words[i] = (words[i] & 0x83FF83FFU) | 0x38003800U;
    }
}

// Part `index` of `parts` of a product's columns, in units of 64; maybe none.
Shape part_of(Shape shape, size_t index, size_t parts) {
    const int units = (shape.N + 63) / 64;
    const auto edge = [&](size_t i) {
        return std::min(shape.N, units * static_cast<int>(i) / static_cast<int>(parts) * 64);
    };
    return {shape.M, shape.K, edge(index + 1) - edge(index)};
}

// A context and its memories.
class Core {
  public:
    Core(const Library& library, rknn_matmul_type type, Shape shape) : library_(library) {
        rknn_matmul_info info{};
        info.M = shape.M;
        info.K = shape.K;
        info.N = shape.N;
        info.type = type;
        info.B_layout = RKNN_MM_LAYOUT_NATIVE;
        info.AC_layout = RKNN_MM_LAYOUT_NATIVE;
        rknn_matmul_io_attr attr;
        call<decltype(rknn_matmul_create)>("rknn_matmul_create", &context_, &info, &attr);
        a_ = add_memory(attr.A, 1);
        b_ = add_memory(attr.B, 2);
        c_ = add_memory(attr.C, 0);
    }
    ~Core() {
        for (rknn_tensor_mem* memory : {a_, b_, c_})
            library_.find<decltype(rknn_destroy_mem)>("rknn_destroy_mem")(context_, memory);
        library_.find<decltype(rknn_matmul_destroy)>("rknn_matmul_destroy")(context_);
    }
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    void compute() const {
        check(sync_(context_, a_, RKNN_MEMORY_SYNC_TO_DEVICE), "rknn_mem_sync");
        check(run_(context_), "rknn_matmul_run");
        check(sync_(context_, c_, RKNN_MEMORY_SYNC_FROM_DEVICE), "rknn_mem_sync");
    }

  private:
    static void check(int code, const char* what) {
        if (code != 0) die(std::string(what) + " gave " + std::to_string(code));
    }

    template <typename Function, typename... Arguments>
    void call(const char* name, Arguments... arguments) const {
        check(library_.find<Function>(name)(arguments...), name);
    }

    rknn_tensor_mem* add_memory(rknn_matmul_tensor_attr& attr, unsigned seed) {
        rknn_tensor_mem* memory =
            library_.find<decltype(rknn_create_mem)>("rknn_create_mem")(context_, attr.size);
        if (memory == nullptr) die("rknn_create_mem gave NULL");
        if (seed != 0) fill(memory->virt_addr, attr.size, attr.type == RKNN_TENSOR_FLOAT16, seed);
        call<decltype(rknn_matmul_set_io_mem)>("rknn_matmul_set_io_mem", context_, memory, &attr);
        return memory;
    }

    const Library& library_;
    decltype(rknn_mem_sync)* const sync_ = library_.find<decltype(rknn_mem_sync)>("rknn_mem_sync");
    decltype(rknn_matmul_run)* const run_ = library_.find<decltype(rknn_matmul_run)>("rknn_matmul_run");
    rknn_matmul_ctx context_ = 0;
    rknn_tensor_mem *a_ = nullptr, *b_ = nullptr, *c_ = nullptr;
};

// The operands of one thread, and what a tier needs beside them.
struct BarePart {
    BarePart(rknn_matmul_type type, Shape shape) {
        job.type = static_cast<rknnsim::MatmulType>(type);
        job.M = static_cast<size_t>(shape.M);
        job.K = static_cast<size_t>(shape.K);
        job.N = static_cast<size_t>(shape.N);
        const bool halves =
            type == RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32 || type == RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16;
        const size_t width = halves ? 2 : 1;  // int4 gets more than it needs
        job.a = memory(a, job.M * job.K * width, halves, 1);
        job.b = memory(b, job.K * job.N * width, halves, 2);
        job.c = memory(c, job.M * job.N * 4, false, 3);
    }

    static void* memory(rknpu2::AlignedBuffer& buffer, size_t bytes, bool halves, unsigned seed) {
        auto made = rknpu2::AlignedBuffer::allocate(bytes);
        if (!made.ok()) die("no memory");
        buffer = made.take();
        fill(buffer.data(), bytes, halves, seed);
        return buffer.data();
    }

    rknnsim::Job job;
    rknnsim::Scratch scratch;
    rknpu2::AlignedBuffer a, b, c;
};

}  // namespace

Library::Library(const std::string& path, const char* check) {
    namespace fs = std::filesystem;
    // A file of its own is a library of its own for the dynamic linker.
    char copy[] = "/tmp/sim_vs_blas.XXXXXX";
    const int fd = mkstemp(copy);
    std::error_code error;
    if (fd < 0 || !fs::copy_file(path, copy, fs::copy_options::overwrite_existing, error))
        die("cannot copy " + path);
    close(fd);
    handle_ = dlopen(copy, RTLD_NOW | RTLD_LOCAL);
    fs::remove(copy, error);
    if (handle_ == nullptr) die(dlerror());
    setenv("RKNNSIM_CHECK", check, 1);
    (void)kernel();  // the first call reads the settings
    unsetenv("RKNNSIM_CHECK");
}

Library::~Library() {
    dlclose(handle_);
}

void* Library::symbol(const char* name) const {
    return dlsym(handle_, name);
}

std::string Library::kernel() const {
    auto* const name = find<const char*()>("rknnsim_kernel");
    return name == nullptr ? "" : name();
}

std::function<void()> simulated_product(const Library& library, rknn_matmul_type type, Shape shape,
                                        rknpu2::ThreadPool& pool) {
    const auto threads = static_cast<size_t>(pool.threads());
    const auto cores = std::make_shared<std::vector<std::unique_ptr<Core>>>();
    for (size_t i = 0; i < threads; ++i) {
        const Shape part = part_of(shape, i, threads);
        if (part.N > 0) cores->push_back(std::make_unique<Core>(library, type, part));
    }
    return [cores, &pool] { pool.parallel_for(cores->size(), [&](size_t i) { (*cores)[i]->compute(); }); };
}

std::function<void()> bare_product(const rknnsim::KernelTier& tier, rknn_matmul_type type, Shape shape,
                                   rknpu2::ThreadPool& pool) {
    const auto threads = static_cast<size_t>(pool.threads());
    const auto parts = std::make_shared<std::vector<std::unique_ptr<BarePart>>>();
    for (size_t i = 0; i < threads; ++i) {
        const Shape part = part_of(shape, i, threads);
        if (part.N > 0) parts->push_back(std::make_unique<BarePart>(type, part));
    }
    return [parts, &tier, &pool] {
        pool.parallel_for(parts->size(), [&](size_t i) {
            BarePart& part = *(*parts)[i];
            if (!tier.load_a(part.job, part.scratch) || !tier.multiply(part.job, part.scratch))
                die("no memory");
        });
    };
}

}  // namespace rknpu2_bench
