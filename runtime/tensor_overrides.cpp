#include "runtime/tensor_overrides.h"

#include "quant/base/error.h"
#include "quant/base/log.h"
#include "runtime/tensor_place.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>

namespace greenroom::runtime {
namespace {

// A pattern that needs more steps for a name has exploded.
constexpr std::uint32_t kMostSteps = 100'000;

std::string message_of(int code) {
    PCRE2_UCHAR text[256];
    return pcre2_get_error_message(code, text, sizeof text) < 0 ? "unknown error"
                                                                : reinterpret_cast<const char*>(text);
}

class Pattern {
  public:
    explicit Pattern(std::string_view text) : text_(text) {
        int error = 0;
        PCRE2_SIZE at = 0;
        code_.reset(
            pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, &error, &at, nullptr));
        if (code_ == nullptr)
            fail(ErrorKind::bad_input, "the pattern '{}' is no regular expression: {} at byte {}", text_,
                 message_of(error), at);
        limits_.reset(pcre2_match_context_create(nullptr));
        match_.reset(pcre2_match_data_create(1, nullptr));
        if (limits_ == nullptr || match_ == nullptr)
            fail(ErrorKind::out_of_memory, "PCRE2 could not allocate its working memory");
        pcre2_set_match_limit(limits_.get(), kMostSteps);
        pcre2_set_depth_limit(limits_.get(), kMostSteps);
    }

    bool is_found_in(std::string_view name) const {
        const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0,
                                      0, match_.get(), limits_.get());
        if (found < 0 && found != PCRE2_ERROR_NOMATCH)
            fail(ErrorKind::bad_input,
                 "the pattern '{}' cannot be searched for in '{}': {}. Use a simpler one", text_, name,
                 message_of(found));
        return found >= 0;
    }

  private:
    struct Free {
        void operator()(pcre2_code* p) const noexcept { pcre2_code_free(p); }
        void operator()(pcre2_match_context* p) const noexcept { pcre2_match_context_free(p); }
        void operator()(pcre2_match_data* p) const noexcept { pcre2_match_data_free(p); }
    };

    std::string text_;
    std::unique_ptr<pcre2_code, Free> code_;
    std::unique_ptr<pcre2_match_context, Free> limits_;
    std::unique_ptr<pcre2_match_data, Free> match_;
};

// Of the tensors that a layer's experts consist of.
struct ExpertTensors {
    bool has_cpu = false;
    bool has_gpu = false;   // by a rule
    bool has_rest = false;  // by none
};

struct Rule {
    Pattern pattern;
    TensorOverride::Device device;
    std::string text;
    bool has_matched = false;
};

TensorOverride parse_override(std::string_view text) {
    const std::size_t equals = text.find('=');
    const std::string_view device = equals == std::string_view::npos ? "" : text.substr(equals + 1);
    if (equals == 0 || (device != "CPU" && device != "CUDA0"))
        fail(ErrorKind::bad_input, "found '{}', expected PATTERN=CPU or PATTERN=CUDA0", text);
    TensorOverride parsed{std::string(text.substr(0, equals)),
                          device == "CPU" ? TensorOverride::Device::cpu : TensorOverride::Device::gpu};
    [[maybe_unused]] const Pattern throws_what_it_would_later(parsed.pattern);
    return parsed;
}

}  // namespace

std::vector<TensorOverride> parse_tensor_overrides(std::string_view text) {
    std::vector<TensorOverride> overrides;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        overrides.push_back(parse_override(text.substr(begin, end - begin)));
        begin = end + 1;
    }
    return overrides;
}

std::vector<int> cpu_expert_layers(const quant::Gguf& file, const std::vector<TensorOverride>& overrides,
                                   std::int64_t n_cpu_layers) {
    using Device = TensorOverride::Device;
    std::vector<Rule> rules;
    rules.reserve(overrides.size());
    for (const TensorOverride& o : overrides)
        rules.push_back({Pattern(o.pattern), o.device,
                         fmt::format("{}={}", o.pattern, o.device == Device::cpu ? "CPU" : "CUDA0")});

    std::map<std::int64_t, ExpertTensors> layers;
    for (const quant::GgufTensor& tensor : file.tensors()) {
        const Rule* first = nullptr;
        for (Rule& rule : rules) {
            if (!rule.pattern.is_found_in(tensor.name)) continue;
            rule.has_matched = true;
            if (first == nullptr) first = &rule;
        }
        const TensorPlace place = place_of(tensor.name);
        if (!place.is_expert) {
            if (first != nullptr && first->device == Device::cpu)
                fail(ErrorKind::bad_input,
                     "{} matches {}, which belongs to no routed expert; what every token needs is moved by "
                     "whole layers: use -ngl N for that, and a pattern like 'ffn_.*_exps' for experts",
                     first->text, tensor.name);
            continue;
        }
        ExpertTensors& experts = layers[place.layer];
        (first == nullptr               ? experts.has_rest
         : first->device == Device::cpu ? experts.has_cpu
                                        : experts.has_gpu) = true;
    }
    for (const Rule& rule : rules)
        if (!rule.has_matched) log_warning("{} matches no tensor of {}", rule.text, file.path());

    std::vector<int> on_cpu;
    std::int64_t n_cut = 0;
    for (const auto& [layer, experts] : layers) {
        if (experts.has_cpu && (experts.has_gpu || experts.has_rest)) ++n_cut;
        if (experts.has_cpu || (!experts.has_gpu && layer < n_cpu_layers))
            on_cpu.push_back(static_cast<int>(layer));
    }
    if (n_cut > 0)
        log_warning(
            "the rules move some matrices of experts to the CPU and not others; an expert is not cut: those "
            "of {} layer{} stay with the CPU as a whole",
            n_cut, n_cut == 1 ? "" : "s");
    return on_cpu;
}

}  // namespace greenroom::runtime
