#include "cpu/dot_quant.h"

namespace greenroom::cpu {
namespace {

const QuantDots* find_dots(quant::Type type) noexcept {
    switch (type) {
        case quant::Type::Q8_0:
            return &kDotQ8_0;
        case quant::Type::Q4_K:
            return &kDotQ4K;
        case quant::Type::Q6_K:
            return &kDotQ6K;
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
