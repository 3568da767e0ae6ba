#pragma once

// Hit rates over cache sizes as an SVG picture: a panel per trace, a line per policy and scope, the optimum
// in black.

#include <span>
#include <string>
#include <vector>

namespace greenroom::tools {

struct HitRateCurve {
    std::string label;
    bool is_optimum = false;
    bool is_dashed = false;
    int color = 0;                  // the same number is the same color; ignored for the optimum
    std::vector<double> hit_rates;  // 0 … 1, one per size
};

struct HitRatePanel {
    std::string title;
    std::vector<HitRateCurve> curves;
};

// `sizes` (0 … 1) rise. All curves have a value for each of them.
std::string draw_hit_rates(std::span<const HitRatePanel> panels, std::span<const double> sizes);

}  // namespace greenroom::tools
