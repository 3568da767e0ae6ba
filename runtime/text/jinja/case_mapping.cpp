#include "runtime/text/jinja/case_mapping.h"

#include "runtime/text/jinja/case_mapping_tables.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/utf8.h"

#include <utf8proc.h>

#include <array>
#include <cstddef>

namespace greenroom::text::jinja {
namespace {

constexpr char32_t kCapitalSigma = 0x03A3;
constexpr char32_t kFinalSigma = 0x03C2;
constexpr char32_t kCapitalIWithDot = 0x0130;

enum class Case { none, lower, upper, title };

Case case_of(char32_t c) noexcept {
    switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
        case UTF8PROC_CATEGORY_LL:
            return Case::lower;
        case UTF8PROC_CATEGORY_LU:
            return Case::upper;
        case UTF8PROC_CATEGORY_LT:
            return Case::title;
        default:
            return Case::none;
    }
}

char32_t map_one(utf8proc_int32_t (*map)(utf8proc_int32_t), char32_t c) noexcept {
    return static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(c)));
}

void append_upper(std::string& out, char32_t c) {
    if (c < 0x80)
        out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 0x20 : c);
    else if (const SpecialCase* special = find_special_case(c))
        out += special->upper;
    else
        append_utf8(out, map_one(utf8proc_toupper, c));
}

void append_title(std::string& out, char32_t c) {
    if (const SpecialCase* special = find_special_case(c))
        out += special->title;
    else
        append_utf8(out, map_one(utf8proc_totitle, c));
}

bool is_case_ignorable(char32_t c) noexcept {
    switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_ME:
        case UTF8PROC_CATEGORY_CF:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_SK:
            return true;
        default:
            return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019;
    }
}

// Goes through a text once and knows, at every sigma, whether a word ends there.
class LowerCase {
  public:
    void append(std::string& out, char32_t c, std::string_view rest) {
        if (c < 0x80) {
            out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 0x20 : c);
        } else if (c == kCapitalIWithDot) {
            out += "i\u0307";
        } else if (c == kCapitalSigma && after_cased_ && !before_cased(rest)) {
            append_utf8(out, kFinalSigma);
        } else {
            append_utf8(out, map_one(utf8proc_tolower, c));
        }
        pass(c);
    }

    void pass(char32_t c) noexcept {
        if (!is_case_ignorable(c)) after_cased_ = case_of(c) != Case::none;
    }

  private:
    static bool before_cased(std::string_view rest) noexcept {
        while (!rest.empty()) {
            const char32_t c = take_code_point(rest);
            if (!is_case_ignorable(c)) return case_of(c) != Case::none;
        }
        return false;
    }

    bool after_cased_ = false;  // letters came before, perhaps with accents or apostrophes in between
};

template <class Append>
std::string map_text(std::string_view text, Append append) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const char32_t c = take_code_point(text);
        append(out, c, text);
    }
    return out;
}

bool is_all(Case wanted, std::string_view text) noexcept {
    bool found = false;
    while (!text.empty()) {
        const Case found_case = case_of(take_code_point(text));
        if (found_case != Case::none && found_case != wanted) return false;
        found |= found_case == wanted;
    }
    return found;
}

}  // namespace

std::string to_upper(std::string_view text) {
    return map_text(text, [](std::string& out, char32_t c, std::string_view) { append_upper(out, c); });
}

std::string to_lower(std::string_view text) {
    return map_text(text, [lower = LowerCase()](std::string& out, char32_t c, std::string_view rest) mutable {
        lower.append(out, c, rest);
    });
}

std::string capitalize(std::string_view text) {
    return map_text(text, [lower = LowerCase(), is_first = true](std::string& out, char32_t c,
                                                                 std::string_view rest) mutable {
        if (is_first) {
            append_title(out, c);
            lower.pass(c);
        } else {
            lower.append(out, c, rest);
        }
        is_first = false;
    });
}

std::string to_title(std::string_view text) {
    return map_text(text, [lower = LowerCase(), in_word = false](std::string& out, char32_t c,
                                                                 std::string_view rest) mutable {
        if (in_word) {
            lower.append(out, c, rest);
        } else {
            append_title(out, c);
            lower.pass(c);
        }
        in_word = case_of(c) != Case::none;
    });
}

std::string swap_case(std::string_view text) {
    return map_text(text, [lower = LowerCase()](std::string& out, char32_t c, std::string_view rest) mutable {
        if (case_of(c) == Case::upper) {
            lower.append(out, c, rest);
            return;
        }
        if (case_of(c) == Case::lower)
            append_upper(out, c);
        else
            append_utf8(out, c);
        lower.pass(c);
    });
}

std::string fold_case(std::string_view text) {
    return map_text(text, [](std::string& out, char32_t c, std::string_view) {
        std::array<utf8proc_int32_t, 8> folded{};
        int last_class = 0;
        const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded.data(), folded.size(),
                                               UTF8PROC_CASEFOLD, &last_class);
        for (utf8proc_ssize_t i = 0; i < n; ++i)
            append_utf8(out, static_cast<char32_t>(folded.at(static_cast<std::size_t>(i))));
    });
}

bool is_all_upper(std::string_view text) noexcept { return is_all(Case::upper, text); }
bool is_all_lower(std::string_view text) noexcept { return is_all(Case::lower, text); }

bool is_title_cased(std::string_view text) noexcept {
    bool found = false;
    for (bool in_word = false; !text.empty();) {
        const Case kind = case_of(take_code_point(text));
        if (kind != Case::none && (kind == Case::lower) != in_word) return false;
        in_word = kind != Case::none;
        found |= in_word;
    }
    return found;
}

}  // namespace greenroom::text::jinja
