// SPDX-License-Identifier: MIT
// Text files of `name = value  # comment` lines: the form of bench/shapes/*.txt and of the board's profile.
//
// Only the form is checked here: a line without "=", an empty name or value and a name given twice are errors
// that name the file and the line. What the names mean, and which there must be, is for whoever reads them:
// take() hands a value over and check_all_taken() then complains about a name that nobody asked for.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/status.hpp"

namespace rknpu2 {

class KeyValues {
  public:
    // `file` is for messages only.
    static Result<KeyValues> parse(const std::string& text, const std::string& file);

    const std::string& file() const { return file_; }
    bool has(const std::string& name) const { return entries_.count(name) > 0; }
    Result<std::string> take(const std::string& name);
    // Finite and from `low` to `high`.
    Result<double> take_number(const std::string& name, double low, double high);
    Result<int64_t> take_integer(const std::string& name, int64_t low, int64_t high);
    // Names that begin with `prefix`, without it.
    std::map<std::string, double> take_all_with(const std::string& prefix, Status* status);
    Status check_all_taken() const;

  private:
    struct Entry {
        std::string value;
        int line;
    };
    std::string file_;
    std::map<std::string, Entry> entries_;
};

// The whole of a text file.
Result<std::string> read_text_file(const std::string& path);

}  // namespace rknpu2
