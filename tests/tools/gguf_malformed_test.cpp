// SPDX-License-Identifier: MIT
// The GGUF reader on bad files: always a Status of one line, never a crash and never much memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "gguf/gguf_file.hpp"
#include "gguf/gguf_writer.hpp"
#include "model_report.hpp"

namespace rknpu2 {
namespace {

using ::testing::HasSubstr;

void expect_refused(const std::string& bytes, const std::string& part) {
    const Result<GgufFile> result = parse_bytes(bytes);
    ASSERT_FALSE(result.ok()) << "expected: " << part;
    EXPECT_THAT(result.status().message(), HasSubstr(part));
    EXPECT_EQ(result.status().message().find('\n'), std::string::npos);
}

TEST(GgufMalformed, TruncatedAtEveryByte) {
    const std::string whole = small_model().bytes();
    ASSERT_TRUE(parse_bytes(whole).ok());
    for (size_t size = 0; size < whole.size(); ++size) {
        const Result<GgufFile> result = parse_bytes(whole.substr(0, size));
        ASSERT_FALSE(result.ok()) << size << " of " << whole.size() << " bytes";
        EXPECT_EQ(result.status().message().find('\n'), std::string::npos);
    }
}

TEST(GgufMalformed, Header) {
    GgufWriter writer = small_model();
    writer.magic = "GGML";
    expect_refused(writer.bytes(), "not a GGUF file");
    writer.magic = "GGUF";
    for (const uint32_t version : {0U, 1U, 4U, 1000U}) {
        writer.version = version;
        expect_refused(writer.bytes(), "only 2 and 3");
    }
    writer.version = 0x03000000;
    expect_refused(writer.bytes(), "big-endian");
}

TEST(GgufMalformed, AbsurdCounts) {
    for (const uint64_t extra : {uint64_t{1} << 20, uint64_t{1} << 40, UINT64_MAX - 100}) {
        GgufWriter tensors = small_model();
        tensors.extra_tensors = extra;
        expect_refused(tensors.bytes(), "tensors do not fit in the file");
        GgufWriter pairs = small_model();
        pairs.extra_pairs = extra;
        expect_refused(pairs.bytes(), "metadata entries do not fit in the file");
    }
}

TEST(GgufMalformed, Strings) {
    const std::string number = GgufWriter::number_bytes(uint64_t{1} << 62);
    expect_refused(GgufWriter().pair("name", 8, number).bytes(),
                   "a string is 4611686018427387904 bytes long");
    expect_refused(GgufWriter().array("names", 8, 1, number).bytes(), "a string of its array is");
    expect_refused(GgufWriter().u32("", 1).bytes(), "key is empty");
    expect_refused(GgufWriter().u32(std::string(70'000, 'k'), 1).bytes(), "a metadata key is 70000 bytes");
    expect_refused(GgufWriter().u32("a\nb", 1).u32("a\nb", 2).bytes(), "\"a?b\" is there twice");
    expect_refused(GgufWriter().tensor(std::string(64, 'n'), 0, {1}).bytes(), "a tensor's name is 64 bytes");
    expect_refused(GgufWriter().tensor("t", 0, {1}).tensor("t", 0, {1}).bytes(), "\"t\" is there twice");
}

TEST(GgufMalformed, ValueTypes) {
    for (const uint32_t type : {13U, 99U, UINT32_MAX})
        expect_refused(GgufWriter().pair("k", type, "........").bytes(), "unknown type");
    expect_refused(GgufWriter().array("k", 9, 1, "............").bytes(), "which ggml refuses");
    expect_refused(GgufWriter().array("k", 77, 1, "............").bytes(), "which ggml refuses");
}

TEST(GgufMalformed, Arrays) {
    for (const uint64_t count : {uint64_t{100}, uint64_t{1} << 31, uint64_t{1} << 61, UINT64_MAX}) {
        for (const uint32_t type : {0U, 5U, 8U, 10U})
            expect_refused(GgufWriter().array("k", type, count, "1234").bytes(), "does not fit in the file");
    }
}

TEST(GgufMalformed, Alignment) {
    for (const uint32_t bad : {0U, 3U, 33U, UINT32_MAX})
        expect_refused(GgufWriter().u32("general.alignment", bad).bytes(), "not a power of two");
    expect_refused(GgufWriter().scalar("general.alignment", 10, uint64_t{32}).bytes(), "of type uint32");
    expect_refused(GgufWriter().array("general.alignment", 4, 1, "1234").tensor("t", 0, {1}).bytes(),
                   "of type uint32");
    // A large alignment puts the data beyond the end.
    expect_refused(GgufWriter().u32("general.alignment", 1U << 31).tensor("t", 0, {1}).bytes(), "truncated");
}

TEST(GgufMalformed, Shapes) {
    const auto with = [](uint32_t type, const std::vector<uint64_t>& shape) {
        return GgufWriter().raw_tensor("t", type, shape, 0, 64).bytes();
    };
    expect_refused(with(0, {1, 1, 1, 1, 1}), "5 dimensions");
    expect_refused(with(0, {uint64_t{1} << 63}), "makes it too large");
    expect_refused(with(0, {UINT64_MAX, 2}), "makes it too large");
    expect_refused(with(0, {uint64_t{1} << 32, uint64_t{1} << 32}), "makes it too large");
    expect_refused(with(0, {uint64_t{1} << 40, 0, uint64_t{1} << 40}), "makes it too large");
    expect_refused(with(0, {uint64_t{1} << 62}), "size in bytes is too large");
    expect_refused(with(0, {uint64_t{1} << 60}), "truncated");
    expect_refused(with(8, {33, 2}), "not whole blocks of 32");
    expect_refused(with(4, {32}), "type 4 is unknown");
    expect_refused(with(43, {32}), "type 43 is unknown");
    expect_refused(with(UINT32_MAX, {32}), "is unknown");
}

TEST(GgufMalformed, Offsets) {
    expect_refused(GgufWriter().raw_tensor("t", 0, {4}, 32, 64).bytes(),
                   "is at offset 32 of the data, not at 0");
    expect_refused(GgufWriter().tensor("s", 0, {4}).raw_tensor("t", 0, {4}, 0, 16).bytes(), "not at 32");
    expect_refused(GgufWriter().tensor("s", 0, {4}).raw_tensor("t", 0, {4}, UINT64_MAX, 16).bytes(),
                   "not at 32");
    expect_refused(GgufWriter().raw_tensor("t", 0, {1000}, 0, 3999).bytes(), "needs 4000 bytes");
    EXPECT_TRUE(parse_bytes(GgufWriter().raw_tensor("t", 0, {1000}, 0, 4000).bytes()).ok());
}

TEST(GgufMalformed, ReadErrorIsOneLine) {
    const auto failing = [](uint64_t, void*, size_t) { return false; };
    const Result<GgufFile> result = GgufFile::parse(ByteReader(failing, 1000));
    ASSERT_FALSE(result.ok());
    EXPECT_THAT(result.status().message(), HasSubstr("cannot be read at offset 0"));
}

// Whatever a corrupted file still says must be safe to analyse and to print.
TEST(GgufMalformed, RandomCorruption) {
    const std::string whole = small_model().bytes();
    const size_t header = parse_bytes(whole).value().data_offset;
    constexpr uint32_t kSeed = 20240611;
    std::mt19937 random(kSeed);
    int accepted = 0;
    for (int round = 0; round < 2000; ++round) {
        SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", round " << round);
        std::string bytes = whole;
        const size_t changes = 1 + random() % 4;
        for (size_t i = 0; i < changes; ++i) {
            constexpr unsigned char kNasty[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
            const bool nasty = random() % 2 == 0;
            bytes[random() % header] = static_cast<char>(nasty ? kNasty[random() % 5] : random() % 256);
        }
        if (random() % 4 == 0) bytes.resize(random() % bytes.size());
        const Result<GgufFile> result = parse_bytes(bytes);
        if (!result.ok()) {
            EXPECT_EQ(result.status().message().find('\n'), std::string::npos);
            continue;
        }
        ++accepted;
        const ModelReport report = analyse(result.value(), "m", Config(), 1);
        EXPECT_FALSE(to_json(report).empty());
        EXPECT_FALSE(to_text(report).empty());
    }
    EXPECT_GT(accepted, 50) << "names and values may change freely";
}

}  // namespace
}  // namespace rknpu2
