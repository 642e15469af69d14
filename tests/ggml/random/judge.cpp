// SPDX-License-Identifier: MIT
#include "ggml/random/judge.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "ggml/random/build.hpp"
#include "ggml/random/leaves.hpp"

namespace rknpu2::test {
namespace {

bool jumps_itself(const Step& step) {
    for (const char* const op : {"argsort_top_k", "unary.sgn", "unary.step", "unary.floor", "unary.ceil",
                                 "unary.round", "unary.trunc"})
        if (step.op == op) return true;
    return false;
}

// A product by a matrix for each head, which the CPU computes: it rounds activations to 8 bits then.
bool rounds_on_cpu(const Recipe& recipe, const Step& step) {
    if (step.op != "mul_mat") return false;
    const Step& weight = recipe.steps[step.sources[0]];
    return weight.op == "weight" && whole(weight, 2, 1) > 1 && weight.type != "f32" && weight.type != "f16";
}

// What the step writes besides its own tensor, through views down to the leaf; itself if nothing.
size_t written_by(const Recipe& recipe, size_t step) {
    const auto passes = [](const Step& at) {
        return writes_operand(at) || at.op == "view" || at.op == "reshape" || at.op == "permute";
    };
    size_t at = step;
    const bool writes = writes_operand(recipe.steps[at]);
    while (writes && passes(recipe.steps[at]) && !recipe.steps[at].sources.empty())
        at = written_operand(recipe.steps[at]);
    return at;
}

std::string name_of(const Recipe& recipe, const Observation& seen) {
    return seen.label + " of step " + std::to_string(seen.step) + ", " + text_of(recipe.steps[seen.step]);
}

std::string first_difference(const Observation& a, const Observation& b) {
    size_t count = 0;
    size_t first = 0;
    const size_t unit = a.floats ? sizeof(float) : 1;
    for (size_t at = 0; at + unit <= a.bytes.size(); at += unit) {
        if (std::memcmp(a.bytes.data() + at, b.bytes.data() + at, unit) == 0) continue;
        if (count++ == 0) first = at / unit;
    }
    std::string text = std::to_string(count) + " of " + std::to_string(a.bytes.size() / unit) +
                       (a.floats ? " numbers" : " bytes") + " differ, the first at " + std::to_string(first);
    if (!a.floats) return text;
    float x = 0;
    float y = 0;
    std::memcpy(&x, a.bytes.data() + first * unit, unit);
    std::memcpy(&y, b.bytes.data() + first * unit, unit);
    char values[96];
    std::snprintf(values, sizeof values, ": %.9g, one by one %.9g", double(x), double(y));
    return text + values;
}

bool is_finite(const Observation& seen) {
    for (size_t at = 0; seen.floats && at + sizeof(float) <= seen.bytes.size(); at += sizeof(float)) {
        float value = 0;
        std::memcpy(&value, seen.bytes.data() + at, sizeof value);
        if (!std::isfinite(value)) return false;
    }
    return true;
}

// Drawn graphs are tame; a graph that is not proves nothing. What no computation has written may be anything.
void require_finite(const Recipe& recipe, const Outcome& off, Verdict& verdict) {
    for (const Observation& seen : off.observations) {
        const Step& step = recipe.steps[seen.step];
        const Step& stored = recipe.steps[written_by(recipe, seen.step)];
        if (stored.op == "state" && whole(stored, 4) == 2) continue;
        // Others pass through infinities: what a mask hides is one.
        const bool kept = seen.label == "leaf" || step.output;
        if (verdict.failed() || !kept || is_finite(seen)) continue;
        verdict.kind = "not tame";
        verdict.detail = name_of(recipe, seen) + " is not finite, one by one";
    }
}

void compare_bits(const Recipe& recipe, const Outcome& on, const Outcome& off, Verdict& verdict) {
    if (on.observations.size() != off.observations.size()) {
        verdict.kind = "bits";
        verdict.detail = "not as much can be seen of both";
        return;
    }
    for (size_t i = 0; i < on.observations.size(); ++i) {
        const Observation& a = on.observations[i];
        const Observation& b = off.observations[i];
        if (a.label == b.label && a.step == b.step && a.bytes == b.bytes) continue;
        verdict.kind = "bits";
        verdict.detail = name_of(recipe, a) + ": " + first_difference(a, b);
        return;
    }
}

// The square of the difference over the square of the reference; negative: the reference is no measure.
// `least`: squares of numbers that may be zeros, see least_square().
double distance(const Observation& seen, const Observation& reference, double least) {
    double difference = 0;
    double total = 0;
    for (size_t at = 0; at + sizeof(float) <= reference.bytes.size(); at += sizeof(float)) {
        float x = 0;
        float y = 0;
        std::memcpy(&x, seen.bytes.data() + at, sizeof x);
        std::memcpy(&y, reference.bytes.data() + at, sizeof y);
        if (!std::isfinite(y)) return -1;
        if (!std::isfinite(x)) return INFINITY;
        difference += (double(x) - y) * (double(x) - y);
        total += double(y) * y;
    }
    least *= static_cast<double>(reference.bytes.size() / sizeof(float));
    if (total <= least) return difference <= least ? 0 : INFINITY;
    return difference / total;
}

std::string farthest_number(const Observation& seen, const Observation& reference) {
    double most = -1;
    char text[96] = "";
    for (size_t at = 0; at + sizeof(float) <= reference.bytes.size(); at += sizeof(float)) {
        float x = 0;
        float y = 0;
        std::memcpy(&x, seen.bytes.data() + at, sizeof x);
        std::memcpy(&y, reference.bytes.data() + at, sizeof y);
        if (std::abs(double(x) - y) <= most) continue;
        most = std::abs(double(x) - y);
        std::snprintf(text, sizeof text, ", most at %zu: %.7g, there %.7g", at / sizeof x, double(x),
                      double(y));
    }
    return text;
}

// The same of the same step; null if it cannot be seen.
const Observation* counterpart(const Outcome& outcome, const Observation& of) {
    for (const Observation& seen : outcome.observations)
        if (seen.step == of.step && seen.label == of.label && seen.bytes.size() == of.bytes.size())
            return &seen;
    return nullptr;
}

bool is_compared(const Observation& expected, const std::vector<Path>& paths) {
    return expected.floats && !paths[expected.step].jumps && expected.label != "passing";
}

// Numbers below all normal ones may be zeros; on the CPU, whose 8 bits have scales in float16, those below 1e-6.
double least_square(const Recipe& recipe) {
    return multiplies_exactly(recipe.environment) ? 1e-74 : 1e-12;
}

// Each product adds its error. That of a few numbers is mostly chance.
double limit_of(const Recipe& recipe, const Observation& expected, const std::vector<Path>& paths) {
    const auto numbers = static_cast<double>(expected.bytes.size() / sizeof(float));
    const Path& path = paths[expected.step];
    return tolerance(recipe.environment, path.coarse) * (1 + path.products) * (1 + 32 / numbers);
}

void compare_near(const Recipe& recipe, const Outcome& on, const Outcome& reference, Verdict& verdict) {
    const std::vector<Path> paths = paths_of(recipe);
    for (const Observation& expected : reference.observations) {
        const Observation* const seen = counterpart(on, expected);
        if (seen == nullptr || !is_compared(expected, paths)) continue;
        const double off = distance(*seen, expected, least_square(recipe));
        if (off < 0) continue;
        verdict.judged = true;
        verdict.farthest = std::max(verdict.farthest, off);
        const double limit = limit_of(recipe, expected, paths);
        verdict.nearness = std::max(verdict.nearness, off / limit);
        if (off <= limit || verdict.failed()) continue;
        verdict.kind = "far";
        char text[64];
        std::snprintf(text, sizeof text, ": NMSE %.3g from the CPU backend", off);
        verdict.detail = name_of(recipe, *seen) + text + farthest_number(*seen, expected);
    }
}

std::string first_values(const std::vector<Observation>& all, const Observation& like) {
    std::string text;
    for (const Observation& seen : all) {
        if (seen.step != like.step || seen.label != like.label) continue;
        for (size_t i = 0; i < 4 && (i + 1) * sizeof(float) <= seen.bytes.size(); ++i) {
            float value = 0;
            std::memcpy(&value, seen.bytes.data() + i * sizeof value, sizeof value);
            char number[32];
            std::snprintf(number, sizeof number, " %12.7g", double(value));
            text += number;
        }
    }
    return text;
}

std::string values_of(const Recipe& recipe, const Outcome& on, const Outcome& off, const Outcome& reference) {
    std::string text;
    for (const Observation& seen : on.observations) {
        if (!seen.floats) continue;
        text += name_of(recipe, seen) + "\n      plug-in    " + first_values(on.observations, seen) +
                "\n      one by one " + first_values(off.observations, seen) + "\n      CPU backend" +
                first_values(reference.observations, seen) + "\n";
    }
    return text;
}

// A sentence without its numbers is a kind.
std::string kind_of(const std::string& problem) {
    std::string kind = problem.substr(0, problem.find_first_of(":;"));
    return kind;
}

}  // namespace

double tolerance(const Environment& environment, bool coarse) {
    const std::string precision = setting(environment, "GGML_RKNPU2_PRECISION");
    if (multiplies_exactly(environment)) return coarse ? 1e-3 : 1e-6;
    if (precision == "exact") return 1e-2;
    if (precision == "compact") return 1;  // random weights are the worst for four bits
    return precision == "fast" ? 0.3 : 0.1;
}

std::vector<Path> paths_of(const Recipe& recipe) {
    std::vector<Path> paths(recipe.steps.size());
    // Twice, for what is written late in the list is read early in the next round.
    for (int round = 0; round < 2; ++round) {
        for (size_t i = 0; i < recipe.steps.size(); ++i) {
            const Step& step = recipe.steps[i];
            Path path = paths[i];
            path.jumps = path.jumps || jumps_itself(step);
            int products = 0;
            for (const size_t source : step.sources) {
                path.jumps = path.jumps || paths[source].jumps;
                path.coarse = path.coarse || paths[source].coarse;
                products = std::max(products, paths[source].products);
            }
            path.products = std::max(path.products, products + (step.op.rfind("mul_mat", 0) == 0 ? 1 : 0));
            path.coarse = path.coarse || rounds_on_cpu(recipe, step);
            // A thousandth of a jump that is as rare as a last bit is nothing.
            if (step.op == "scale" && std::abs(parameter(step, 0)) <= 1e-3) path.jumps = false;
            const size_t written = written_by(recipe, i);
            const std::string& type = recipe.steps[written].type;
            if (written != i && !type.empty() && type != "f32" && type != "f16") path.coarse = true;
            std::vector<size_t> all = {i, written};
            // AdamW keeps what it has seen.
            if (step.op == "opt_step_adamw" && step.sources.size() > 3)
                all.insert(all.end(), {step.sources[2], step.sources[3]});
            for (const size_t at : all) {
                paths[at].jumps = paths[at].jumps || path.jumps;
                paths[at].coarse = paths[at].coarse || path.coarse;
                paths[at].products = std::max(paths[at].products, path.products);
            }
        }
    }
    return paths;
}

void Judge::prepare(const Environment& environment, bool fresh) {
    if (fresh || environment != environment_) end();
    environment_ = environment;
    if (on_ == nullptr) on_ = std::make_unique<Worker>(environment);
    if (off_ != nullptr) return;
    // What is compared with is computed without faults.
    Environment plain;
    for (const auto& [name, value] : environment)
        if (name != "RKNNSIM_FAULTS" && name != "GGML_RKNPU2_ON_ERROR") plain.emplace_back(name, value);
    plain.emplace_back("GGML_RKNPU2_FUSE", "0");
    off_ = std::make_unique<Worker>(plain);
}

Verdict Judge::judge(const Recipe& recipe, bool fresh) {
    prepare(recipe.environment, fresh);
    Verdict verdict;
    const auto took_part = [&](std::unique_ptr<Worker>& worker, const Outcome& outcome, const char* who) {
        if (outcome.problem.empty()) return true;
        verdict.kind = who + kind_of(outcome.problem);
        verdict.detail = who + outcome.problem;
        verdict.said = worker->said();
        if (!worker->alive()) worker.reset();
        return false;
    };
    // A recipe that makes no graph for the CPU is none.
    const Outcome reference = off_->compute(recipe, Way::kReference, seconds_);
    if (!took_part(off_, reference, "by the CPU backend: ")) return verdict;
    const Outcome off = off_->compute(recipe, Way::kOff, seconds_);
    if (!took_part(off_, off, "one by one: ")) return verdict;
    Outcome on = on_->compute(recipe, Way::kOn, seconds_);
    verdict.on.counters = on.counters;
    verdict.on.aborted = on.aborted;
    verdict.on.failed = on.failed;
    verdict.observations = on.observations.size();
    if (!took_part(on_, on, "")) return verdict;
    verdict.values = values_of(recipe, on, off, reference);
    require_finite(recipe, off, verdict);
    if (!verdict.failed()) compare_bits(recipe, on, off, verdict);
    if (verdict.failed()) return verdict;
    compare_near(recipe, on, reference, verdict);
    if (verdict.kind != "far" || !is_sensitive(recipe, on, reference)) return verdict;
    verdict.sensitive = true;
    verdict.kind = verdict.detail = "";
    return verdict;
}

// A graph whose numbers go as far when each product on the CPU has an error as float16 operands give it, is
// one that amplifies errors (a difference of what is nearly the same, a product of products), and no mistake.
// How far a draw of the errors goes is chance, most of all where one number is amplified: a small one is no
// proof, so there are several.
bool Judge::is_sensitive(const Recipe& recipe, const Outcome& on, const Outcome& reference) {
    constexpr int kDraws = 12;
    const std::vector<Path> paths = paths_of(recipe);
    std::vector<double> shaken(recipe.steps.size());
    const auto explained = [&](const Observation& expected) {
        const Observation* const seen = counterpart(on, expected);
        if (seen == nullptr || !is_compared(expected, paths)) return true;
        const double most = std::max(limit_of(recipe, expected, paths), 10 * shaken[expected.step]);
        return distance(*seen, expected, least_square(recipe)) <= most;
    };
    for (int draw = 0; draw < kDraws; ++draw) {
        const auto way = static_cast<Way>(static_cast<int>(Way::kShaken) + draw);
        const Outcome outcome = off_->compute(recipe, way, seconds_);
        if (!outcome.problem.empty()) return false;
        for (size_t i = 0; i < reference.observations.size(); ++i) {
            const Observation& expected = reference.observations[i];
            if (!expected.floats) continue;
            double& most = shaken[expected.step];
            most = std::max(most, distance(outcome.observations[i], expected, least_square(recipe)));
        }
        if (std::all_of(reference.observations.begin(), reference.observations.end(), explained)) return true;
    }
    return false;
}

std::string Judge::end() {
    std::string problem;
    for (std::unique_ptr<Worker>* const worker : {&on_, &off_}) {
        if (*worker == nullptr || !(*worker)->alive()) continue;
        const std::string found = (*worker)->end();
        if (!found.empty()) problem += found + "\n" + (*worker)->said();
    }
    on_.reset();
    off_.reset();
    return problem;
}

}  // namespace rknpu2::test
