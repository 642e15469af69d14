// SPDX-License-Identifier: MIT
#include "predict/modelled.hpp"

#include <nlohmann/json.hpp>

#include "base/format.hpp"

namespace rknpu2 {

using Json = nlohmann::ordered_json;

std::string modelled_text(TextTable table, const std::vector<Json>& rows) {
    for (const Json& row : rows) {
        std::vector<std::string> cells;
        for (const Json& value : row)
            cells.push_back(value.is_string() ? value.get<std::string>()
                                              : format("%.10g", value.get<double>()));
        table.add(cells);
    }
    return kModelledNote + table.to_string();
}

std::string modelled_json(const char* name, const std::vector<Json>& rows) {
    return Json{{"schema", 1}, {"modelled", true}, {name, rows}}.dump(2) + "\n";
}

}  // namespace rknpu2
