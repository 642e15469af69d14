// SPDX-License-Identifier: MIT
// Memory by descriptor or by address: slices of the library's own buffers, and buffers that others have made.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

class ImportTest : public TwoProductsTest {};

// How the plug-in places weights: one big buffer, a slice of it for each matrix, bound anew before every run.
TEST_F(ImportTest, SlicesOfOneBufferAreImportedByFd) {
    on_default_board();
    Matmul owner(kI8I32, {1, 32, 32});
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    constexpr int kOffset = 8192;
    rknn_tensor_mem* slab = rknn_create_mem(owner.ctx(), 1 << 20);
    rknn_tensor_mem* slice =
        rknn_create_mem_from_fd(matmul.ctx(), slab->fd, slab->virt_addr, matmul.attr().B.size, kOffset);
    ASSERT_NE(slice, nullptr);
    EXPECT_EQ(slice->virt_addr, slab->virt_addr);
    EXPECT_EQ(slice->offset, kOffset);
    EXPECT_EQ(slice->size, matmul.attr().B.size);
    EXPECT_EQ(slice->phys_addr, slab->phys_addr + kOffset);
    for (const Operands* operands : {&first_, &second_}) {
        matmul.write_b(operands->b);
        std::memcpy(static_cast<char*>(slab->virt_addr) + kOffset, matmul.b()->virt_addr,
                    matmul.attr().B.size);
        EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), slice, &matmul.attr().B), 0);
        EXPECT_EQ(matmul.run(), 0);
        EXPECT_EQ(matmul.read_c(), product(first_, *operands));
    }
    // The buffer lives as long as a slice of it.
    EXPECT_EQ(rknn_destroy_mem(owner.ctx(), slab), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(first_, second_));
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), slice), 0);
}

TEST_F(ImportTest, SlicesOfAShareOneDeviceView) {
    on_default_board();
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    rknn_tensor_mem* slab = rknn_create_mem(matmul.ctx(), 1 << 16);
    const uint32_t size = matmul.attr().A.size;
    rknn_tensor_mem* slice = rknn_create_mem_from_fd(matmul.ctx(), slab->fd, slab->virt_addr, size, 4096);
    ASSERT_NE(slice, nullptr);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), slice, &matmul.attr().A), 0);
    matmul.write_a(second_.a);
    std::memcpy(data_of(slice), matmul.a()->virt_addr, size);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), std::vector<double>(3 * 64, 0.0));  // the slab was zero when it was bound
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), slab, RKNN_MEMORY_SYNC_TO_DEVICE), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(second_, first_));
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), slice), 0);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), slab), 0);
}

TEST_F(ImportTest, ImportsAreChecked) {
    Matmul matmul(kI8I32, kShape);
    rknn_tensor_mem* slab = rknn_create_mem(matmul.ctx(), 65536);
    char* virt = static_cast<char*>(slab->virt_addr);
    const auto import = [&](int fd, void* address, uint32_t size, int offset) {
        rknn_tensor_mem* mem = rknn_create_mem_from_fd(matmul.ctx(), fd, address, size, offset);
        if (mem != nullptr) {
            EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
        }
        return mem != nullptr;
    };
    EXPECT_TRUE(import(slab->fd, virt, 65536, 0));
    EXPECT_FALSE(import(slab->fd, virt, 65536, 4096));
    EXPECT_FALSE(import(slab->fd, virt, 0, 0));
    EXPECT_FALSE(import(slab->fd, virt, 16, -16));
    EXPECT_FALSE(import(slab->fd, virt + 4096, 16, 4096));  // the offset counted twice
    EXPECT_FALSE(import(slab->fd, nullptr, 16, 0));
    EXPECT_FALSE(import(-1, virt, 16, 0));
    const int empty = memfd_create("empty", MFD_CLOEXEC);
    EXPECT_FALSE(import(empty, virt, 16, 0));
    close(empty);
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    EXPECT_THAT(stderr_of([&] { EXPECT_FALSE(import(pipes[0], virt, 16, 0)); }),
                ::testing::HasSubstr("has no length: it is no buffer"));
    close(pipes[0]);
    close(pipes[1]);
    const int read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    EXPECT_THAT(stderr_of([&] { EXPECT_FALSE(import(read_only, virt, 16, 0)); }),
                ::testing::HasSubstr("cannot be mapped for reading and writing"));
    close(read_only);
    // Another descriptor and another mapping of the same buffer will do.
    const int copy = dup(slab->fd);
    void* mapping = mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
    EXPECT_TRUE(import(copy, mapping, 16, 4096));
    munmap(mapping, 65536);
    close(copy);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), slab), 0);
}

// A buffer that this library did not make, mapped by the program.
class ForeignBuffer {
  public:
    explicit ForeignBuffer(size_t bytes) : bytes_(bytes), fd(memfd_create("foreign", MFD_CLOEXEC)) {
        EXPECT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
        virt = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        EXPECT_NE(virt, MAP_FAILED);
    }
    ~ForeignBuffer() {
        munmap(virt, bytes_);
        close(fd);
    }
    ForeignBuffer(const ForeignBuffer&) = delete;
    ForeignBuffer& operator=(const ForeignBuffer&) = delete;

  private:
    const size_t bytes_;

  public:
    const int fd;
    void* virt = nullptr;
};

// How backends of llama.cpp place operands: buffers from a dma-buf heap, imported into each context.
TEST_F(ImportTest, BuffersOfOthersAreImported) {
    on_default_board();
    ForeignBuffer buffer(1 << 20);
    Matmul matmul(kI8I32, kShape);
    const uint32_t sizes[] = {matmul.attr().A.size, matmul.attr().B.size, matmul.attr().C.size};
    rknn_matmul_tensor_attr* attrs[] = {&matmul.attr().A, &matmul.attr().B, &matmul.attr().C};
    constexpr int kOffsets[] = {0, 4096, 65536};
    rknn_tensor_mem* mems[3];
    uint64_t bytes_before = 0;
    rknnsim_live_counts live;
    ASSERT_EQ(rknnsim_live(&live), 0);
    bytes_before = live.bytes;
    for (int i = 0; i < 3; ++i) {
        mems[i] = rknn_create_mem_from_fd(matmul.ctx(), buffer.fd, buffer.virt, sizes[i], kOffsets[i]);
        ASSERT_NE(mems[i], nullptr);
        EXPECT_EQ(mems[i]->virt_addr, buffer.virt);
        EXPECT_EQ(mems[i]->offset, kOffsets[i]);
        EXPECT_EQ(mems[i]->phys_addr, mems[0]->phys_addr + static_cast<uint64_t>(kOffsets[i]));
    }
    ASSERT_EQ(rknnsim_live(&live), 0);
    EXPECT_EQ(live.bytes - bytes_before, 1U << 20);  // the whole buffer, once
    auto* base = static_cast<std::byte*>(buffer.virt);
    const auto store = [&](const Operands& a, const Operands& b) {
        matmul.write_a(a.a);
        matmul.write_b(b.b);
        std::memcpy(base + kOffsets[0], data_of(matmul.a()), sizes[0]);
        std::memcpy(base + kOffsets[1], data_of(matmul.b()), sizes[1]);
    };
    const auto result = [&] {
        std::memcpy(data_of(matmul.c()), base + kOffsets[2], sizes[2]);
        return matmul.read_c();
    };
    store(first_, second_);
    for (int i = 0; i < 3; ++i)
        ASSERT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), mems[i], attrs[i]), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(result(), product(first_, second_));
    // It is stale and synced like memory of this library.
    store(second_, second_);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(result(), product(first_, second_));
    EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), mems[0], RKNN_MEMORY_SYNC_TO_DEVICE), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(result(), product(second_, second_));
    // Another context of the domain shares it; one of another domain has addresses of its own for it.
    Matmul same(kI8I32, kShape);
    Matmul elsewhere(kI8I32, kShape, kBNative, 1, 3);
    rknn_tensor_mem* shared =
        rknn_create_mem_from_fd(same.ctx(), buffer.fd, buffer.virt, sizes[1], kOffsets[1]);
    rknn_tensor_mem* apart =
        rknn_create_mem_from_fd(elsewhere.ctx(), buffer.fd, buffer.virt, sizes[1], kOffsets[1]);
    ASSERT_NE(shared, nullptr);
    ASSERT_NE(apart, nullptr);
    EXPECT_EQ(shared->phys_addr, mems[1]->phys_addr);
    same.compute(first_);
    elsewhere.compute(first_);
    EXPECT_EQ(rknn_matmul_set_io_mem(same.ctx(), shared, &same.attr().B), 0);
    EXPECT_EQ(rknn_matmul_set_io_mem(elsewhere.ctx(), apart, &elsewhere.attr().B), 0);
    EXPECT_EQ(same.run(), 0);
    EXPECT_EQ(elsewhere.run(), 0);
    EXPECT_EQ(same.read_c(), product(first_, second_));
    EXPECT_EQ(elsewhere.read_c(), product(first_, second_));
    ASSERT_EQ(rknnsim_live(&live), 0);
    EXPECT_GE(live.domain_bytes[3], 1U << 20);
    EXPECT_EQ(rknn_destroy_mem(same.ctx(), shared), 0);
    EXPECT_EQ(rknn_destroy_mem(elsewhere.ctx(), apart), 0);
    for (rknn_tensor_mem* mem : mems)
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
}

// The caller's descriptor and mapping are his: closed early, the memory lives on.
TEST_F(ImportTest, AnImportOutlivesTheCallersDescriptor) {
    on_default_board();
    Matmul matmul(kI8I32, kShape);
    rknn_tensor_mem* c = nullptr;
    const int other = memfd_create("kept", MFD_CLOEXEC);
    {
        ForeignBuffer buffer(matmul.attr().C.size);  // no whole pages
        c = rknn_create_mem_from_fd(matmul.ctx(), buffer.fd, buffer.virt, matmul.attr().C.size, 0);
        ASSERT_NE(c, nullptr);
        dup2(buffer.fd, other);
    }
    matmul.compute(first_);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), c, &matmul.attr().C), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(pread(other, data_of(matmul.c()), matmul.attr().C.size, 0), matmul.attr().C.size);
    EXPECT_EQ(matmul.read_c(), product(first_, first_));
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), c), 0);
    close(other);
}

TEST_F(ImportTest, AnImportNeedsAddresses) {
    set("RKNNSIM_DOMAIN_BYTES", "1048576");
    Matmul matmul(kI8I32, {1, 32, 32});
    ForeignBuffer buffer(1 << 20);
    EXPECT_THAT(stderr_of([&] {
                    EXPECT_EQ(rknn_create_mem_from_fd(matmul.ctx(), buffer.fd, buffer.virt, 64, 0), nullptr);
                }),
                ::testing::HasSubstr("no 1048576 bytes of address space left in domain 0"));
}

TEST_F(ImportTest, ImportByPhysicalAddress) {
    on_default_board();
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    const uint32_t size = matmul.attr().B.size;
    rknn_tensor_mem* same =
        rknn_create_mem_from_phys(matmul.ctx(), matmul.b()->phys_addr, matmul.b()->virt_addr, size);
    ASSERT_NE(same, nullptr);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), same, &matmul.attr().B), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(first_, first_));
    EXPECT_EQ(rknn_create_mem_from_phys(matmul.ctx(), 0x1000, matmul.b()->virt_addr, size), nullptr);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), same), 0);
}

}  // namespace
}  // namespace rknnsim_test
