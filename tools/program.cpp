// SPDX-License-Identifier: MIT
#include "program.hpp"

#include <filesystem>

#include "base/format.hpp"

namespace rknpu2 {

int Program::fail(const std::string& message) const {
    std::fprintf(stderr, "%s: %s\n", name_, printable(message).c_str());
    return failure_;
}

void Program::warn(const std::string& message) const {
    std::fprintf(stderr, "%s: warning: %s\n", name_, printable(message).c_str());
}

int Program::show(const std::string& text) const {
    const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
    return written && std::fflush(stdout) == 0 ? 0 : fail("cannot write the output");
}

int Program::run(CLI::App& app, int argc, char** argv, const std::function<int()>& work) const {
    app.name(name_);
    app.set_version_flag("--version", std::string("ggml-rknpu2 ") + RKNPU2_VERSION);
    try {
        app.parse(argc, argv);
        return work();
    } catch (const CLI::RuntimeError& error) {
        return error.get_exit_code();
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
        return fail(std::string(error.what()) + " (--help lists the options)");
    }
}

std::string own_directory() {
    std::error_code error;
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
    return error ? "." : self.parent_path().string();
}

}  // namespace rknpu2
