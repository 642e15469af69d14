// SPDX-License-Identifier: MIT
// A host for the plug-in: some ggml, opened privately at run time, and what it logged.
//
// The tests link to no ggml. Which one they use is a matter of files: the stock build, copies of it under
// other names, two of them at once. The plug-in is loaded as users load it, through the host's
// ggml_backend_load().
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/rknnsim.h"
#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml.h"

namespace rknpu2::test {

struct HostFunctions {
#define X(name) decltype(&::name) name = nullptr;
#include "ggml/host_functions.inc"
#undef X
};

// The libraries that make up a ggml, in the order in which they have to be opened. All in one: no `cpu`.
struct HostFiles {
    std::string base;
    std::string registry;
    std::string cpu;
};

// Those of the build that CMake was told of; empty paths without one. RKNPU2_TEST_LIBRARY names an older host instead,
// which is all in one library.
HostFiles stock_files();

struct LogLine {
    ggml_log_level level;
    std::string text;  // without the newline
};

class GgmlHost {
  public:
    // Opens the files and loads the CPU backend. Null, with a test failure, if that does not work. A host older than
    // the stock one may lack functions.
    static std::unique_ptr<GgmlHost> open(const HostFiles& files, bool is_older = false);
    // The stock host with the plug-in in it and its device found.
    static std::unique_ptr<GgmlHost> open_with_device();
    ~GgmlHost();
    GgmlHost(const GgmlHost&) = delete;
    GgmlHost& operator=(const GgmlHost&) = delete;

    // Loads the plug-in with the simulator, unless the environment names another runtime. Sets plugin and
    // device as far as there are any.
    void load_plugin(const std::string& path = plugin_path());
    static std::string plugin_path();

    // What the plug-in said to this host since the last call, from `level` upwards, without the prefix
    // "ggml-rknpu2: ".
    std::vector<std::string> take_lines(ggml_log_level level = GGML_LOG_LEVEL_WARN);

    // All lines of the host since the last call of either.
    std::string take_log();
    // The host's log callback, with the GgmlHost as its data; llama.cpp wants to be told, too.
    static void on_log(ggml_log_level level, const char* text, void* self);

    HostFunctions ggml;
    ggml_backend_reg_t plugin = nullptr;
    ggml_backend_dev_t device = nullptr;

  private:
    GgmlHost() = default;

    std::mutex mutex_;
    std::vector<LogLine> lines_;
};

// What the simulator has alive; zeros while none is loaded.
rknnsim_live_counts simulator_counts();

// Runs `body` in a child process, for tests that set the environment or load a plug-in that must not stay.
// What it returns (0 to 100), or -1 when it had failures or a signal ended it.
int run_in_child(const std::function<int()>& body);
// The same for a body without a result: its failures are the test's.
void run_alone(const std::function<void()>& body);

// What a program wrote (both streams) and how it ended.
struct Ended {
    int status = -1;  // exit status; -1 if a signal ended it
    std::string output;
};
Ended run_program(const std::string& command);

// Lines of a text that contain `part`.
std::vector<std::string> lines_with(const std::string& text, const std::string& part);

// A figure in kB of /proc/self/status, in bytes.
size_t process_bytes(const std::string& name);

// A folder of its own, removed at the end.
class TemporaryFolder {
  public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    std::string path(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

}  // namespace rknpu2::test

// At the head of a test that needs a built llama.cpp, or the default model as well.
#define RKNPU2_NEEDS_HOST()                \
    if (std::string(HOST_BIN_DIR).empty()) \
    GTEST_SKIP() << "RKNPU2_LLAMA_BIN_DIR is not set: no host to load into"
#define RKNPU2_NEEDS_MODEL() \
    RKNPU2_NEEDS_HOST();     \
    if (std::string(MODEL).empty()) GTEST_SKIP() << "RKNPU2_MODEL is not set: no model to run"
