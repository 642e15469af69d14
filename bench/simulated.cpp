// SPDX-License-Identifier: MIT
#include "bench/simulated.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/aligned_buffer.hpp"

namespace rknpu2_bench {
namespace {

[[noreturn]] void die(const std::string& text) {
    std::fprintf(stderr, "sim_vs_blas: %s\n", text.c_str());
    std::exit(1);
}

void check(int code, const char* what) {
    if (code != 0) die(std::string(what) + " gave " + std::to_string(code));
}

// Numbers between -1 and 1 for fp16, whose sums stay ordinary; any bytes for integers.
void fill(void* data, size_t bytes, bool halves, unsigned seed) {
    std::mt19937 random(seed);
    auto* words = static_cast<uint32_t*>(data);
    for (size_t i = 0; i < bytes / 4; ++i) {
        words[i] = static_cast<uint32_t>(random());
        if (halves) words[i] = (words[i] & 0x83FF83FFU) | 0x38003800U;  // 0.5 to 1 in size
    }
}

bool is_float_type(rknn_matmul_type type) {
    return type == RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32 || type == RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16;
}

// A context and its memories.
struct Core {
    rknn_matmul_ctx ctx = 0;
    rknn_tensor_mem *a = nullptr, *b = nullptr, *c = nullptr;
};

class SimulatedProduct : public Product {
  public:
    SimulatedProduct(const Library& library, rknn_matmul_type type, Shape shape, Team& team)
        : library_(library), team_(team) {
        for (int i = 0; i < team.size(); ++i) {
            const auto [first, last] = part_of(shape.N, i, team.size());
            if (first < last) add_core(type, {shape.M, shape.K, last - first});
        }
    }
    ~SimulatedProduct() override {
        for (const Core& core : cores_) {
            for (rknn_tensor_mem* mem : {core.a, core.b, core.c})
                check(library_.destroy_mem(core.ctx, mem), "rknn_destroy_mem");
            check(library_.destroy(core.ctx), "rknn_matmul_destroy");
        }
    }
    void compute() override {
        team_.run([&](int i) {
            if (i >= static_cast<int>(cores_.size())) return;
            const Core& core = cores_[static_cast<size_t>(i)];
            check(library_.sync(core.ctx, core.a, RKNN_MEMORY_SYNC_TO_DEVICE), "rknn_mem_sync");
            check(library_.run(core.ctx), "rknn_matmul_run");
            check(library_.sync(core.ctx, core.c, RKNN_MEMORY_SYNC_FROM_DEVICE), "rknn_mem_sync");
        });
    }

  private:
    rknn_tensor_mem* add_memory(rknn_matmul_ctx ctx, rknn_matmul_tensor_attr& attr, int data) {
        rknn_tensor_mem* mem = library_.create_mem(ctx, attr.size);
        if (mem == nullptr) die("rknn_create_mem gave NULL");
        if (data != 0)
            fill(mem->virt_addr, attr.size, attr.type == RKNN_TENSOR_FLOAT16, static_cast<unsigned>(data));
        check(library_.bind(ctx, mem, &attr), "rknn_matmul_set_io_mem");
        return mem;
    }
    void add_core(rknn_matmul_type type, Shape shape) {
        rknn_matmul_info info;
        std::memset(&info, 0, sizeof info);
        info.M = shape.M;
        info.K = shape.K;
        info.N = shape.N;
        info.type = type;
        info.B_layout = RKNN_MM_LAYOUT_NATIVE;
        info.AC_layout = RKNN_MM_LAYOUT_NATIVE;
        rknn_matmul_io_attr attr;
        Core core;
        check(library_.create(&core.ctx, &info, &attr), "rknn_matmul_create");
        core.a = add_memory(core.ctx, attr.A, 1);
        core.b = add_memory(core.ctx, attr.B, 2);
        core.c = add_memory(core.ctx, attr.C, 0);
        cores_.push_back(core);
    }

    const Library& library_;
    Team& team_;
    std::vector<Core> cores_;
};

class BareProduct : public Product {
  public:
    BareProduct(const rknnsim::KernelTier& tier, rknn_matmul_type type, Shape shape, Team& team)
        : tier_(tier), team_(team), parts_(static_cast<size_t>(team.size())) {
        for (int i = 0; i < team.size(); ++i) {
            const auto [first, last] = part_of(shape.N, i, team.size());
            Part& part = parts_[static_cast<size_t>(i)];
            part.job.type = static_cast<rknnsim::MatmulType>(type);
            part.job.M = static_cast<size_t>(shape.M);
            part.job.K = static_cast<size_t>(shape.K);
            part.job.N = static_cast<size_t>(last - first);
            const size_t width = is_float_type(type) ? 2 : 1;  // int4 gets more than it needs
            part.job.a = part.memory(0, part.job.M * part.job.K * width, is_float_type(type), 1);
            part.job.b = part.memory(1, part.job.K * part.job.N * width, is_float_type(type), 2);
            part.job.c = part.memory(2, part.job.M * part.job.N * 4, false, 3);
        }
    }
    void compute() override {
        team_.run([&](int i) {
            Part& part = parts_[static_cast<size_t>(i)];
            if (part.job.N == 0) return;
            if (!tier_.load_a(part.job, part.scratch) || !tier_.multiply(part.job, part.scratch))
                die("no memory");
        });
    }

  private:
    struct Part {
        void* memory(int which, size_t bytes, bool halves, unsigned seed) {
            auto buffer = rknpu2::AlignedBuffer::allocate(bytes);
            if (!buffer.ok()) die("no memory");
            buffers[which] = buffer.take();
            fill(buffers[which].data(), bytes, halves, seed);
            return buffers[which].data();
        }
        rknnsim::Job job;
        rknnsim::Scratch scratch;
        rknpu2::AlignedBuffer buffers[3];
    };
    const rknnsim::KernelTier& tier_;
    Team& team_;
    std::vector<Part> parts_;
};

}  // namespace

Team::Team(int size) : start_(size), end_(size) {
    threads_.start(static_cast<size_t>(size) - 1, [this](size_t i) {
        for (;;) {
            start_.arrive_and_wait();
            if (body_ == nullptr) return;
            (*body_)(static_cast<int>(i) + 1);
            end_.arrive_and_wait();
        }
    });
    if (this->size() != size) die("only " + std::to_string(this->size()) + " threads can be had");
}

Team::~Team() {
    body_ = nullptr;
    start_.arrive_and_wait();
    threads_.join();
}

void Team::run(const std::function<void(int)>& body) {
    body_ = &body;
    start_.arrive_and_wait();
    body(0);
    end_.arrive_and_wait();
}

Library::Library(const std::string& path, const std::vector<std::pair<std::string, std::string>>& settings) {
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
    find("rknn_matmul_create", &create);
    find("rknn_matmul_set_io_mem", &bind);
    find("rknn_matmul_run", &run);
    find("rknn_matmul_destroy", &destroy);
    find("rknn_create_mem", &create_mem);
    find("rknn_destroy_mem", &destroy_mem);
    find("rknn_mem_sync", &sync);
    for (const auto& [name, value] : settings)
        setenv(name.c_str(), value.c_str(), 1);
    // The first call reads the settings.
    if (void* name = dlsym(handle_, "rknnsim_kernel")) kernel = reinterpret_cast<const char* (*)()>(name)();
    for (const auto& [name, value] : settings)
        unsetenv(name.c_str());
}

Library::~Library() {
    dlclose(handle_);
}

template <typename Function>
void Library::find(const char* name, Function* function) {
    void* found = dlsym(handle_, name);
    if (found == nullptr) die(dlerror());
    *function = reinterpret_cast<Function>(found);
}

std::unique_ptr<Product> make_product(const Library& library, rknn_matmul_type type, Shape shape,
                                      Team& team) {
    return std::make_unique<SimulatedProduct>(library, type, shape, team);
}

std::unique_ptr<Product> make_bare_product(const rknnsim::KernelTier& tier, rknn_matmul_type type,
                                           Shape shape, Team& team) {
    return std::make_unique<BareProduct>(tier, type, shape, team);
}

std::pair<int, int> part_of(int N, int index, int parts) {
    const int units = (N + 63) / 64;
    const auto edge = [&](int i) { return std::min(N, units * i / parts * 64); };
    return {edge(index), edge(index + 1)};
}

}  // namespace rknpu2_bench
