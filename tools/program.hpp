// SPDX-License-Identifier: MIT
// What the programs rknpu2-* have in common: options by CLI11, one line on stderr for whatever went wrong,
// and an exit status that tells a failed write of the output, too.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>

#include "system/file.hpp"

namespace rknpu2 {

class Program {
  public:
    // `name` begins each line on stderr and outlives the object; `failure` is the exit status of a failure, 1
    // or more.
    Program(const char* name, int failure) : name_(name), failure_(failure) {}

    const char* name() const { return name_; }

    // "NAME: MESSAGE" on stderr, one line whatever the message holds. Returns the failure's exit status.
    int fail(const std::string& message) const;
    void warn(const std::string& message) const;  // "NAME: warning: MESSAGE"
    // Writes `text` to stdout: 0, or what fail() says when not all of it could be written.
    int show(const std::string& text) const;

    // What `work` returns; a failure when it throws. All that main() does goes in there.
    template <typename Work>
    int guard(const Work& work) const noexcept {
        const NoFileSizeSignal no_signal;  // a limit of the size of files is a message, not a signal
        try {
            return work();
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s: %s\n", name_, error.what());
            return failure_;
        }
    }

    // Parses the options and returns the exit status of `work`, which runs after that; or of --help,
    // --version, a wrong option. A subcommand's callback ends the program early by
    // CLI::RuntimeError(status).
    int run(CLI::App& app, int argc, char** argv, const std::function<int()>& work) const;

  private:
    const char* name_;
    int failure_;
};

// The folder of the running program, where an installed tool looks for libraries; "." if that cannot be told.
std::string own_directory();

}  // namespace rknpu2
