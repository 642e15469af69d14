// SPDX-License-Identifier: MIT
#include "ggml/ggml_host.hpp"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace rknpu2::test {
namespace {

constexpr const char* kPrefix = "ggml-rknpu2: ";

void* open_library(const std::string& path) {
    void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) ADD_FAILURE() << dlerror();
    return handle;
}

}  // namespace

HostFiles stock_files() {
    if (const char* const library = std::getenv("RKNPU2_TEST_LIBRARY")) return {library, library, ""};
    const std::string folder = HOST_BIN_DIR;
    return {folder + "/libggml-base.so.0", folder + "/libggml.so.0", folder + "/libggml-cpu.so"};
}

std::unique_ptr<GgmlHost> GgmlHost::open(const HostFiles& files, bool is_older) {
    const bool in_one = files.cpu.empty();
    if (open_library(files.base) == nullptr) return nullptr;
    void* const registry = open_library(files.registry);
    if (registry == nullptr) return nullptr;
    std::unique_ptr<GgmlHost> host(new GgmlHost);
#define X(name)                                                                    \
    host->ggml.name = reinterpret_cast<decltype(&::name)>(dlsym(registry, #name)); \
    if (host->ggml.name == nullptr && !is_older && !in_one)                        \
        ADD_FAILURE() << files.registry << " has no " << #name;
#include "ggml/host_functions.inc"
#undef X
    if (::testing::Test::HasFailure()) return nullptr;
    host->ggml.ggml_log_set(on_log, host.get());
    if (!in_one && host->ggml.ggml_backend_load(files.cpu.c_str()) == nullptr) {
        ADD_FAILURE() << "the host cannot load " << files.cpu;
        return nullptr;
    }
    return host;
}

std::unique_ptr<GgmlHost> GgmlHost::open_with_device() {
    std::unique_ptr<GgmlHost> host = open(stock_files());
    if (!host) return nullptr;
    host->load_plugin();
    if (host->device != nullptr) return host;
    ADD_FAILURE() << "the plug-in shows no device";
    for (const std::string& line : host->take_lines(GGML_LOG_LEVEL_INFO))
        ADD_FAILURE() << line;
    return nullptr;
}

GgmlHost::~GgmlHost() {
    if (ggml.ggml_log_set != nullptr) ggml.ggml_log_set(nullptr, nullptr);
}

std::string GgmlHost::plugin_path() {
    return PLUGIN;
}

void GgmlHost::load_plugin(const std::string& path) {
    setenv("GGML_RKNPU2_RUNTIME", SIMULATOR, 0);
    plugin = ggml.ggml_backend_load(path.c_str());
    const bool has_device = plugin != nullptr && ggml.ggml_backend_reg_dev_count(plugin) > 0;
    device = has_device ? ggml.ggml_backend_reg_dev_get(plugin, 0) : nullptr;
}

void GgmlHost::on_log(ggml_log_level level, const char* text, void* self) {
    auto& host = *static_cast<GgmlHost*>(self);
    std::string line(text);
    while (!line.empty() && line.back() == '\n')
        line.pop_back();
    const std::lock_guard lock(host.mutex_);
    host.lines_.push_back({level, line});
}

std::vector<std::string> GgmlHost::take_lines(ggml_log_level level) {
    const std::string prefix = kPrefix;
    const std::lock_guard lock(mutex_);
    std::vector<std::string> ours;
    for (const LogLine& line : lines_) {
        if (line.level >= level && line.text.compare(0, prefix.size(), prefix) == 0)
            ours.push_back(line.text.substr(prefix.size()));
    }
    lines_.clear();
    return ours;
}

std::string GgmlHost::take_log() {
    const std::lock_guard lock(mutex_);
    std::string text;
    for (const LogLine& line : lines_)
        text += line.text + "\n";
    lines_.clear();
    return text;
}

rknnsim_live_counts simulator_counts() {
    rknnsim_live_counts counts{};
    void* const handle = dlopen(SIMULATOR, RTLD_NOW | RTLD_NOLOAD);
    if (handle == nullptr) return counts;
    const auto live = reinterpret_cast<decltype(&::rknnsim_live)>(dlsym(handle, "rknnsim_live"));
    EXPECT_TRUE(live != nullptr && live(&counts) == 0);
    dlclose(handle);
    return counts;
}

int run_in_child(const std::function<int()>& body) {
    constexpr int kFailed = 101;
    const auto failures = [] {
        const auto& parts = *::testing::UnitTest::GetInstance()->current_test_info()->result();
        int failed = 0;  // skips are parts, too
        for (int i = 0; i < parts.total_part_count(); ++i)
            failed += parts.GetTestPartResult(i).failed() ? 1 : 0;
        return failed;
    };
    const int before = failures();
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        const int result = body();
        std::fflush(nullptr);
        _exit(failures() != before ? kFailed : result);
    }
    int status = 0;
    EXPECT_TRUE(child > 0 && waitpid(child, &status, 0) == child);
    EXPECT_FALSE(WIFSIGNALED(status)) << "the child was ended by signal " << WTERMSIG(status);
    return WIFEXITED(status) && WEXITSTATUS(status) < kFailed ? WEXITSTATUS(status) : -1;
}

void run_alone(const std::function<void()>& body) {
    EXPECT_EQ(run_in_child([&] {
                  body();
                  return 0;
              }),
              0)
        << "see the failures above";
}

Ended run_program(const std::string& command) {
    Ended ended;
    std::FILE* const pipe = popen((command + " 2>&1 </dev/null").c_str(), "r");
    if (pipe == nullptr) return ended;
    char buffer[4096];
    while (const size_t count = std::fread(buffer, 1, sizeof buffer, pipe))
        ended.output.append(buffer, count);
    const int status = pclose(pipe);
    if (WIFEXITED(status) && WEXITSTATUS(status) < 128) ended.status = WEXITSTATUS(status);
    return ended;
}

std::vector<std::string> lines_with(const std::string& text, const std::string& part) {
    std::vector<std::string> found;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        if (line.find(part) != std::string::npos) found.push_back(line);
    }
    return found;
}

size_t process_bytes(const std::string& name) {
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);) {
        if (line.compare(0, name.size() + 1, name + ":") == 0)
            return std::stoul(line.substr(name.size() + 1)) * 1024;
    }
    ADD_FAILURE() << "/proc/self/status has no " << name;
    return 0;
}

TemporaryFolder::TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "rknpu2-test-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
    EXPECT_FALSE(path_.empty());
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

}  // namespace rknpu2::test
