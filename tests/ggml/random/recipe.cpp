// SPDX-License-Identifier: MIT
#include "ggml/random/recipe.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <sstream>
#include <stdexcept>

namespace rknpu2::test {
namespace {

constexpr const char* kAllocations[] = {"sched", "gallocr", "own", "dense"};

std::string number_text(double value) {
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text, value).ptr;
    return {text, end};
}

std::string header_of(const Recipe& recipe) {
    std::string text;
    for (const auto& [name, value] : recipe.environment)
        text += "on=" + name + "=" + value + " ";
    text += std::string("alloc=") + kAllocations[static_cast<int>(recipe.allocation)];
    text += " threads=" + std::to_string(recipe.threads) + " rounds=" + std::to_string(recipe.rounds);
    if (!recipe.use_counts) text += " uses=0";
    if (recipe.pieces != 1) text += " pieces=" + std::to_string(recipe.pieces);
    if (recipe.watched) text += " watched=1";
    if (recipe.stop != 0) text += " stop=" + std::to_string(recipe.stop);
    return text;
}

[[noreturn]] void bad(const std::string& what, const std::string& text) {
    throw std::invalid_argument(what + " in \"" + text + "\"");
}

template <typename T>
T number_of(const std::string& text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) bad("no number", text);
    return value;
}

template <typename T>
std::vector<T> numbers_of(const std::string& list) {
    std::vector<T> values;
    std::istringstream stream(list);
    for (std::string item; std::getline(stream, item, ',');)
        values.push_back(number_of<T>(item));
    return values;
}

void read_setting(Recipe& recipe, const std::string& word) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) bad("no key=value", word);
    const std::string key = word.substr(0, equals);
    const std::string value = word.substr(equals + 1);
    if (key == "on") {
        const size_t second = value.find('=');
        if (second == std::string::npos) bad("no NAME=value", word);
        recipe.environment.emplace_back(value.substr(0, second), value.substr(second + 1));
    } else if (key == "alloc") {
        const auto* const found = std::find(std::begin(kAllocations), std::end(kAllocations), value);
        if (found == std::end(kAllocations)) bad("no allocation", word);
        recipe.allocation = static_cast<Allocation>(found - std::begin(kAllocations));
    } else {
        const int number = number_of<int>(value);
        if (key == "threads")
            recipe.threads = number;
        else if (key == "rounds")
            recipe.rounds = number;
        else if (key == "uses")
            recipe.use_counts = number != 0;
        else if (key == "pieces")
            recipe.pieces = number;
        else if (key == "watched")
            recipe.watched = number != 0;
        else if (key == "stop")
            recipe.stop = number;
        else
            bad("unknown setting", word);
    }
}

// From `at` up to one of `ends`.
std::string take(const std::string& text, size_t& at, const char* ends) {
    const size_t end = std::min(text.find_first_of(ends, at), text.size());
    std::string part = text.substr(at, end - at);
    at = end;
    return part;
}

Step read_step(const std::string& text, size_t number) {
    Step step;
    size_t at = 0;
    step.op = take(text, at, ":(%\"#!");
    while (at < text.size()) {
        switch (text[at++]) {
            case ':':
                step.type = take(text, at, "(%\"#!");
                break;
            case '(':
                step.parameters = numbers_of<double>(take(text, at, ")"));
                ++at;
                break;
            case '%':
                step.sources = numbers_of<size_t>(take(text, at, "\"#!"));
                break;
            case '"':
                step.name = take(text, at, "\"");
                ++at;
                break;
            case '#':
                step.data = number_of<uint64_t>(take(text, at, "!"));
                break;
            case '!':
                step.output = true;
                break;
            default:
                bad("not a step", text);
        }
    }
    for (const size_t source : step.sources)
        if (source >= number) bad("a source that is no step before", text);
    return step;
}

}  // namespace

std::string setting(const Environment& environment, const std::string& name) {
    for (const auto& [key, value] : environment)
        if (key == name) return value;
    return "";
}

std::string text_of(const Step& step) {
    std::string text = step.op;
    if (!step.type.empty()) text += ":" + step.type;
    for (size_t i = 0; i < step.parameters.size(); ++i)
        text += (i == 0 ? "(" : ",") + number_text(step.parameters[i]);
    if (!step.parameters.empty()) text += ")";
    for (size_t i = 0; i < step.sources.size(); ++i)
        text += (i == 0 ? "%" : ",") + std::to_string(step.sources[i]);
    if (!step.name.empty()) text += "\"" + step.name + "\"";
    if (step.data != 0) text += "#" + std::to_string(step.data);
    if (step.output) text += "!";
    return text;
}

std::string text_of(const Recipe& recipe) {
    std::string text = header_of(recipe);
    for (const Step& step : recipe.steps)
        text += " ; " + text_of(step);
    return text;
}

std::string listing_of(const Recipe& recipe) {
    std::string text = "    " + header_of(recipe) + "\n";
    for (size_t i = 0; i < recipe.steps.size(); ++i) {
        char number[32];
        std::snprintf(number, sizeof number, "    %3zu  ", i);
        text += number + text_of(recipe.steps[i]) + "\n";
    }
    return text;
}

Recipe parse_recipe(const std::string& text) {
    Recipe recipe;
    size_t at = 0;
    bool header = true;
    while (at < text.size()) {
        const size_t end = std::min(text.find(';', at), text.size());
        std::istringstream words(text.substr(at, end - at));
        std::string word;
        if (header) {
            while (words >> word)
                read_setting(recipe, word);
        } else if (words >> word) {
            recipe.steps.push_back(read_step(word, recipe.steps.size()));
        }
        header = false;
        at = end + 1;
    }
    return recipe;
}

}  // namespace rknpu2::test
