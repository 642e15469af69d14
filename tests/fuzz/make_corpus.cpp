// SPDX-License-Identifier: MIT
// Writes the seeds of every fuzz target's corpus: make_corpus FOLDER makes FOLDER/NAME/seed-*. The same bytes
// each time; the test fuzz.corpus compares them with the ones that are checked in. Files found-* are inputs
// of failures and come from nowhere else.
#include <cstdio>
#include <limits>
#include <sstream>

#include "calibration/activation_stats.hpp"
#include "config/config.hpp"
#include "fuzz/weight_cache_case.hpp"
#include "gguf/gguf_writer.hpp"
#include "predict/csv.hpp"
#include "timing/default_profile.hpp"

namespace {

namespace fs = std::filesystem;
using namespace rknpu2;  // NOLINT: this is its program

fs::path root;

void seed(const std::string& target, const std::string& name, const std::string& content) {
    fs::create_directories(root / target);
    fuzz::Target::write((root / target / ("seed-" + name)).string(), content);
}

template <typename T>
std::string bytes(T value) {
    return GgufWriter::number_bytes(value);
}

// As Input::size() takes it.
std::string size(uint64_t value) {
    unsigned bits = 0;
    while (bits < 64 && value >> bits != 0)
        ++bits;
    return bytes(static_cast<uint8_t>(bits)) + bytes(bits == 0 ? uint64_t{0} : value << (64 - bits));
}

GgufWriter model() {
    return GgufWriter()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .array("tokenizer.ggml.tokens", 8, 2, GgufWriter::string_bytes("a") + GgufWriter::string_bytes("b"))
        .tensor("token_embd.weight", 8, {32, 3})
        .tensor("blk.0.attn_q.weight", 2, {64, 4})
        .tensor("blk.0.attn_norm.weight", 0, {7});
}

void gguf() {
    seed("gguf", "empty", "");
    seed("gguf", "no-tensors", GgufWriter().text("general.name", "x").bytes());
    seed("gguf", "model", model().bytes());
    GgufWriter old = model();
    old.version = 2;
    seed("gguf", "version-2", old.bytes());
    GgufWriter aligned;
    aligned.alignment = 64;
    seed("gguf", "alignment",
         aligned.u32("general.alignment", 64).tensor("a", 0, {3}).tensor("b", 1, {5, 2}).bytes());
}

// The writer fills the data with 'x', which is 0x78787878, a float of 2e34: sums and counts alike.
void imatrix() {
    const auto with = [](uint64_t K, uint64_t matrices) {
        return GgufWriter()
            .text("general.type", "imatrix")
            .tensor("blk.0.ffn_up.weight.in_sum2", 0, {K, matrices})
            .tensor("blk.0.ffn_up.weight.counts", 0, {1, matrices})
            .bytes();
    };
    std::string good = with(8, 1);
    const float sums[8] = {1, 0, 2, 3, 4, 5, 6, 7};
    const float count = 4;
    std::memcpy(good.data() + good.size() - 36, sums, sizeof sums);
    std::memcpy(good.data() + good.size() - 4, &count, sizeof count);
    seed("imatrix", "good", good);
    const float infinite = std::numeric_limits<float>::infinity();
    std::memcpy(good.data() + good.size() - 4, &infinite, sizeof infinite);
    seed("imatrix", "infinite-count", good);
    seed("imatrix", "experts", with(4, 3));
    seed("imatrix", "model", model().bytes());
}

void statistics() {
    ModelStats two;
    for (const char* const name : {"blk.0.attn_q.weight", "output.weight"}) {
        ActivationStats entry;
        entry.N = 48;
        entry.K = 4;
        entry.fingerprint = 0x1234;
        entry.rows = 100;
        entry.mean = {0.5F, -1, 0, 2};
        entry.mean_square = {1, 2, 0, 8};
        entry.output = name[0] == 'o';
        if (entry.output) entry.one_plane_divergence = 0.25F;
        two.emplace(name, entry);
    }
    const std::string text = encode_stats(two);
    seed("statistics", "as-it-is", bytes(uint8_t{0}) + text);
    seed("statistics", "checksum-set", bytes(uint8_t{1}) + text);
    std::string name_with_a_line_break = text;
    name_with_a_line_break[text.find("blk.0")] = '\n';
    std::fill_n(name_with_a_line_break.begin() + static_cast<std::ptrdiff_t>(text.find("weight")) + 6, 8,
                '\0');  // N
    seed("statistics", "name-with-a-line-break", bytes(uint8_t{1}) + name_with_a_line_break);
    seed("statistics", "none", bytes(uint8_t{0}) + encode_stats({}));
    std::string of_version_2 =
        text;  // without the bytes of the first part, the numbers of moments and what follows
    of_version_2.resize(text.size() - 12);
    for (const char* const name : {"output.weight", "blk.0.attn_q.weight"})
        of_version_2.erase(of_version_2.find(name) + std::strlen(name) + 40, 4);
    of_version_2.erase(16, 8);
    of_version_2[8] = 2;
    seed("statistics", "version-2", bytes(uint8_t{1}) + of_version_2);
    std::string of_version_3 = text;
    of_version_3[8] = 3;
    seed("statistics", "version-3", bytes(uint8_t{1}) + of_version_3);
    for (auto& [name, entry] : two)
        entry.moments = make_moments({{0, 4, 32}}, std::vector<float>(32, 0.5F),
                                     std::vector<int8_t>(correlation_count(32), 3));
    two.begin()->second.moments = std::prev(two.end())->second.moments;
    seed("statistics", "moments", bytes(uint8_t{0}) + encode_stats(two));
}

void config() {
    std::string defaults;
    for (const SettingInfo& setting : describe_settings())
        defaults +=
            std::string(setting.name).substr(std::strlen("GGML_RKNPU2_")) + "=" + setting.default_text + "\n";
    seed("config", "defaults", defaults);
    seed("config", "values",
         "CORES=2\nTHREADS=4\nAFFINITY=4-7,0\nPRECISION=exact\nWEIGHT_CACHE=/tmp/w\nWEIGHT_CACHE_MB=64\n"
         "EXPERTS=cpu\nMATRICES=auto\nON_ERROR=retry,reset,cpu\nLOCK=none\nFUSE=0\nSTATISTICS=none\n");
    seed("config", "unknown", "PRECISON=fast\n");
    seed("config", "wrong", "CORES=4\n");
    seed("config", "lines-in-a-value",
         "PRECISION=fast\x01"
         "balanced\n");
}

void profile() {
    seed("profile", "simulator", bytes(uint8_t{0}) + rknnsim::default_profile_text());
    seed("profile", "control-character", bytes(uint8_t{0}) + "clock\x1b[2J = 1\n");
    std::string zero_byte = rknnsim::default_profile_text();
    zero_byte.insert(zero_byte.find(' ', 15 + zero_byte.find("\nerror.worst")), std::string("\0 9", 3));
    seed("profile", "zero-byte", bytes(uint8_t{0}) + zero_byte);
    seed(
        "profile", "too-many-parameters",
        bytes(uint8_t{2}) +
            std::string("name,layers,hidden_size,heads,kv_heads,head_dim,ffn_size,vocabulary,tied_embeddings,"
                        "norms_per_layer,parameters,source\n"
                        "m,1000,16777216,4096,4096,65536,16777216,1,0,0,1,s\n"));
    seed("profile", "board", bytes(uint8_t{1}) + embedded_board());
    seed("profile", "simulator-as-board", bytes(uint8_t{1}) + rknnsim::default_profile_text());
    seed("profile", "shape", bytes(uint8_t{2}) + embedded_models());
    seed("profile", "engines",
         bytes(uint8_t{3}) +
             std::string("engine,model,tokens,prefill_tps,decode_tps,source,check\na,b,128,90.5,10,c,\n"));
}

void profiles_of_the_doctor() {
    const auto one = [](const std::string& name, const std::string& text) {
        seed("profile", "doctor-" + name, bytes(uint8_t{4}) + text);
    };
    one("good",
        "board = radxa-rock-5b\nruntime = 2.3.2\ncoherency = owner  # measured: 64 of 64 right\n"
        "columns = 4096\n");
    one("unknown-names", "coherency = lines\ncolour = red\n= 3\n");
    one("twice", "coherency = lines\ncoherency = owner\n");
    one("zero-byte", std::string("coherency = owner\0 9\n", 21));
}

void weight_cache() {
    fuzz::WeightCacheCase weight;
    std::ostringstream file;
    file << std::ifstream(weight.path(), std::ios::binary).rdbuf();
    seed("weight_cache", "good", bytes(uint8_t{0}) + file.str());
    const auto change = [](uint16_t place, uint8_t value) { return bytes(place) + bytes(value); };
    seed("weight_cache", "payload", bytes(uint8_t{1}) + change(200, 7));
    seed("weight_cache", "cut", bytes(uint8_t{1}) + change(UINT16_MAX, 104));
    seed("weight_cache", "not-rotated", bytes(uint8_t{2}) + change(12, 0) + change(56, 0));
    seed("weight_cache", "many-scales", bytes(uint8_t{2}) + change(54, 0xff));
    seed("weight_cache", "more-cells", bytes(uint8_t{2}) + change(47, 0x7f));
}

void plan() {
    const auto problem = [](uint8_t setting, uint64_t M, uint64_t N, uint64_t K, uint64_t experts,
                            uint64_t used) {
        return bytes(uint16_t{0}) + bytes(setting) + size(M) + size(N) + size(K) + size(experts) +
               size(used) + size(M * K);
    };
    seed("plan", "small", problem(0, 1, 1, 1, 0, 0));
    seed("plan", "layer", problem(10, 512, 8960, 1536, 0, 0));
    seed("plan", "head", problem(2, 1, 151936, 1536, 0, 0));
    seed("plan", "long-rows", problem(11, 33, 100, 70000, 0, 0));
    seed("plan", "experts", problem(0, 1024, 768, 2048, 128, 8));
    seed("plan", "too-large", problem(0, 1, uint64_t{1} << 33, uint64_t{1} << 33, 0, 0));
    seed("plan", "many-rows", problem(0, uint64_t{1} << 44, 1, 1, 4, 2));
}

void tensor() {
    const auto change = [](uint8_t which, uint8_t field, uint64_t value) {
        return bytes(static_cast<uint8_t>(which + 4 * field)) + size(value);
    };
    for (uint8_t first = 0; first < 8; ++first)
        seed("tensor", "sound-" + std::to_string(first), bytes(first));
    seed("tensor", "one-row-with-a-stride",
         bytes(uint8_t{0}) + change(0, 1, 1) + change(3, 0, 1) + change(3, 12, 0) + change(0, 5, 1 << 30));
    seed("tensor", "no-rows-to-choose", bytes(uint8_t{1}) + change(1, 1, 0));
    seed("tensor", "unknown-type", bytes(uint8_t{0}) + change(0, 8, 1000));
    seed("tensor", "no-source", bytes(uint8_t{0}) + change(0, 9, 0));
    seed("tensor", "huge",
         bytes(uint8_t{1}) + change(0, 0, uint64_t{1} << 62) + change(1, 0, uint64_t{1} << 62) +
             change(0, 12, 0));
}

}  // namespace

int main(int argc, char** argv) {
    // An option is no folder.
    if (argc != 2 || argv[1][0] == '-') return std::fprintf(stderr, "make_corpus FOLDER\n"), 2;
    root = argv[1];
    gguf();
    imatrix();
    statistics();
    config();
    profile();
    profiles_of_the_doctor();
    weight_cache();
    plan();
    tensor();
    return 0;
}
