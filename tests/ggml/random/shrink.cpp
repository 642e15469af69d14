// SPDX-License-Identifier: MIT
#include "ggml/random/shrink.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "ggml/random/leaves.hpp"

namespace rknpu2::test {
namespace {

// Leaves out step `gone`; what read it reads `instead`.
Recipe without(const Recipe& recipe, size_t gone, size_t instead) {
    Recipe shorter = recipe;
    shorter.steps.erase(shorter.steps.begin() + static_cast<ptrdiff_t>(gone));
    for (Step& step : shorter.steps)
        for (size_t& source : step.sources) {
            if (source == gone) source = instead;
            if (source > gone) --source;
        }
    return shorter;
}

std::vector<size_t> readers(const Recipe& recipe, size_t step) {
    std::vector<size_t> found;
    for (size_t i = 0; i < recipe.steps.size(); ++i) {
        const auto& sources = recipe.steps[i].sources;
        if (std::find(sources.begin(), sources.end(), step) != sources.end()) found.push_back(i);
    }
    return found;
}

// Leaves that nothing reads are no part of the graph.
Recipe without_unread_leaves(Recipe recipe) {
    for (size_t i = recipe.steps.size(); i-- > 0;)
        if (is_leaf(recipe.steps[i]) && readers(recipe, i).empty()) recipe = without(recipe, i, i);
    return recipe;
}

class Shrinker {
  public:
    Shrinker(const Recipe& recipe, std::string kind, Judge& judge, int attempts, bool fresh)
        : best_(recipe), kind_(std::move(kind)), judge_(judge), attempts_(attempts), fresh_(fresh) {}

    Recipe shrink() {
        bool shorter = true;
        while (shorter && attempts_ > 0) {
            shorter = drop_tail();
            shorter = drop_steps() || shorter;
            shorter = simplify_settings() || shorter;
            shorter = smaller_numbers() || shorter;
        }
        return best_;
    }

  private:
    bool keep_if_it_fails(Recipe candidate) {
        if (attempts_ <= 0) return false;
        --attempts_;
        candidate = without_unread_leaves(std::move(candidate));
        if (candidate.steps.empty()) return false;
        if (judge_.judge(candidate, fresh_).kind != kind_) return false;
        best_ = std::move(candidate);
        return true;
    }

    // Cuts off the end, by halves.
    bool drop_tail() {
        bool any = false;
        for (size_t count = best_.steps.size() / 2; count > 0; count /= 2) {
            while (count < best_.steps.size()) {
                Recipe candidate = best_;
                candidate.steps.resize(best_.steps.size() - count);
                if (!keep_if_it_fails(candidate)) break;
                any = true;
            }
        }
        return any;
    }

    // Without the step: nothing reads it, or its readers take what it read, or an input of its size.
    bool drop_steps() {
        bool any = false;
        for (size_t i = best_.steps.size(); i-- > 0 && attempts_ > 0;) {
            if (i >= best_.steps.size() || is_leaf(best_.steps[i])) continue;
            const std::vector<size_t> sources = best_.steps[i].sources;
            if (readers(best_, i).empty()) {
                any = keep_if_it_fails(without(best_, i, i)) || any;
                continue;
            }
            bool gone = false;
            for (const size_t source : sources)
                gone = gone || keep_if_it_fails(without(best_, i, source));
            any = any || gone;
            if (!gone) any = become_input(i) || any;
        }
        return any;
    }

    // In place of a result, an input of the size of one that is there.
    bool become_input(size_t i) {
        std::set<std::vector<double>> sizes;
        for (const Step& step : best_.steps)
            if (step.op == "input" || step.op == "positive") sizes.insert(step.parameters);
        for (const std::vector<double>& size : sizes) {
            Recipe candidate = best_;
            Step input;
            input.op = "input";
            input.parameters = size;
            input.data = i + 1;
            candidate.steps[i] = input;
            if (keep_if_it_fails(candidate)) return true;
        }
        return false;
    }

    bool simplify_settings() {
        bool any = false;
        const auto attempt = [&](const std::function<void(Recipe&)>& change) {
            Recipe candidate = best_;
            change(candidate);
            if (text_of(candidate) != text_of(best_)) any = keep_if_it_fails(candidate) || any;
        };
        attempt([](Recipe& r) { r.stop = 0; });
        attempt([](Recipe& r) { r.watched = false; });
        attempt([](Recipe& r) { r.pieces = 1; });
        attempt([](Recipe& r) { r.rounds = 1; });
        attempt([](Recipe& r) { r.threads = 1; });
        attempt([](Recipe& r) { r.use_counts = true; });
        attempt([](Recipe& r) { r.allocation = Allocation::kOwn, r.watched = false; });
        for (size_t i = best_.environment.size(); i-- > 1;)
            attempt(
                [i](Recipe& r) { r.environment.erase(r.environment.begin() + static_cast<ptrdiff_t>(i)); });
        for (size_t i = best_.steps.size(); i-- > 0;) {
            if (best_.steps[i].output) attempt([i](Recipe& r) { r.steps[i].output = false; });
            if (!best_.steps[i].name.empty()) attempt([i](Recipe& r) { r.steps[i].name.clear(); });
        }
        return any;
    }

    // Every size becomes a smaller one wherever it stands, also as bytes of floats and halves.
    bool smaller_numbers() {
        std::set<double> sizes;
        for (const Step& step : best_.steps)
            if (is_leaf(step))
                for (size_t i = 0; i < std::min<size_t>(2, step.parameters.size()); ++i)
                    if (step.parameters[i] > 1) sizes.insert(step.parameters[i]);
        bool any = false;
        for (auto size = sizes.rbegin(); size != sizes.rend(); ++size)
            for (const double smaller : {1.0, 2.0, 32.0, 64.0, 128.0, 129.0, 256.0, std::floor(*size / 2)})
                if (smaller < *size && keep_if_it_fails(with_number(*size, smaller))) {
                    any = true;
                    break;
                }
        return any;
    }

    Recipe with_number(double from, double to) const {
        Recipe candidate = best_;
        for (Step& step : candidate.steps)
            for (double& value : step.parameters)
                for (const double unit : {1.0, 4.0, 2.0})
                    if (value == unit * from) {
                        value = unit * to;
                        break;
                    }
        return candidate;
    }

    Recipe best_;
    const std::string kind_;
    Judge& judge_;
    int attempts_;
    const bool fresh_;
};

}  // namespace

Recipe shrink(const Recipe& recipe, const std::string& kind, Judge& judge, int attempts, bool fresh) {
    return Shrinker(recipe, kind, judge, attempts, fresh).shrink();
}

}  // namespace rknpu2::test
