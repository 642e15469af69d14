// SPDX-License-Identifier: MIT
// The values of a text file (base/key_values.hpp), for a reader that wants all of them: take() hands one over,
// and check_all_taken() complains about a name that nobody asked for.
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
