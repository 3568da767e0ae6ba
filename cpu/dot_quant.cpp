#include "cpu/dot_quant.h"

namespace greenroom::cpu {
namespace {

const QuantDots* find_dots(quant::Type type) noexcept {
    switch (type) {
        case quant::Type::Q4_0:
            return &kDotQ4_0;
        case quant::Type::Q4_1:
            return &kDotQ4_1;
        case quant::Type::Q5_0:
            return &kDotQ5_0;
        case quant::Type::Q5_1:
            return &kDotQ5_1;
        case quant::Type::Q8_0:
            return &kDotQ8_0;
        case quant::Type::IQ4_NL:
            return &kDotIQ4NL;
        case quant::Type::MXFP4:
            return &kDotMXFP4;
        case quant::Type::Q2_K:
            return &kDotQ2K;
        case quant::Type::Q3_K:
            return &kDotQ3K;
        case quant::Type::Q4_K:
            return &kDotQ4K;
        case quant::Type::Q5_K:
            return &kDotQ5K;
        case quant::Type::Q6_K:
            return &kDotQ6K;
        case quant::Type::IQ1_S:
            return &kDotIQ1S;
        case quant::Type::IQ1_M:
            return &kDotIQ1M;
        case quant::Type::IQ2_XXS:
            return &kDotIQ2XXS;
        case quant::Type::IQ2_XS:
            return &kDotIQ2XS;
        case quant::Type::IQ2_S:
            return &kDotIQ2S;
        case quant::Type::IQ3_XXS:
            return &kDotIQ3XXS;
        case quant::Type::IQ3_S:
            return &kDotIQ3S;
        case quant::Type::IQ4_XS:
            return &kDotIQ4XS;
        default:
            return nullptr;
    }
}

}  // namespace

const QuantDot* find_quant_dot(quant::Type type, Isa isa) noexcept {
    const QuantDots* dots = find_dots(type);
    return dots != nullptr ? &(*dots)[static_cast<std::size_t>(isa)] : nullptr;
}

}  // namespace greenroom::cpu
