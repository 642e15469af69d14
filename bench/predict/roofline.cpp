#include "predict/roofline.hpp"

#include <algorithm>
#include <cmath>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

constexpr double kWidth = 860, kHeight = 520, kLeft = 70, kRight = 200, kTop = 40, kBottom = 60;
constexpr double kFromX = 1, kToX = 10000, kFromY = 0.01, kToY = 10;  // operations a byte, TOPS
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};

double x_of(double intensity) {
    const double share = std::log(intensity / kFromX) / std::log(kToX / kFromX);
    return kLeft + std::clamp(share, 0.0, 1.0) * (kWidth - kLeft - kRight);
}

double y_of(double tops) {
    const double share = std::log(tops / kFromY) / std::log(kToY / kFromY);
    return kHeight - kBottom - std::clamp(share, 0.0, 1.0) * (kHeight - kTop - kBottom);
}

std::string escape(const std::string& text) {
    std::string out;
    for (const char c : text) {
        out += c == '<'   ? "&lt;"
               : c == '>' ? "&gt;"
               : c == '&' ? "&amp;"
               : c == '"' ? "&quot;"
                          : std::string(1, c);
    }
    return out;
}

std::string label(double x, double y, const char* anchor, const std::string& text) {
    return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
                  escape(text).c_str());
}

std::string line(double x1, double y1, double x2, double y2, const char* style) {
    return format("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2, style);
}

std::string axes(const BoardProfile& board) {
    std::string svg;
    for (double x = kFromX; x <= kToX * 1.01; x *= 10) {
        svg += line(x_of(x), kTop, x_of(x), kHeight - kBottom, "stroke=\"#ddd\"");
        svg += label(x_of(x), kHeight - kBottom + 18, "middle", format("%g", x));
    }
    for (double y = kFromY; y <= kToY * 1.01; y *= 10) {
        svg += line(kLeft, y_of(y), kWidth - kRight, y_of(y), "stroke=\"#ddd\"");
        svg += label(kLeft - 8, y_of(y) + 4, "end", format("%g", y));
    }
    svg +=
        label((kLeft + kWidth - kRight) / 2, kHeight - 16, "middle", "operations a byte of memory traffic");
    svg += label(kLeft, kTop - 14, "start",
                 "int8 TOPS, modelled. Circles: one multiplication of prefill alone; squares: whole prefill; "
                 "triangles: decode");
    const double peak = board.int8_peak(3) * 1e-12;
    const double ridge = peak * 1e3 / board.dram_gbps;
    svg +=
        line(x_of(kFromX), y_of(kFromX * board.dram_gbps * 1e-3), x_of(ridge), y_of(peak), "stroke=\"#000\"");
    svg += line(x_of(ridge), y_of(peak), x_of(kToX), y_of(peak), "stroke=\"#000\"");
    svg += label(x_of(kToX) - 4, y_of(peak) - 6, "end", format("%.2f TOPS", peak));
    svg += label(x_of(6), y_of(6 * board.dram_gbps * 1e-3) - 10, "end", format("%.1f GB/s", board.dram_gbps));
    return svg;
}

struct Point {
    double intensity, tops;
};

std::string mark(char shape, const Point& point, const char* colour, const std::string& title) {
    const double x = x_of(point.intensity), y = y_of(point.tops);
    std::string svg;
    if (shape == 'o') {
        svg = format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"none\" stroke=\"%s\">", x, y, colour);
    } else if (shape == 's') {
        svg = format("<rect x=\"%.1f\" y=\"%.1f\" width=\"10\" height=\"10\" fill=\"%s\">", x - 5, y - 5,
                     colour);
    } else {
        svg = format("<path d=\"M%.1f %.1f l6 10 h-12 z\" fill=\"%s\">", x, y - 6, colour);
    }
    const std::string text =
        format("%s: %.3g operations a byte, %.3g TOPS", title.c_str(), point.intensity, point.tops);
    const char* end = shape == 'o' ? "circle" : shape == 's' ? "rect" : "path";
    return svg + "<title>" + escape(text) + "</title></" + end + ">\n";
}

Point whole(const Prediction& p, const PassResult& pass, double operations) {
    double bytes = 0;
    for (const Operation& operation : pass.graph.operations)
        bytes += operation.bytes();
    const double all = operations * static_cast<double>(p.setting.model.token_weights());
    return {all / bytes, all / pass.seconds * 1e-12};
}

// Every multiplication of the first layer: its rounds of all chunks, one after the other, alone.
std::string circles(const Prediction& p, const char* colour) {
    struct Sum {
        std::string name;
        double bytes = 0, ns = 0;
    };
    std::vector<Sum> sums;
    const Graph& graph = p.prefill.graph;
    for (size_t i = 0; i < graph.operations.size(); ++i) {
        const Operation& operation = graph.operations[i];
        if (operation.server != Server::kNpu || graph.layer[i] != 0) continue;
        if (sums.empty() || sums.back().name != operation.what) {
            const auto same = std::find_if(sums.begin(), sums.end(),
                                           [&](const Sum& sum) { return sum.name == operation.what; });
            if (same == sums.end()) sums.push_back({.name = operation.what});
        }
        for (Sum& sum : sums) {
            if (sum.name != operation.what) continue;
            sum.bytes += operation.bytes();
            sum.ns += operation.fixed_ns + operation.alone_ns();
        }
    }
    std::string svg;
    for (const Sum& sum : sums) {
        double weights = 0;
        for (const Group group : kLayerGroups) {
            for (const WeightShape& weight : weights_of(p.setting.model, group)) {
                if (sum.name == group_name(group) || sum.name == weight.name) {
                    weights += static_cast<double>(weight.N * weight.K);
                }
            }
        }
        const double operations = 2 * weights * static_cast<double>(p.goal.prompt);
        svg += mark('o', {operations / sum.bytes, operations / sum.ns * 1e-3}, colour,
                    p.setting.model.name + " " + sum.name);
    }
    return svg;
}

}  // namespace

std::string roofline_svg(const std::vector<Prediction>& predictions) {
    std::string svg = format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
        kWidth, kHeight);
    if (!predictions.empty()) svg += axes(predictions.front().setting.board);
    double y = kTop + 10;
    size_t number = 0;
    for (const Prediction& p : predictions) {
        const char* colour = kColours[number++ % std::size(kColours)];
        const std::string name = p.setting.model.name + ", " + p.setting.design.name;
        svg += circles(p, colour);
        svg += mark('s', whole(p, p.prefill, 2.0 * static_cast<double>(p.goal.prompt)), colour,
                    name + ", prefill");
        svg += mark('t', whole(p, p.decode, 2), colour, name + ", decode");
        svg += format("<rect x=\"%.1f\" y=\"%.1f\" width=\"10\" height=\"10\" fill=\"%s\"/>\n",
                      kWidth - kRight + 12, y - 9, colour);
        svg += label(kWidth - kRight + 28, y, "start", name);
        y += 18;
    }
    return svg + "</svg>\n";
}

}  // namespace rknpu2
