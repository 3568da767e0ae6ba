#include "tools/hit_rate_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string_view>

namespace greenroom::tools {
namespace {

// All lengths in pixels.
constexpr double kWidth = 760;
constexpr double kLeft = 60;
constexpr double kPlotWidth = 480;
constexpr double kPlotHeight = 320;
constexpr double kTop = 40;
constexpr double kPanelHeight = kTop + kPlotHeight + 60;
constexpr double kLegendLine = 18;

// Told apart also by people who do not see red or green [Okabe, Ito 2008].
constexpr std::array<std::string_view, 7> kColors = {"#d55e00", "#0072b2", "#009e73", "#cc79a7",
                                                     "#e69f00", "#56b4e9", "#999999"};

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else
            out += c;
    }
    return out;
}

std::string stroke_of(const HitRateCurve& curve) {
    const std::string_view color =
        curve.is_optimum ? "#000000" : kColors[static_cast<std::size_t>(curve.color) % kColors.size()];
    return fmt::format(R"(stroke="{}" stroke-width="2" fill="none"{})", color,
                       curve.is_dashed ? R"( stroke-dasharray="6 4")" : "");
}

// From the largest size that is a multiple of 10 % below all, to the smallest above.
struct Axis {
    double first;
    double last;

    double x(double size) const { return kLeft + (size - first) / (last - first) * kPlotWidth; }
};

Axis axis_for(std::span<const double> sizes) {
    const int first = static_cast<int>(sizes.front() * 10 + 1e-9);
    const int last = static_cast<int>(sizes.back() * 10 + 1 - 1e-9);
    return {first / 10.0, std::max(first + 1, last) / 10.0};
}

double y(double hit_rate) { return kTop + (1 - hit_rate) * kPlotHeight; }

void draw_axes(std::string& out, const Axis& axis) {
    auto to = std::back_inserter(out);
    for (int percent = 0; percent <= 100; percent += 10) {
        const double height = y(percent / 100.0);
        fmt::format_to(to, R"(<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" stroke="#dddddd"/>)", kLeft,
                       kLeft + kPlotWidth, height, height);
        fmt::format_to(to, R"(<text x="{}" y="{:.1f}" text-anchor="end">{}</text>)", kLeft - 8, height + 4,
                       percent);
        out += '\n';
    }
    const double bottom = y(0);
    for (long percent = std::lround(axis.first * 100); percent <= std::lround(axis.last * 100); percent += 10)
        fmt::format_to(to, "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                       axis.x(static_cast<double>(percent) / 100), bottom + 18, percent);
    fmt::format_to(to, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">experts in the cache, %</text>\n",
                   kLeft + kPlotWidth / 2, bottom + 38);
    fmt::format_to(
        to, "<text transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">hit rate, %</text>\n",
        kTop + kPlotHeight / 2);
}

void draw_panel(std::string& out, const HitRatePanel& panel, std::span<const double> sizes) {
    auto to = std::back_inserter(out);
    const Axis axis = axis_for(sizes);
    fmt::format_to(to, "<text x=\"{}\" y=\"24\" font-size=\"15\">{}</text>\n", kLeft, escaped(panel.title));
    draw_axes(out, axis);
    double legend = kTop + 10;
    for (const HitRateCurve& curve : panel.curves) {
        out += "<polyline points=\"";
        for (std::size_t i = 0; i < sizes.size(); ++i)
            fmt::format_to(to, "{}{:.1f},{:.1f}", i == 0 ? "" : " ", axis.x(sizes[i]), y(curve.hit_rates[i]));
        fmt::format_to(to, "\" {}/>\n", stroke_of(curve));
        const double x = kLeft + kPlotWidth + 20;
        fmt::format_to(to, R"(<line x1="{}" x2="{}" y1="{}" y2="{}" {}/>)", x, x + 28, legend - 4, legend - 4,
                       stroke_of(curve));
        fmt::format_to(to, "<text x=\"{}\" y=\"{}\">{}</text>\n", x + 36, legend, escaped(curve.label));
        legend += kLegendLine;
    }
}

}  // namespace

std::string draw_hit_rates(std::span<const HitRatePanel> panels, std::span<const double> sizes) {
    const double height = kPanelHeight * static_cast<double>(panels.size());
    std::string out = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" "
        "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
        "fill=\"white\"/>\n",
        kWidth, height, kWidth, height);
    double top = 0;
    for (const HitRatePanel& panel : panels) {
        out += fmt::format("<g transform=\"translate(0 {})\">\n", top);
        draw_panel(out, panel, sizes);
        out += "</g>\n";
        top += kPanelHeight;
    }
    return out + "</svg>\n";
}

}  // namespace greenroom::tools
