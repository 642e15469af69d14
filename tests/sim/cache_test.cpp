// SPDX-License-Identifier: MIT
// The CPU's cache through the C interface: each reading of a board alone, and what a program must do there.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

class CacheTest : public TwoProductsTest {
  protected:
    void SetUp() override {
        TwoProductsTest::SetUp();
        on_default_board();
    }
    static int to_device(const Matmul& matmul, rknn_tensor_mem* mem) {
        return rknn_mem_sync(matmul.ctx(), mem, RKNN_MEMORY_SYNC_TO_DEVICE);
    }
    static int from_device(const Matmul& matmul, rknn_tensor_mem* mem) {
        return rknn_mem_sync(matmul.ctx(), mem, RKNN_MEMORY_SYNC_FROM_DEVICE);
    }
    // All three bound, nothing cleaned but what binding cleans.
    void bind(Matmul& matmul, const Operands& operands) const {
        matmul.write_a(operands.a);
        matmul.write_b(operands.b);
        ASSERT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
    }
    static std::vector<double> zeros() {
        return std::vector<double>(static_cast<size_t>(kShape.M) * kShape.N);
    }
    static bool is(const Matmul& matmul, const std::vector<double>& want) { return matmul.read_c() == want; }
};

TEST_F(CacheTest, BindingLeavesTheCache) {
    for (const char* binding : {"cleans", "leaves"}) {
        set("RKNNSIM_BIND", binding);
        set("RKNNSIM_DIRTY", "overwrites");  // in both, so that the cache is followed
        const bool leaves = std::string(binding) == "leaves";
        Matmul matmul(kI8I32, kShape);
        bind(matmul, first_);
        ASSERT_EQ(matmul.run(), 0);
        EXPECT_TRUE(is(matmul, leaves ? zeros() : product(first_, first_))) << binding;
        ASSERT_EQ(to_device(matmul, matmul.a()) | to_device(matmul, matmul.b()) | matmul.run(), 0);
        EXPECT_TRUE(is(matmul, product(first_, first_))) << binding;
    }
}

// Weights of any size are seen as they were cleaned, RKNNSIM_SHADOW or not.
TEST_F(CacheTest, LargeWeightsAreStaleToo) {
    constexpr Shape kLarge{1, 1088, 1024};
    const Operands first = random_operands(kI8I32, kLarge, 3);
    const Operands second = random_operands(kI8I32, kLarge, 4);
    for (const char* shadow : {"auto", "lazy", "full"}) {
        set("RKNNSIM_SHADOW", shadow);
        set("RKNNSIM_BIND", "leaves");
        Matmul matmul(kI8I32, kLarge);
        bind(matmul, first);
        ASSERT_EQ(to_device(matmul, matmul.a()) | to_device(matmul, matmul.b()) | matmul.run(), 0);
        EXPECT_EQ(matmul.read_c(), expected(first, kLarge));
        EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
        matmul.write_b(second.b);
        ASSERT_EQ(matmul.bind_b() | matmul.run(), 0);
        EXPECT_EQ(matmul.read_c(), expected(first, kLarge));
        EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U);
        ASSERT_EQ(to_device(matmul, matmul.b()) | matmul.run(), 0);
        EXPECT_EQ(matmul.read_c(), expected({first.a, second.b}, kLarge));
    }
}

TEST_F(CacheTest, ASyncOfAnImportWorksOrDoesNothing) {
    for (const char* reading : {"works", "nothing"}) {
        set("RKNNSIM_IMPORT_SYNC", reading);
        set("RKNNSIM_BIND", "leaves");
        set("RKNNSIM_RESULTS", "synced");
        const bool works = std::string(reading) == "works";
        Matmul matmul(kI8I32, kShape);
        bind(matmul, first_);
        ASSERT_EQ(to_device(matmul, matmul.b()), 0);
        const auto import = [&](rknn_tensor_mem* mem) {
            return rknn_create_mem_from_fd(matmul.ctx(), mem->fd, mem->virt_addr, mem->size, 0);
        };
        rknn_tensor_mem* imports[] = {import(matmul.a()), import(matmul.c()),
                                      rknn_create_mem_from_phys(matmul.ctx(), matmul.a()->phys_addr,
                                                                matmul.a()->virt_addr, matmul.a()->size)};
        EXPECT_EQ(to_device(matmul, imports[0]), 0);  // as a board says, whatever it did
        EXPECT_EQ(to_device(matmul, imports[2]), 0);
        ASSERT_EQ(matmul.run() | from_device(matmul, matmul.c()), 0);
        EXPECT_TRUE(is(matmul, works ? product(first_, first_) : zeros()));
        ASSERT_EQ(to_device(matmul, matmul.a()) | matmul.run(), 0);
        EXPECT_EQ(from_device(matmul, imports[1]), 0);
        EXPECT_EQ(is(matmul, product(first_, first_)), works);
        // The owner's handle is good for what is bound through an import as well.
        ASSERT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), imports[0], &matmul.attr().A), 0);
        matmul.write_a(second_.a);
        ASSERT_EQ(to_device(matmul, matmul.a()) | matmul.run() | from_device(matmul, matmul.c()), 0);
        EXPECT_TRUE(is(matmul, product(second_, first_)));
        for (rknn_tensor_mem* mem : imports)
            EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
    }
}

// A sync through the handle of a slice reaches its lines, and the others stay as they were.
TEST_F(CacheTest, ASyncReachesTheHandlesRange) {
    set("RKNNSIM_BIND", "leaves");
    Matmul matmul(kI8I32, kShape);
    bind(matmul, first_);
    ASSERT_EQ(to_device(matmul, matmul.a()) | to_device(matmul, matmul.b()), 0);
    matmul.write_a(second_.a);
    rknn_tensor_mem* slice =
        rknn_create_mem_from_fd(matmul.ctx(), matmul.a()->fd, matmul.a()->virt_addr, 64, 64);
    ASSERT_NE(slice, nullptr);
    ASSERT_EQ(to_device(matmul, slice) | matmul.run(), 0);
    // Native A is [K/16, M, 16]: bytes 64 to 127.
    Operands mixed = first_;
    for (size_t at = 64; at < 128; ++at) {
        const size_t m = at / 16 % 3;
        const size_t k = at / 48 * 16 + at % 16;
        mixed.a[m * 96 + k] = second_.a[m * 96 + k];
    }
    EXPECT_TRUE(is(matmul, product(mixed, first_)));
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), slice), 0);
}

TEST_F(CacheTest, ResultsAreVisibleOrSynced) {
    for (const char* reading : {"visible", "synced"}) {
        set("RKNNSIM_RESULTS", reading);
        set("RKNNSIM_BIND", "leaves");
        const bool visible = std::string(reading) == "visible";
        for (const int ac_layout : {1, 0}) {
            Matmul matmul(kI8I32, kShape, kBNative, ac_layout);
            bind(matmul, first_);
            ASSERT_EQ(to_device(matmul, matmul.a()) | to_device(matmul, matmul.b()) | matmul.run(), 0);
            EXPECT_EQ(is(matmul, product(first_, first_)), visible);
            ASSERT_EQ(from_device(matmul, matmul.c()), 0);
            EXPECT_TRUE(is(matmul, product(first_, first_)));
        }
    }
}

// What one matmul wrote, another reads, whatever the CPU sees of it.
TEST_F(CacheTest, AHiddenResultIsTheNextInput) {
    set("RKNNSIM_BOARD", "worst");
    Matmul producer(kI8I8, {3, 64, 96});
    Matmul consumer(kI8I32, kShape);
    const Operands operands = random_operands(kI8I8, {3, 64, 96}, 4);
    producer.write_a(operands.a);
    producer.write_b(operands.b);
    ASSERT_EQ(producer.bind_a() | producer.bind_b() | producer.bind_c(), 0);
    ASSERT_EQ(to_device(producer, producer.a()) | to_device(producer, producer.b()), 0);
    consumer.write_b(first_.b);
    ASSERT_EQ(rknn_matmul_set_io_mem(consumer.ctx(), producer.c(), &consumer.attr().A), 0);
    ASSERT_EQ(consumer.bind_b() | consumer.bind_c() | to_device(consumer, consumer.b()), 0);
    ASSERT_EQ(producer.run() | consumer.run(), 0);
    ASSERT_EQ(from_device(producer, producer.c()) | from_device(consumer, consumer.c()), 0);
    Operands next{{}, first_.b};
    for (const double value : producer.read_c())
        next.a.push_back(static_cast<float>(value));
    EXPECT_EQ(consumer.read_c(), expected(next, kShape));
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
}

TEST_F(CacheTest, DirtyLinesOfC) {
    for (const char* reading : {"harmless", "overwrites"}) {
        for (const bool cleaned : {false, true}) {
            set("RKNNSIM_DIRTY", reading);
            set("RKNNSIM_BIND", "leaves");
            const bool harm = std::string(reading) == "overwrites" && !cleaned;
            Matmul matmul(kI8I32, kShape);
            bind(matmul, first_);
            ASSERT_EQ(to_device(matmul, matmul.a()) | to_device(matmul, matmul.b()), 0);
            data_of(matmul.c())[100] = std::byte{0x55};  // native C is [N/4, M, 4]
            if (cleaned) {
                ASSERT_EQ(to_device(matmul, matmul.c()), 0);
            }
            ASSERT_EQ(matmul.run(), 0);
            const std::vector<double> want = product(first_, first_);
            const std::vector<double> got = matmul.read_c();
            size_t lost = 0;
            for (size_t m = 0; m < 3; ++m) {
                for (size_t n = 0; n < 64; ++n) {
                    const size_t at = (n / 4 * 3 + m) * 16 + n % 4 * 4;
                    if (harm && at / 64 == 1) {
                        ++lost;
                    } else {
                        EXPECT_EQ(got[m * 64 + n], want[m * 64 + n]) << reading << m << " " << n;
                    }
                }
            }
            EXPECT_EQ(lost, harm ? 16U : 0U);
            EXPECT_EQ(data_of(matmul.c())[100] == std::byte{0x55}, harm);
            EXPECT_EQ(rknnsim_check_count("dirty-result"), harm ? 1U : 0U);
        }
    }
}

// Measured: memory made without a cache is stale all the same.
TEST_F(CacheTest, MemoryWithoutCache) {
    for (const char* board : {"default", "worst"}) {
        for (const char* reading : {"stale", "coherent"}) {
            set("RKNNSIM_BOARD", board);
            set("RKNNSIM_NON_CACHEABLE", reading);
            const bool stale = std::string(reading) == "stale";
            Matmul matmul(kI8I32, kShape);
            bind(matmul, first_);
            ASSERT_EQ(to_device(matmul, matmul.a()) | to_device(matmul, matmul.b()), 0);
            rknn_tensor_mem* a =
                rknn_create_mem2(matmul.ctx(), matmul.attr().A.size, RKNN_FLAG_MEMORY_NON_CACHEABLE);
            ASSERT_NE(a, nullptr);
            std::memcpy(a->virt_addr, matmul.a()->virt_addr, matmul.attr().A.size);
            ASSERT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), a, &matmul.attr().A), 0);
            if (stale) {
                ASSERT_EQ(to_device(matmul, a), 0);
            }
            ASSERT_EQ(matmul.run() | from_device(matmul, matmul.c()), 0);
            EXPECT_TRUE(is(matmul, product(first_, first_)));
            matmul.write_a(second_.a);
            std::memcpy(a->virt_addr, matmul.a()->virt_addr, matmul.attr().A.size);
            ASSERT_EQ(matmul.run() | from_device(matmul, matmul.c()), 0);
            EXPECT_TRUE(is(matmul, product(stale ? first_ : second_, first_))) << board << reading;
            EXPECT_EQ(rknnsim_check_count("missing-sync"), stale ? 1U : 0U);
            EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), a), 0);
        }
    }
}

TEST_F(CacheTest, LinesByThePrograms) {
    set("RKNNSIM_BOARD", "worst");
    Matmul matmul(kI8I32, kShape);
    bind(matmul, first_);
    const auto lines = [](const rknn_tensor_mem* mem, int operation) {
        return rknnsim_cache_lines(data_of(mem), mem->size, operation);
    };
    ASSERT_EQ(lines(matmul.a(), 1) | lines(matmul.b(), 1) | matmul.run(), 0);
    EXPECT_FALSE(is(matmul, product(first_, first_)));
    ASSERT_EQ(lines(matmul.c(), 1), 0);  // cleaning shows nothing
    EXPECT_FALSE(is(matmul, product(first_, first_)));
    ASSERT_EQ(lines(matmul.c(), 2), 0);
    EXPECT_TRUE(is(matmul, product(first_, first_)));
    // One line of A, from a byte in its middle.
    matmul.write_a(second_.a);
    ASSERT_EQ(rknnsim_cache_lines(data_of(matmul.a()) + 100, 1, 1), 0);
    ASSERT_EQ(matmul.run() | lines(matmul.c(), 2), 0);
    Operands mixed = first_;
    for (size_t at = 64; at < 128; ++at) {
        const size_t m = at / 16 % 3;
        const size_t k = at / 48 * 16 + at % 16;
        mixed.a[m * 96 + k] = second_.a[m * 96 + k];
    }
    EXPECT_TRUE(is(matmul, product(mixed, first_)));
    EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U);  // the other lines
    EXPECT_EQ(rknnsim_check_count(nullptr), 1U);
}

TEST_F(CacheTest, LinesOfTheDefaultBoard) {
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(matmul.compute(first_), product(first_, first_));
    matmul.write_a(second_.a);
    ASSERT_EQ(rknnsim_cache_lines(data_of(matmul.a()), matmul.a()->size, 1), 0);
    ASSERT_EQ(matmul.run(), 0);
    EXPECT_TRUE(is(matmul, product(second_, first_)));
    EXPECT_EQ(rknnsim_cache_lines(data_of(matmul.c()), matmul.c()->size, 2), 0);
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
}

// Where the program sees the buffer: also through a mapping of its own, once it has imported it by that.
TEST_F(CacheTest, LinesOfAnyMapping) {
    set("RKNNSIM_BOARD", "worst");
    Matmul matmul(kI8I32, kShape);
    bind(matmul, first_);
    ASSERT_EQ(to_device(matmul, matmul.a()) | to_device(matmul, matmul.b()), 0);
    void* own = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, matmul.a()->fd, 0);
    ASSERT_NE(own, MAP_FAILED);
    EXPECT_EQ(rknnsim_cache_lines(own, 64, 1), RKNN_ERR_PARAM_INVALID);
    rknn_tensor_mem* imports[2];
    for (rknn_tensor_mem*& mem : imports)
        mem = rknn_create_mem_from_fd(matmul.ctx(), matmul.a()->fd, own, 288, 0);
    matmul.write_a(second_.a);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), imports[0]), 0);
    ASSERT_EQ(rknnsim_cache_lines(own, 288, 1), 0);
    ASSERT_EQ(matmul.run() | from_device(matmul, matmul.c()), 0);
    EXPECT_TRUE(is(matmul, product(second_, first_)));
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), imports[1]), 0);
    EXPECT_EQ(rknnsim_cache_lines(own, 64, 1), RKNN_ERR_PARAM_INVALID);
    munmap(own, 4096);
}

// Three cores multiply one A, each on a thread of its own, while a fourth thread syncs what it need not: A
// and the weights as they are, and a buffer of its own that it changes.
TEST_F(CacheTest, ThreeCoresOnOneAWithSyncs) {
    set("RKNNSIM_BOARD", "worst");
    Matmul owner(kI8I32, kShape);
    bind(owner, first_);
    ASSERT_EQ(to_device(owner, owner.a()) | to_device(owner, owner.b()), 0);
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int core = 0; core < 3; ++core) {
        threads.emplace_back([&, core] {
            Matmul matmul(kI8I32, kShape);
            int code = rknn_matmul_set_core_mask(matmul.ctx(), 1 << core);
            code |= rknn_matmul_set_io_mem(matmul.ctx(), owner.a(), &matmul.attr().A);
            code |= rknn_matmul_set_io_mem(matmul.ctx(), owner.b(), &matmul.attr().B) | matmul.bind_c();
            for (int i = 0; i < 50; ++i) {
                code |= matmul.run() | from_device(matmul, matmul.c());
                if (code != 0 || matmul.read_c() != product(first_, first_)) ++wrong;
            }
        });
    }
    threads.emplace_back([&] {
        for (int i = 0; i < 200; ++i) {
            std::memset(data_of(owner.c()), i, owner.c()->size);
            if ((to_device(owner, owner.a()) | to_device(owner, owner.b()) | to_device(owner, owner.c()) |
                 rknnsim_cache_lines(data_of(owner.a()), owner.a()->size, 2)) != 0)
                ++wrong;
        }
    });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(rknnsim_check_count("missing-sync") + rknnsim_check_count("dirty-result"), 0U);
}

// What the device sees, without changing it.
TEST_F(CacheTest, DeviceBytes) {
    for (const char* board : {"default", "worst"}) {
        set("RKNNSIM_BOARD", board);
        const bool worst = std::string(board) == "worst";
        Matmul matmul(kI8I32, kShape);
        bind(matmul, first_);
        const size_t size = matmul.attr().A.size;
        std::vector<std::byte> seen(size);
        const auto is_seen = [&](const rknn_tensor_mem* mem) {
            EXPECT_EQ(rknnsim_device_bytes(data_of(mem), size, seen.data()), 0);
            return std::memcmp(seen.data(), data_of(mem), size) == 0;
        };
        EXPECT_EQ(is_seen(matmul.a()), !worst);
        ASSERT_EQ(to_device(matmul, matmul.a()), 0);
        EXPECT_TRUE(is_seen(matmul.a()));
        matmul.write_a(second_.a);
        EXPECT_FALSE(is_seen(matmul.a()));
        rknn_tensor_mem* fresh = rknn_create_mem(matmul.ctx(), 4096);
        std::memset(data_of(fresh), 1, 4096);
        EXPECT_EQ(is_seen(fresh), !worst);  // not followed by default
        EXPECT_EQ(rknnsim_device_bytes(seen.data(), size, seen.data()), RKNN_ERR_PARAM_INVALID);
        EXPECT_EQ(rknnsim_device_bytes(data_of(fresh), size, nullptr), RKNN_ERR_PARAM_INVALID);
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), fresh), 0);
    }
}

TEST_F(CacheTest, LinesThatAreRefused) {
    Matmul matmul(kI8I32, kShape);
    std::vector<std::byte> heap(4096);
    std::byte* a = data_of(matmul.a());
    const auto refused = [](const void* address, uint64_t bytes, int operation) {
        int code = 0;
        const std::string said = stderr_of([&] { code = rknnsim_cache_lines(address, bytes, operation); });
        EXPECT_EQ(said.rfind("rknnsim: error: rknnsim_cache_lines: ", 0), 0U) << said;
        return code == RKNN_ERR_PARAM_INVALID;
    };
    EXPECT_TRUE(refused(heap.data(), 64, 1));
    EXPECT_TRUE(refused(nullptr, 64, 1));
    EXPECT_TRUE(refused(a, 4097, 1));  // beyond the buffer's page
    EXPECT_TRUE(refused(a, UINT64_MAX, 1));
    EXPECT_TRUE(refused(a, 64, 0));
    EXPECT_TRUE(refused(a, 64, 3));
    EXPECT_EQ(rknnsim_cache_lines(a, 0, 1), 0);
    EXPECT_EQ(rknnsim_cache_lines(a, 4096, 1), 0);
}

}  // namespace
}  // namespace rknnsim_test
