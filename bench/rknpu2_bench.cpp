// SPDX-License-Identifier: MIT
// rknpu2-bench: how fast things are, or by a model would be.
//
// Exit status: 0; 1 with one line on stderr for a wrong option or a file that cannot be used, and when a
// check's bars are missed.
#include "commands.hpp"
#include "program.hpp"

namespace rknpu2 {
namespace {

const Program kProgram("rknpu2-bench", 1);

int parse_and_run(int argc, char** argv) {
    CLI::App app("Benchmarks of the plug-in, and a model of a board.");
    app.require_subcommand(1);
    add_kernels(app);
    add_matmul(app);
    add_predict(app);
    return kProgram.run(app, argc, argv, [] { return 0; });
}

}  // namespace

void add_format(CLI::App& command, std::string& format) {
    command.add_option("--format", format)
        ->check(CLI::IsMember({"text", "csv", "json"}))
        ->capture_default_str();
}

void show(const std::string& text) {
    if (const int status = kProgram.show(text); status != 0) throw CLI::RuntimeError(status);
}

}  // namespace rknpu2

int main(int argc, char** argv) {
    return rknpu2::kProgram.guard([&] { return rknpu2::parse_and_run(argc, argv); });
}
