// SPDX-License-Identifier: MIT
#include "doctor_root.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

namespace rknpu2 {

namespace fs = std::filesystem;

RootFolder::RootFolder(std::string root, Usable usable) : root_(std::move(root)), usable_(std::move(usable)) {
    while (root_.ends_with('/'))
        root_.pop_back();
    if (!usable_) usable_ = [](const std::string& path) { return access(path.c_str(), R_OK | W_OK) == 0; };
}

std::optional<std::string> RootFolder::read(const std::string& path) const {
    std::error_code error;
    if (fs::is_directory(real(path), error)) return std::nullopt;
    std::ifstream file(real(path), std::ios::binary);
    if (!file) return std::nullopt;
    std::ostringstream text;
    text << file.rdbuf();
    if (text.str().empty()) return std::nullopt;
    return text.str();
}

std::optional<std::string> RootFolder::first_line(const std::string& path) const {
    std::optional<std::string> text = read(path);
    if (text) text->resize(std::min(text->find_first_of(std::string("\n\0", 2)), text->size()));
    return text;
}

std::optional<long long> RootFolder::number(const std::string& path) const {
    const std::optional<std::string> text = first_line(path);
    if (!text) return std::nullopt;
    char* end = nullptr;
    const long long value = std::strtoll(text->c_str(), &end, 10);
    if (end == text->c_str()) return std::nullopt;
    return value;
}

bool RootFolder::exists(const std::string& path) const {
    std::error_code error;
    return fs::exists(real(path), error);
}

std::vector<std::string> RootFolder::list(const std::string& path) const {
    std::vector<std::string> names;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(real(path), error))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

std::string RootFolder::link_name(const std::string& path) const {
    std::error_code error;
    const fs::path target = fs::read_symlink(real(path), error);
    if (error) return {};
    std::string name = target.filename().string();
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    return name;
}

bool RootFolder::usable_by_group(const std::string& path) const {
    constexpr mode_t kBoth = S_IRGRP | S_IWGRP;
    struct stat status = {};
    return stat(real(path).c_str(), &status) == 0 && (status.st_mode & kBoth) == kBoth;
}

std::string RootFolder::group_of(const std::string& path) const {
    struct stat status = {};
    if (stat(real(path).c_str(), &status) != 0) return "?";
    std::string number = std::to_string(status.st_gid);
    std::istringstream groups(read("/etc/group").value_or(""));
    for (std::string line; std::getline(groups, line);) {
        std::istringstream fields(line);
        std::string name, password, id;
        std::getline(std::getline(std::getline(fields, name, ':'), password, ':'), id, ':');
        if (id == number) return name;
    }
    return number;
}

}  // namespace rknpu2
