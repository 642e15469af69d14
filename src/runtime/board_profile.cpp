// SPDX-License-Identifier: MIT
#include "runtime/board_profile.hpp"

#include <filesystem>
#include <fstream>

#include "base/format.hpp"
#include "base/key_values.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

constexpr uint64_t kMostBytes = 64 << 10;  // of a profile; a few lines are expected
constexpr size_t kMostOfAName = 80;
constexpr const char* kSystemFolder = "/etc/ggml-rknpu2";

// Never empty, and neither hidden nor a path.
std::string file_safe(const std::string& text) {
    std::string safe;
    for (const char c : text) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        const bool inside = (c == '.' || c == '_') && !safe.empty();
        if (letter || inside) {
            safe += c;
        } else if (!safe.empty() && safe.back() != '-') {
            safe += '-';
        }
        if (safe.size() == kMostOfAName) break;
    }
    while (!safe.empty() && (safe.back() == '-' || safe.back() == '.'))
        safe.pop_back();
    return safe.empty() ? "unknown" : safe;
}

// Up to the first NUL: `compatible` has several entries, the board's own first.
std::string device_tree(const std::string& root, const char* name) {
    std::ifstream file(root + "/proc/device-tree/" + name, std::ios::binary);  // it tells no size
    std::string text;
    std::getline(file, text, '\0');
    return text.substr(0, text.find('\n'));
}

Status bad(const std::string& what) {
    return {StatusCode::kInvalidArgument, what};
}

Status take(const KeyValue& entry, BoardAnswers& answers) {
    const auto& [name, value, line] = entry;
    if (name == "board") {
        answers.board = value;
    } else if (name == "runtime") {
        answers.runtime = value;
    } else if (name == "coherency") {
        if (value != "owner" && value != "lines")
            return bad("coherency is \"" + value + "\", but must be owner or lines");
        answers.coherency = value;
    } else if (name == "columns") {
        answers.columns = parse_int(value).value_or(0);
        if (!is_columns(answers.columns))
            return bad("columns is \"" + value + "\", but must be a multiple of 64 from 64 to 131072");
    } else if (!RKNPU2_TAKE(answers.rates.take(entry))) {
        answers.unknown.push_back(name);
    }
    return {};
}

// Is the profile for this board?
Status check_key(const BoardAnswers& answers, const BoardKey& key) {
    if (!answers.board.empty() && answers.board != key.board)
        return bad("is of board " + answers.board + ", and this is " + key.board);
    if (!answers.runtime.empty() && answers.runtime != key.runtime)
        return bad("is of runtime " + answers.runtime + ", and this is " + key.runtime);
    return {};
}

Result<BoardAnswers> read_answers(const std::string& path, const BoardKey& key) {
    const std::string text = RKNPU2_TAKE(read_regular_file(path, kMostBytes));
    BoardAnswers answers = RKNPU2_TAKE(parse_board_answers(text, path));
    RKNPU2_RETURN_IF_ERROR(check_key(answers, key).with_context(path));
    return answers;
}

BoardProfileChoice read_profile(const std::string& path, const BoardKey& key) {
    BoardProfileChoice choice;
    const auto warn = [&](const std::string& line) { choice.warnings.push_back(printable(line)); };
    const Result<BoardAnswers> answers = read_answers(path, key);
    if (!answers.ok()) {
        warn("board profile: " + answers.status().message());
        choice.info = "the board profile is not used, so the safe one";
        return choice;
    }
    if (const std::vector<std::string>& unknown = answers.value().unknown; !unknown.empty())
        warn("board profile: " + path + ": left out, being unknown to this version: " + joined(unknown));
    choice.path = path;
    choice.coherency = answers.value().coherency;
    choice.columns = answers.value().columns;
    choice.rates = answers.value().rates;
    choice.info = format("board profile %s%s", printable(path).c_str(),
                         choice.coherency.empty() ? " tells none, so the safe one" : "");
    return choice;
}

}  // namespace

BoardKey board_key(const RuntimeInfo& info, const std::string& root) {
    const std::string runtime = file_safe(info.api_version);
    if (info.simulated) return {"simulator", runtime};
    std::string board = device_tree(root, "compatible");
    if (board.empty()) board = device_tree(root, "model");
    board = file_safe(board);
    return {board == "simulator" ? "unknown" : board, runtime};  // a board of that name is none
}

std::string board_profile_name(const BoardKey& key) {
    return key.board + "-" + key.runtime + ".profile";
}

Result<BoardAnswers> parse_board_answers(const std::string& text, const std::string& file) {
    const std::vector<KeyValue> entries = RKNPU2_TAKE(parse_key_values(text, file));
    BoardAnswers answers;
    for (const KeyValue& entry : entries)
        if (const Status status = take(entry, answers); !status.ok())
            return wrong_line(file, entry.line, status.message());
    return answers;
}

BoardProfileChoice choose_board_profile(const Config& config, const RuntimeInfo& info,
                                        const std::string& root) {
    BoardProfileChoice none;
    none.info = "GGML_RKNPU2_PROFILE=none, so the safe one";
    if (config.profile == "none") return none;
    const BoardKey key = board_key(info, root);
    if (config.profile != "auto") return read_profile(config.profile, key);
    std::vector<std::string> folders;
    if (!config.profile_directory.empty()) folders.push_back(config.profile_directory);
    folders.push_back(root + kSystemFolder);
    for (const std::string& folder : folders) {
        const std::string path = folder + "/" + board_profile_name(key);
        std::error_code error;
        const bool there = std::filesystem::exists(std::filesystem::symlink_status(path, error));
        if (there) return read_profile(path, key);
    }
    none.info = format(
        "no board profile (%s in %s), so the safe one; rknpu2-doctor finds out whether another is faster",
        printable(board_profile_name(key)).c_str(), printable(joined(folders, " or ")).c_str());
    return none;
}

}  // namespace rknpu2
