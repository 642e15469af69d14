// rknpu2-bench: how fast things are, or by a model would be.
//
// Exit status: 0; 1 with one line on stderr for a wrong option or a file that cannot be used, and when a
// check's bars are missed.
#include <cstdio>
#include <exception>

#include "commands.hpp"

namespace {

int run(int argc, char** argv) {
    CLI::App app("Benchmarks of the plug-in, and a model of a board.", "rknpu2-bench");
    app.require_subcommand(1);
    app.set_version_flag("--version", std::string("ggml-rknpu2 ") + RKNPU2_VERSION);
    rknpu2::add_kernels(app);
    rknpu2::add_matmul(app);
    rknpu2::add_predict(app);
    try {
        app.parse(argc, argv);
    } catch (const CLI::RuntimeError& error) {
        return error.get_exit_code();
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
        std::fprintf(stderr, "rknpu2-bench: %s (--help lists the options)\n", error.what());
        return 1;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "rknpu2-bench: %s\n", error.what());
        return 1;
    }
}
