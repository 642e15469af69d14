// SPDX-License-Identifier: MIT
// Runs one of our programs as a user would, and what it said.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

namespace rknpu2::testing {

struct Outcome {
    int status = -1;  // -1: it did not end by itself
    std::string out;
    std::string err;
};

inline std::string text_of(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

// `environment` such as "A=1 B=2"; nothing else is inherited. `folder` is for what the program writes to its
// error stream.
inline Outcome run_program(const std::string& program, const std::string& arguments,
                           const std::string& environment, const std::string& folder) {
    const std::string errors = folder + "/stderr";
    const std::string command =
        "env -i " + environment + " " RKNPU2_RUN "'" + program + "' " + arguments + " 2>'" + errors + "'";
    Outcome outcome;
    std::FILE* const pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) return outcome;
    std::array<char, 4096> chunk;
    while (const size_t count = std::fread(chunk.data(), 1, chunk.size(), pipe))
        outcome.out.append(chunk.data(), count);
    const int status = pclose(pipe);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome.err = text_of(errors);
    return outcome;
}

}  // namespace rknpu2::testing
