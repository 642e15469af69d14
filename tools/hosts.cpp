// SPDX-License-Identifier: MIT
#include "hosts.hpp"

#include <dlfcn.h>
#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/format.hpp"
#include "text_table.hpp"
#include "watched_process.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{30};

// Prints folders, one a line.
constexpr const char* kWhere = R"sh({
for program in llama-cli llama-server ollama node; do
    program=$(command -v $program) && dirname "$(readlink -f "$program")"
done | sed 'p; s|$|/../lib|'
python3 -c 'import sys; print(*sys.path[1:], sep="\n")'
/sbin/ldconfig -p | sed -n 's|.*=> \(.*\)/libggml.*|\1|p'
printf '%s\n' node_modules /usr/lib /usr/local/lib
} 2>/dev/null)sh";

std::string output_of(const char* command) {
    std::string text;
    std::FILE* const pipe = popen(command, "r");
    if (pipe == nullptr) return text;
    char chunk[4096];
    while (const size_t count = std::fread(chunk, 1, sizeof chunk, pipe))
        text.append(chunk, count);
    pclose(pipe);
    return text;
}

// 1: the library that loads plug-ins, which may have a build's number or a hash in its name; 2: the one with ggml's
// functions; 3: none of both.
int rank_of(const std::string& name) {
    const auto is = [&](const char* pattern) { return fnmatch(pattern, name.c_str(), 0) == 0; };
    if (is("libggml.*so*") || is("libggml-[0-9a-f][0-9a-f][0-9a-f]*.so*")) return 1;
    return is("libggml-base*.so*") ? 2 : 3;
}

void look_below(const fs::path& root, std::map<fs::path, std::string>& found) {
    std::error_code error;
    constexpr auto kOptions = fs::directory_options::skip_permission_denied;
    for (fs::recursive_directory_iterator at(root, kOptions, error), end; !error && at != end;
         at.increment(error)) {
        const std::string name = at->path().filename().string();
        const int rank = rank_of(name);
        std::error_code ignored;
        if (rank == 3 || !at->is_regular_file(ignored)) continue;
        std::string& best = found[fs::canonical(at->path().parent_path(), ignored)];
        const auto worth = [](const std::string& of) { return std::pair(rank_of(of), of.size()); };
        if (best.empty() || worth(name) < worth(best)) best = name;
    }
}

// What libraries write to the standard streams from now on comes to the file.
std::FILE* catch_output() {
    std::FILE* const file = std::tmpfile();
    if (file != nullptr) {
        dup2(fileno(file), STDOUT_FILENO);
        dup2(fileno(file), STDERR_FILENO);
    }
    return file;
}

std::string read_back(std::FILE* file) {
    if (file == nullptr) return {};
    std::fflush(nullptr);
    std::string text(static_cast<size_t>(lseek(fileno(file), 0, SEEK_END)), '\0');
    return pread(fileno(file), text.data(), text.size(), 0) < 0 ? std::string() : text;
}

// In the other process: tells the version, then why not, then what was written.
void load_plugin(const std::string& library, const std::string& plugin, const WatchedProcess::Link& link) {
    setenv("GGML_RKNPU2_RUNTIME", "/dev/null/none", 1);  // the NPU is not opened
    std::FILE* const output = catch_output();
    // Where the library does not say that its neighbour lies beside it.
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(library).parent_path()))
        if (rank_of(entry.path().filename()) == 2) dlopen(entry.path().c_str(), RTLD_NOW | RTLD_LOCAL);
    void* const host = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (host == nullptr) {
        link.tell("");
        link.tell(format("it cannot be opened; is it for another machine? (%s)", dlerror()));
        return link.tell("");
    }
    const auto version = reinterpret_cast<const char* (*)()>(dlsym(host, "ggml_version"));
    const char* const said = version != nullptr ? version() : nullptr;
    link.tell(said != nullptr ? said : "");
    const auto load = reinterpret_cast<void* (*)(const char*)>(dlsym(host, "ggml_backend_load"));
    if (load == nullptr) {
        link.tell(rank_of(fs::path(library).filename()) == 1
                      ? "it has no function ggml_backend_load: a ggml of 2024, which takes no plug-ins"
                      : "it has no function ggml_backend_load: its program has it, and only that can tell");
    } else {
        link.tell(load(plugin.c_str()) != nullptr ? "" : "it refuses the plug-in");
    }
    link.tell(read_back(output));
}

// The rest of the first line of `text` that has `before`.
std::string after(const std::string& text, const std::string& before) {
    const size_t at = text.find(before);
    if (at == std::string::npos) return {};
    const size_t start = at + before.size();
    return text.substr(start, text.find('\n', start) - start);
}

}  // namespace

Result<std::string> locate_plugin(const std::string& own_directory) {
    const fs::path own(own_directory);
    std::error_code ignored;
    for (const char* const place :
         {"libggml-rknpu2.so", "../" RKNPU2_INSTALL_LIBDIR "/ggml-rknpu2/libggml-rknpu2.so"})
        if (fs::exists(own / place, ignored)) return (own / place).lexically_normal().string();
    return Status(StatusCode::kIo,
                  "libggml-rknpu2.so is not there: install the package ggml-rknpu2 beside this program");
}

Result<std::vector<std::string>> find_ggml(const std::string& folder) {
    std::error_code error;
    if (!folder.empty() && !fs::is_directory(folder, error))
        return Status(StatusCode::kIo, folder + ": is no folder");
    std::istringstream roots(folder.empty() ? output_of(kWhere) : folder + "\n");
    std::map<fs::path, std::string> found;
    for (std::string root; std::getline(roots, root);)
        look_below(root, found);
    std::vector<std::string> libraries;
    libraries.reserve(found.size());
    for (const auto& [path, name] : found)
        libraries.push_back((path / name).string());
    return libraries;
}

GgmlHost ask_host(const std::string& library, const std::string& plugin) {
    GgmlHost host;
    host.library = library;
    Result<WatchedProcess> process =
        WatchedProcess::start([&](const WatchedProcess::Link& link) { load_plugin(library, plugin, link); });
    if (!process.ok()) {
        host.why_not = process.status().message();
        return host;
    }
    std::string output;
    bool complete = false;
    for (std::string* const to : {&host.version, &host.why_not, &output}) {
        const std::optional<std::string> message = process.value().next(kPatience);
        complete = message.has_value();
        if (complete) *to = *message;
    }
    if (!complete) host.why_not = "a process that loaded the plug-in into it " + process.value().ending();
    const std::string refusal = after(output, "ggml-rknpu2: not loaded: ");
    if (!refusal.empty()) host.why_not = refusal;
    host.structures = after(output, "its structures are those of ");
    host.tried = output.find("nobody has tried") == std::string::npos;
    return host;
}

std::string to_text(const std::vector<GgmlHost>& hosts) {
    if (hosts.empty()) return "no ggml was found; --hosts FOLDER looks elsewhere\n";
    TextTable table("llll");
    table.add({"GGML", "LAYOUT OF", "LOADS", "LIBRARY"});
    std::string reasons;
    for (const GgmlHost& host : hosts) {
        const auto shown = [](const std::string& text) { return text.empty() ? "-" : printable(text); };
        const char* const loads = !host.why_not.empty() ? "no" : host.tried ? "yes" : "yes, untried";
        table.add({shown(host.version), shown(host.structures), loads, printable(host.library)});
        if (!host.why_not.empty()) reasons += printable(host.library) + ": " + printable(host.why_not) + "\n";
    }
    return table.to_string() + (reasons.empty() ? "" : "\n" + reasons);
}

std::string to_json(const std::vector<GgmlHost>& hosts) {
    using nlohmann::ordered_json;
    ordered_json list = ordered_json::array();
    for (const GgmlHost& host : hosts) {
        list.push_back({{"library", host.library},
                        {"version", host.version},
                        {"layout", host.structures},
                        {"loads", host.why_not.empty()},
                        {"tried", host.tried},
                        {"why_not", host.why_not}});
    }
    const ordered_json document = {{"schema", 1}, {"version", RKNPU2_VERSION}, {"hosts", list}};
    return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace rknpu2
