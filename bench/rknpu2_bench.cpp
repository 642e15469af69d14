// SPDX-License-Identifier: MIT
// rknpu2-bench: how fast things are, or by a model would be.
//
// Exit status: 0; 1 with one line on stderr for a wrong option or a file that cannot be used, and when a
// check's bars are missed.
#include "commands.hpp"
#include "program.hpp"

namespace {

const rknpu2::Program kProgram("rknpu2-bench", 1);

int parse_and_run(int argc, char** argv) {
    CLI::App app("Benchmarks of the plug-in, and a model of a board.");
    app.require_subcommand(1);
    rknpu2::add_kernels(app);
    rknpu2::add_matmul(app);
    rknpu2::add_predict(app);
    return kProgram.run(app, argc, argv, [] { return 0; });
}

}  // namespace

int main(int argc, char** argv) {
    return kProgram.guard([&] { return parse_and_run(argc, argv); });
}
