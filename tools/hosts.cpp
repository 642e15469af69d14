// SPDX-License-Identifier: MIT
#include "hosts.hpp"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "text_table.hpp"
#include "watched_process.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;

// Prints libraries that load plug-ins, whose names may have a build's number or a hash, those of ggml's functions, and one
// that has all of ggml in it.
constexpr const char* kFind = R"sh({
if [ "$FOLDER" ]; then echo "$FOLDER"; else
    for program in llama-cli llama-server ollama node; do
        program=$(command -v $program) && dirname "$(readlink -f "$program")"
    done | sed 'p; s|$|/../lib|'
    python3 -c 'import sys; print(*sys.path[1:], sep="\n")'
    /sbin/ldconfig -p | sed -n 's|.*=> \(.*\)/libggml.*|\1|p'
    printf '%s\n' node_modules /usr/lib /usr/local/lib
fi | while read -r root; do
    find -H "$root" ! -type d \( -name 'libggml.*so*' -o -name 'libggml-[0-9a-f][0-9a-f][0-9a-f]*.so*' -o -name 'libggml-base*.so*' -o -name 'libstable-diffusion.so' \)
done; } 2>/dev/null)sh";

bool is_base(const fs::path& library) {
    return library.filename().string().starts_with("libggml-base");
}

// Throws why not.
void load_plugin(const std::string& library, const std::string& plugin) {
    setenv("GGML_RKNPU2_RUNTIME", "/dev/null/none", 1);  // the NPU is not opened
    // Where the library does not say that its neighbour lies beside it.
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(library).parent_path()))
        if (is_base(entry.path())) dlopen(entry.path().c_str(), RTLD_NOW | RTLD_LOCAL);
    void* const host = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (host == nullptr)
        throw std::runtime_error(
            format("not: it cannot be opened; is it for another machine? (%s)", dlerror()));
    const auto version = reinterpret_cast<const char* (*)()>(dlsym(host, "ggml_version"));
    const char* const said = version != nullptr ? version() : nullptr;
    if (said != nullptr) dprintf(STDOUT_FILENO, "version: %s\n", said);
    const auto load = reinterpret_cast<void* (*)(const char*)>(dlsym(host, "ggml_backend_load"));
    if (load == nullptr) {
        throw std::runtime_error(format("not: it has no function ggml_backend_load: %s",
                                        is_base(library) ? "its program has it, and only that can tell"
                                                         : "a ggml of 2024, which takes no plug-ins"));
    }
    if (load(plugin.c_str()) == nullptr) throw std::runtime_error("not: it refuses the plug-in");
    std::_Exit(EXIT_SUCCESS);  // what the host does at its end is not asked
}

// The rest of the first line of `text` that has `before`.
std::string after(const std::string& text, const char* before) {
    const size_t at = text.find(before);
    if (at == std::string::npos) return {};
    const size_t start = at + std::strlen(before);
    return text.substr(start, text.find('\n', start) - start);
}

}  // namespace

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GgmlHost, library, version, layout, why_not, loads, tried)

std::vector<std::string> find_ggml(const std::string& folder) {
    setenv("FOLDER", folder.c_str(), 1);
    std::map<fs::path, fs::path> found;
    std::FILE* const pipe = popen(kFind, "r");
    char line[PATH_MAX + 1];
    while (pipe != nullptr && std::fgets(line, sizeof line, pipe) != nullptr) {
        const fs::path path = std::string(line, std::strcspn(line, "\n"));
        std::error_code ignored;
        fs::path& best = found[fs::canonical(path.parent_path(), ignored)];
        const auto worth = [](const fs::path& of) { return std::pair(is_base(of), of.native().size()); };
        if (best.empty() || worth(path.filename()) < worth(best)) best = path.filename();
    }
    if (pipe != nullptr) pclose(pipe);
    std::vector<std::string> libraries;
    libraries.reserve(found.size());
    for (const auto& [path, name] : found)
        libraries.push_back((path / name).string());
    return libraries;
}

GgmlHost ask_host(const std::string& library, const std::string& plugin) {
    const FileDescriptor output(memfd_create("output", MFD_CLOEXEC));
    Result<WatchedProcess> process = WatchedProcess::start([&](const WatchedProcess::Link&) {
        dup2(output.number(), STDOUT_FILENO);
        dup2(output.number(), STDERR_FILENO);
        load_plugin(library, plugin);
    });
    if (process.ok()) process.value().next(std::chrono::seconds(30));
    std::string said(static_cast<size_t>(std::max<off_t>(lseek(output.number(), 0, SEEK_END), 0)), '\0');
    if (pread(output.number(), said.data(), said.size(), 0) < 0) said.clear();
    GgmlHost host{library, after(said, "version: "), after(said, "its structures are those of "),
                  after(said, "ggml-rknpu2: not loaded: ")};
    if (host.why_not.empty()) host.why_not = after(said, "not: ");
    if (host.why_not.empty())
        host.why_not = process.ok() ? process.value().ending() : process.status().message();
    host.loads = host.why_not.empty();
    host.tried = said.find("nobody has tried") == std::string::npos;
    return host;
}

std::string to_text(const std::vector<GgmlHost>& hosts) {
    if (hosts.empty()) return "no ggml was found; --hosts FOLDER looks elsewhere\n";
    TextTable table("llll");
    table.add({"GGML", "LAYOUT OF", "LOADS", "LIBRARY"});
    std::string reasons;
    for (const GgmlHost& host : hosts) {
        const auto shown = [](const std::string& text) { return text.empty() ? "-" : printable(text); };
        const char* const loads = !host.loads ? "no" : host.tried ? "yes" : "yes, untried";
        table.add({shown(host.version), shown(host.layout), loads, shown(host.library)});
        if (!host.loads)
            reasons += format("\n%s: %s\n", printable(host.library).c_str(), printable(host.why_not).c_str());
    }
    return table.to_string() + reasons;
}

std::string to_json(const std::vector<GgmlHost>& hosts) {
    const nlohmann::json document = {{"schema", 1}, {"version", RKNPU2_VERSION}, {"hosts", hosts}};
    return document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace rknpu2
