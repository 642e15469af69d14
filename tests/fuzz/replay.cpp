// SPDX-License-Identifier: MIT
// Runs a fuzz target without libFuzzer: on every file of its corpus, then on changed copies of them.
//
//   fuzz_replay_NAME CORPUS [--rounds N] [--seed S] [--round R] [--save FILE]
//
//   CORPUS   a folder, or one file
//   --rounds how many changed copies (2000)
//   --seed   from which they follow, with the names and bytes of the corpus (1)
//   --round  this one alone
//   --save   where to write the input of a failure, for the corpus
//
// A failure, a crash and an input that takes ten seconds are one line that says how to repeat it.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// Where there is a sanitizer: called when it has found something.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());
// GCC's UBSan ends the process without calling anybody, unless it is to abort.
extern "C" __attribute__((visibility("default"))) const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() {
    return "abort_on_error=1:print_stacktrace=1";
}

namespace {

constexpr unsigned kSeconds = 10;
constexpr size_t kLongest = 1 << 16;

constexpr char kUsage[] =
    "fuzz_replay_NAME CORPUS [--rounds N] [--seed S] [--round R] [--save FILE] [--help]\n"
    "runs a fuzz target on the files of CORPUS, then on N changed copies of them; tests/fuzz/replay.cpp "
    "explains";

struct Run {
    std::string program;
    std::string corpus;
    std::string save;
    std::string input;  // the one that runs
    std::string how;    // to repeat it: "--seed 1 --round 7", or nothing for a file of the corpus
};
Run the_run;  // for the handlers

// Not all of this is safe in a signal handler; the process is lost anyway.
void tell() {
    if (!the_run.save.empty()) std::ofstream(the_run.save, std::ios::binary) << the_run.input;
    std::fprintf(stderr, "FAILED. Repeat with: %s %s%s\n", the_run.program.c_str(), the_run.corpus.c_str(),
                 the_run.how.c_str());
}

void on_signal(int number) {
    std::signal(number, SIG_DFL);
    if (number == SIGALRM) std::fprintf(stderr, "an input takes more than %u seconds\n", kSeconds);
    tell();
    std::raise(number);
}

void run(const std::string& input, const std::string& corpus, const std::string& how) {
    the_run.input = input;
    the_run.corpus = corpus;
    the_run.how = how;
    // A copy of exactly this size: a read beyond its end is seen.
    const std::vector<uint8_t> bytes(input.begin(), input.end());
    ::alarm(kSeconds);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    ::alarm(0);
}

struct File {
    std::string path;
    std::string content;
};

std::vector<File> files_of(const std::string& corpus) {
    std::vector<std::string> paths;
    if (std::filesystem::is_directory(corpus)) {
        for (const auto& entry : std::filesystem::directory_iterator(corpus))
            paths.push_back(entry.path().string());
        std::sort(paths.begin(), paths.end());
    } else if (std::filesystem::exists(corpus)) {
        paths.push_back(corpus);
    }
    std::vector<File> files;
    for (const std::string& path : paths) {
        std::ostringstream content;
        content << std::ifstream(path, std::ios::binary).rdbuf();
        files.push_back({path, content.str()});
    }
    return files;
}

void change(std::string& bytes, const std::vector<File>& files, std::mt19937_64& random) {
    static constexpr uint64_t kNumbers[] = {0,
                                            1,
                                            2,
                                            31,
                                            32,
                                            33,
                                            127,
                                            128,
                                            255,
                                            256,
                                            0x7fffffff,
                                            0x80000000,
                                            0xffffffff,
                                            0x100000000,
                                            INT64_MAX,
                                            UINT64_MAX,
                                            UINT64_MAX - 31};
    const size_t at = bytes.empty() ? 0 : random() % bytes.size();
    const auto put = [&](const void* from, size_t count) {
        if (!bytes.empty()) std::memcpy(bytes.data() + at, from, std::min(count, bytes.size() - at));
    };
    switch (random() % 7) {
        case 0:
            if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
            break;
        case 1: {
            const uint64_t number = random();
            put(&number, 1 + random() % 8);
            break;
        }
        case 2: {
            const uint64_t number = kNumbers[random() % std::size(kNumbers)];
            put(&number, size_t{1} << random() % 4);
            break;
        }
        case 3:
            bytes.erase(at, 1 + random() % 16);
            break;
        case 4:
            bytes.insert(at, 1 + random() % 16, static_cast<char>(random()));
            break;
        case 5:
            bytes.resize(at);
            break;
        default: {  // a piece of another file
            const std::string& other = files[random() % files.size()].content;
            if (other.empty()) break;
            const size_t from = random() % other.size();
            bytes.insert(at, other, from, 1 + random() % 64);
        }
    }
    bytes.resize(std::min(bytes.size(), kLongest));
}

std::string changed(const std::vector<File>& files, uint64_t seed, uint64_t round) {
    std::mt19937_64 random(seed * 1000003 + round);
    std::string bytes = files[random() % files.size()].content;
    for (uint64_t changes = 1 + random() % 6; changes > 0; --changes)
        change(bytes, files, random);
    return bytes;
}

}  // namespace

int main(int argc, char** argv) {
    uint64_t rounds = 2000, seed = 1, first = 0;
    std::string corpus;
    the_run.program = argv[0];
    for (int i = 1; i < argc; ++i) {
        const std::string option = argv[i];
        const char* const value = i + 1 < argc ? argv[i + 1] : "";
        if (option.rfind("--", 0) != 0) {
            corpus = option;
            continue;
        }
        if (option == "--help") return std::puts(kUsage), 0;
        ++i;
        if (option == "--rounds")
            rounds = std::strtoull(value, nullptr, 0);
        else if (option == "--seed")
            seed = std::strtoull(value, nullptr, 0);
        else if (option == "--round")
            first = std::strtoull(value, nullptr, 0), rounds = 1;
        else if (option == "--save")
            the_run.save = value;
        else
            return std::fprintf(stderr, "unknown option %s\n", option.c_str()), 2;
    }
    const std::vector<File> files = corpus.empty() ? std::vector<File>() : files_of(corpus);
    if (files.empty()) return std::fprintf(stderr, "%s: no inputs in \"%s\"\n", argv[0], corpus.c_str()), 2;
    for (const int number : {SIGABRT, SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL})
        std::signal(number, on_signal);
    if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(tell);
    for (const File& file : files)
        run(file.content, file.path, " --rounds 0");
    for (uint64_t round = first; round < first + rounds; ++round) {
        run(changed(files, seed, round), corpus,
            " --seed " + std::to_string(seed) + " --round " + std::to_string(round));
    }
    std::printf("%zu inputs of the corpus and %llu changed ones (seed %llu): all properties hold\n",
                files.size(), static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(seed));
    return 0;
}
