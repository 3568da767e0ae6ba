#include "runtime/text/split_regex.h"

#include "quant/base/error.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <limits>
#include <string>

namespace greenroom::text {
namespace {

struct FreePcre2 {
    void operator()(pcre2_code* p) const noexcept { pcre2_code_free(p); }
    void operator()(pcre2_match_context* p) const noexcept { pcre2_match_context_free(p); }
    void operator()(pcre2_match_data* p) const noexcept { pcre2_match_data_free(p); }
};

template <class T>
using Pcre2Ptr = std::unique_ptr<T, FreePcre2>;

template <class T>
Pcre2Ptr<T> owned(T* p) {
    if (p == nullptr) fail(ErrorKind::out_of_memory, "PCRE2 could not allocate its working memory");
    return Pcre2Ptr<T>(p);
}

std::string message_of(int code) {
    PCRE2_UCHAR text[256];
    return pcre2_get_error_message(code, text, sizeof text) < 0 ? "unknown error"
                                                                : reinterpret_cast<const char*>(text);
}

// PCRE2's \s also takes U+180E, which Unicode 6.3 removed from White_Space. The engines that the patterns
// were written for (Rust's regex, Oniguruma) follow Unicode, so \s and \S are spelled out.
std::string with_unicode_white_space(std::string_view pattern) {
    constexpr std::string_view kWhiteSpace = R"(\t-\r\x{85}\p{Z})";
    std::string out;
    bool in_class = false;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        if (pattern[i] != '\\' || i + 1 == pattern.size()) {
            if (pattern[i] == '[') in_class = true;
            if (pattern[i] == ']') in_class = false;
            out += pattern[i];
            continue;
        }
        const char escaped = pattern[++i];
        if (escaped == 's' && in_class) {
            out += kWhiteSpace;
        } else if (escaped == 's' || escaped == 'S') {
            GR_CHECK(!in_class);
            out.append(escaped == 's' ? "[" : "[^").append(kWhiteSpace).append("]");
        } else {
            out.append({'\\', escaped});
        }
    }
    return out;
}

}  // namespace

struct SplitRegex::Compiled {
    Pcre2Ptr<pcre2_code> code;
    Pcre2Ptr<pcre2_match_context> context;  // only read while matching
};

SplitRegex::SplitRegex(std::string_view pattern) : compiled_(std::make_unique<Compiled>()) {
    const std::string expanded = with_unicode_white_space(pattern);
    int error = 0;
    PCRE2_SIZE at = 0;
    compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expanded.data()), expanded.size(),
                                        PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr));
    if (!compiled_->code) {
        fail(ErrorKind::internal, "the pre-tokenizer pattern {} does not compile: {} at byte {}", expanded,
             message_of(error), at);
    }
    // Where the system forbids code that is written at run time this fails, and the interpreter does the
    // work.
    pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);

    // PCRE2 counts steps against patterns that explode. Ours need at most a few steps per byte, but a text of
    // ten million spaces is one match and would hit the default limit.
    compiled_->context = owned(pcre2_match_context_create(nullptr));
    pcre2_set_match_limit(compiled_->context.get(), std::numeric_limits<std::uint32_t>::max());
    pcre2_set_depth_limit(compiled_->context.get(), std::numeric_limits<std::uint32_t>::max());
}

SplitRegex::SplitRegex(SplitRegex&&) noexcept = default;
SplitRegex& SplitRegex::operator=(SplitRegex&&) noexcept = default;
SplitRegex::~SplitRegex() = default;

void SplitRegex::split(std::span<const std::string_view> texts, std::vector<std::string_view>& out) const {
    const auto match = owned(pcre2_match_data_create(1, nullptr));
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());

    for (const std::string_view text : texts) {
        const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
        std::size_t done = 0;
        while (done < text.size()) {
            // The text is known to be UTF-8; PCRE2 would check all of it again for every match.
            std::uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
            const auto find_next = [&] {
                return pcre2_match(compiled_->code.get(), subject, text.size(), done, options, match.get(),
                                   compiled_->context.get());
            };
            int found = find_next();
            if (found == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter's stack grows on the heap
                options |= PCRE2_NO_JIT;
                found = find_next();
            }
            if (found == PCRE2_ERROR_NOMATCH) break;
            if (found < 0) {
                fail(ErrorKind::out_of_memory,
                     "splitting a text of {} bytes into words failed at byte {}: {}. Use a shorter text.",
                     text.size(), done, message_of(found));
            }
            if (bounds[0] > done) out.push_back(text.substr(done, bounds[0] - done));
            out.push_back(text.substr(bounds[0], bounds[1] - bounds[0]));
            done = bounds[1];
        }
        if (done < text.size()) out.push_back(text.substr(done));
    }
}

}  // namespace greenroom::text
