// SPDX-License-Identifier: MIT
#include "doctor_board_profile.hpp"

#include <filesystem>

#include "base/format.hpp"
#include "runtime/board_profile.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

// What was there before, for people; empty: nothing.
std::string replaced_text(const std::string& path, const std::string& chosen) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return {};
    const Result<std::string> text = read_regular_file(path, 1 << 20);
    const Result<BoardAnswers> before =
        text.ok() ? parse_board_answers(text.value(), path) : Result<BoardAnswers>(text.status());
    if (!before.ok()) return ", in place of one that could not be read";
    if (before.value().coherency == chosen) return ", in place of one that said the same";
    if (before.value().coherency.empty()) return ", in place of one that told no coherency";
    return ", in place of one that said coherency = " + before.value().coherency;
}

// How wide runs may be, as a line of the profile; empty when as wide as the plug-in makes them by itself.
std::string columns_line(const DoctorReport& report) {
    const Reading* const reading = find_reading(report.readings, "wide-n");
    const size_t columns = reading != nullptr ? fewer_columns(*reading) : 0;
    if (columns == 0) return {};
    const std::string& why = reading->ran() ? reading->answer : reading->error;
    return format("columns = %zu  # %s\n", columns, one_line(why).c_str());
}

// What the plug-in reads. There must be a choice, and one of its strategies must be right.
std::string board_profile_text(const DoctorReport& report, const std::string& root) {
    const BoardKey key = board_key(report.runtime, root);
    const CoherencyVerdict choice = report.coherency().value();
    return format("# For ggml-rknpu2, by rknpu2-doctor %s on %s.\n", RKNPU2_VERSION, report.when.c_str()) +
           format("board = %s\nruntime = %s\n", key.board.c_str(), key.runtime.c_str()) +
           format("coherency = %s  # %s\n", choice.chosen.c_str(), one_line(choice.why).c_str()) +
           columns_line(report);
}

}  // namespace

BoardProfilePlace board_profile_place(const std::string& option, const Config& config,
                                      const DoctorReport& report, const std::string& root) {
    if (option == "none") return {"", "not asked for"};
    const std::optional<CoherencyVerdict> choice = report.coherency();
    if (!choice) return {"", "not everything could be tried out"};
    if (choice->chosen.empty()) return {"", "no strategy is right"};
    if (!option.empty()) return {option, ""};
    if (report.runtime.simulated) return {"", "a simulator's answers go only where --board-profile says"};
    if (report.quick) return {"", "the answers of --quick go only where --board-profile says"};
    if (config.profile_directory.empty()) return {"", "there is no home; --board-profile names a file"};
    return {config.profile_directory + "/" + board_profile_name(board_key(report.runtime, root)), ""};
}

Status write_board_profile(const BoardProfilePlace& place, DoctorReport& report, const std::string& root) {
    const CheckLine line{"reading.board-profile", "board profile"};
    if (place.path.empty()) {
        report.board_profile = line.skipped("not written: " + place.why);
        return {};
    }
    const std::string chosen = report.coherency().value().chosen;
    const std::string replaced = replaced_text(place.path, chosen);
    std::error_code ignored;  // what is missing shows when the file is written
    std::filesystem::create_directories(std::filesystem::path(place.path).parent_path(), ignored);
    Status status = write_file_atomically(place.path, board_profile_text(report, root));
    report.board_profile = status.ok()
                               ? line.ok("coherency = " + chosen + ", written to " + place.path + replaced)
                               : line.warning(status.message(), "--board-profile names another file");
    return status;
}

}  // namespace rknpu2
