// Templates that were written to hang, to fill the memory or to overflow the stack: each ends with a message,
// soon.

#include "quant/base/error.h"
#include "runtime/text/jinja/json.h"
#include "runtime/text/jinja/template.h"
#include "tests/support/errors.h"

#include <sys/resource.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace greenroom::text::jinja {
namespace {

std::string repeat(std::string_view text, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += text;
    return out;
}

struct Hostile {
    const char* name;
    std::string source;
    std::string_view message;  // a part of it; empty: it is rendered
};

constexpr std::string_view kTooLong = "steps, the most";
constexpr std::string_view kTooMuchText = "the text grows beyond";
constexpr std::string_view kTooManyBytes = "the most that a rendering may hold";
constexpr std::string_view kTooDeep = "too deep within one another";
constexpr std::string_view kTooDeepValues = "values lie one within the other";
constexpr std::string_view kTooTall = "too long or too deep";
constexpr std::string_view kRuns = "";

// A block that runs more often than any limit allows.
std::string often(const std::string& body) {
    return "{% for i in range(100000) %}{% for j in range(100000) %}" + body + "{% endfor %}{% endfor %}";
}

// `text` with a million characters in it.
std::string with_text(const std::string& body) { return "{% set text = 'a' * 1000000 %}" + body; }

// ns.x holds itself twice, a hundred times over.
std::string with_tree(const std::string& first, const std::string& open, const std::string& close,
                      const std::string& body) {
    return fmt::format(
        "{{% set ns = namespace(x={}) %}}{{% for i in range(100) %}}{{% set ns.x = {}ns.x, ns.x{} %}}"
        "{{% endfor %}}{}",
        first, open, close, body);
}

std::vector<Hostile> endless_templates() {
    return {
        {"loops", often(""), kTooLong},
        {"loops that print", often("abcdefghijklmnopqrstuvwxyz"), kTooMuchText},
        {"a tree of calls",
         "{% macro f(n) %}{% if n < 90 %}{{ f(n+1) }}{{ f(n+1) }}{% endif %}{% endmacro %}{{ f(0) }}",
         kTooLong},
        {"names in many scopes",
         repeat("{% for a in range(9) %}", 80) + "{{ a }}" + repeat("{% endfor %}", 80), kTooLong},
        {"long names",
         fmt::format("{{% set {0} = 1 %}}", repeat("n", 100000)) +
             often("{% if " + repeat("n", 100000) + " %}{% endif %}"),
         kTooLong},
        {"long keys", with_text("{% set d = {text: 1} %}" + often("{% if d[text] %}{% endif %}")), kTooLong},
        {"long names of arguments", with_text("{% set d = {text: 1} %}" + often("{{ ''.format(**d) }}")),
         kTooLong},
        {"the same text",
         with_text("{% set b = 'a' * 1000000 %}" + often("{% if b is sameas text %}{% endif %}")), kTooLong},
        {"equal texts", with_text("{% set b = 'a' * 1000000 %}" + often("{% if b == text %}{% endif %}")),
         kTooLong},
        {"searches", with_text(often("{{ text.find('a' * 1000 ~ 'b') }}")), kTooLong},
        {"replacements", with_text(often("{% if text.replace('b', 'c') == 1 %}{% endif %}")), kTooLong},
        {"upper case", with_text(often("{% if text|upper == 1 %}{% endif %}")), kTooLong},
        {"title case", "{% set x = 'a-' * 1000000 %}" + often("{% if x|title == 1 %}{% endif %}"), kTooLong},
        {"stripping", with_text(often("{% if text.strip('ba') == 1 %}{% endif %}")), kTooLong},
        {"counting characters", "{% set x = 'é' * 1000000 %}" + often("{% if x[999999] == 1 %}{% endif %}"),
         kTooLong},
        {"sorting", "{% set l = ['a' * 10000] * 100 %}" + often("{% if l|sort == 1 %}{% endif %}"), kTooLong},
        {"comparing trees",
         with_tree("[1]", "[", "]",
                   "{% set ms = namespace(x=[1]) %}{% for i in range(100) %}{% set ms.x = [ms.x, ms.x] %}"
                   "{% endfor %}{{ ns.x == ms.x }}"),
         kTooLong},
        {"ordering trees",
         with_tree("[1]", "[", "]",
                   "{% set ms = namespace(x=[1]) %}{% for i in range(100) %}{% set ms.x = [ms.x, ms.x] %}"
                   "{% endfor %}{{ ns.x < ms.x }}"),
         kTooLong},
        {"a tree as a key", with_tree("(1,)", "(", ")", "{{ {ns.x: 1}[ns.x] }}"), kTooLong},
        {"formatting", "{% set x = '%%' * 1000000 %}" + often("{% if x % () == 1 %}{% endif %}"), kTooLong},
        {"reading JSON",
         "{% set x = '[' ~ '[],' * 10000 ~ '1]' %}" + often("{% if x|from_json == 1 %}{% endif %}"),
         kTooLong},
        {"paths", "{% set l = [{}] * 1000 %}{{ l|map(attribute='a,' * 10000)|list }}", kTooLong},
    };
}

std::vector<Hostile> huge_templates() {
    return {
        {"a product of text", "{{ 'a' * 1000000000000 }}", kTooMuchText},
        {"a product of lists", "{{ [1] * 1000000000000 }}", kTooMuchText},
        {"a row of texts",
         with_text(
             "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = ns.l + [text ~ i] %}"
             "{% endfor %}"),
         kTooManyBytes},
        {"a square of text", with_text("{{ text|replace('a', text) }}"), kTooMuchText},
        {"joined texts", with_text("{{ ([text] * 100)|join }}"), kTooMuchText},
        {"a centre", "{{ 'a'.center(1000000000000) }}", kTooMuchText},
        {"zeros", "{{ 'a'.zfill(1000000000000) }}", kTooMuchText},
        {"an indent", "{{ 'a\nb'|indent(1000000000000) }}", kTooMuchText},
        {"an indent of JSON", "{{ [[[1]]]|tojson(indent=100000000) }}", kTooMuchText},
        {"a width", "{{ '%2000000000d' % 1 }}", "a width or precision beyond"},
        {"a width in braces", "{{ '{:>100000000}'.format(1) }}", "a width or precision beyond"},
        {"a batch", "{{ [1]|batch(1000000000000, 1)|list }}", kTooMuchText},
        {"characters", "{{ ('a' * 4000000)|list|length }}", kTooManyBytes},
        {"a range", "{{ range(10 ** 18) }}", "Range too big"},
        {"a tree as text", with_tree("[1]", "[", "]", "{{ ns.x }}"), kTooLong},
        {"a tree as JSON", with_tree("[1]", "[", "]", "{{ ns.x|tojson }}"), kTooLong},
        {"macros",
         "{% set ns = namespace(f=1) %}" +
             often("{% set g = ns.f %}{% macro f() %}{{ g }}{% endmacro %}{% set ns.f = f %}"),
         kTooManyBytes},
        {"namespaces", often("{% set x = namespace(a=1) %}"), kTooManyBytes},
        {"undefined values",
         "{% set ns = namespace(l=[]) %}{% for i in range(99) %}{% set ns.l = ns.l + "
         "[range(100000)|map(attribute='" +
             repeat("a", 30) + "')|list] %}{% endfor %}",
         kTooManyBytes},
        {"a long message", "{{ raise_exception('a' * 4000000) }}", "aaaaaaaa"},
        {"a long name in a message", with_text("{{ {}[text].b }}"), "'dict object' has no attribute 'aaaa"},
        {"digits", "{{ ('9' * 4000000)|int }}", kRuns},
    };
}

std::vector<Hostile> deep_templates() {
    constexpr int kMany = 50000;
    return {
        {"a macro that calls itself", "{% macro f(n) %}{{ f(n+1) }}{% endmacro %}{{ f(0) }}", kTooDeep},
        {"a macro in many blocks that calls itself",
         "{% macro f(n) %}{% if n %}{% for i in [1] %}{% set x %}{{ (f(n+1))|upper }}{% endset %}{{ x }}"
         "{% endfor %}{% endif %}{% endmacro %}{{ f(1) }}",
         kTooDeep},
        {"a loop that calls itself", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", kTooDeep},
        {"a caller that calls itself",
         "{% macro f() %}{% call f() %}x{% endcall %}{{ caller is defined }}{% endmacro %}{{ f() }}",
         kTooDeep},
        {"brackets", "{{ " + repeat("(", kMany) + "1" + repeat(")", kMany) + " }}", kTooDeep},
        {"lists", "{{ " + repeat("[", kMany) + repeat("]", kMany) + " }}", kTooDeep},
        {"signs", "{{ " + repeat("-", kMany) + "1 }}", kTooDeep},
        {"negations", "{{ " + repeat("not ", kMany) + "1 }}", kTooDeep},
        {"a sum", "{{ 1" + repeat("+1", kMany) + " }}", kTooTall},
        {"a path", "{{ a" + repeat(".a", kMany) + " }}", kTooTall},
        {"filters", "{{ a" + repeat("|string", kMany) + " }}", kTooTall},
        {"calls", "{{ a" + repeat("()", kMany) + " }}", kTooTall},
        {"tests", "{{ a" + repeat("|e is defined", kMany) + " }}", kTooTall},
        {"choices", "{{ 1 " + repeat("if 1 else 2 ", kMany) + " }}", kTooDeep},
        {"blocks", repeat("{% if 1 %}", kMany), kTooDeep},
        {"targets", "{% for " + repeat("(", kMany) + "x" + repeat(")", kMany) + " in y %}{% endfor %}",
         kTooDeep},
        {"a chain of elifs", "{% if 0 %}" + repeat("{% elif 0 %}", kMany) + "{% endif %}", kRuns},
        {"lists within lists",
         "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}",
         kTooDeepValues},
        {"methods of methods",
         "{% set ns = namespace(f='a') %}{% for i in range(9999) %}{% set ns.f = [ns.f].count %}{% endfor %}",
         kTooDeepValues},
        {"generators within generators",
         "{% set ns = namespace(f='a') %}{% for i in range(9999) %}{% set ns.f = [ns.f]|map('default') %}"
         "{% endfor %}",
         kTooDeepValues},
        {"JSON", "{{ ('[' * 9999)|from_json }}", kTooDeepValues},
        {"namespaces within namespaces",
         "{% set ns = namespace(l=1) %}{% for i in range(9999) %}{% set ns.l = namespace(x=ns.l) %}{% endfor "
         "%}ok",
         kRuns},
        {"printed namespaces within namespaces",
         "{% set ns = namespace(l=1) %}{% for i in range(9999) %}{% set ns.l = namespace(x=ns.l) %}{% endfor "
         "%}"
         "{{ ns }}",
         "contains itself"},
        {"a namespace that holds itself",
         "{% set ns = namespace() %}{% set ns.x = [ns, {'a': ns}] %}{{ ns.x == ns.x }}", kRuns},
        {"a loop that holds itself",
         "{% set ns = namespace() %}{% for i in [ns] %}{% set ns.l = [loop] %}{% endfor %}ok", kRuns},
        {"loops in loops that are gone",
         "{% set ns = namespace(f=1) %}{% for i in range(9999) %}{% for j in [ns.f] %}{% set ns.f = loop %}"
         "{% endfor %}{% endfor %}ok",
         kRuns},
    };
}

// Small limits, so that reaching each of them takes no time.
RenderOptions small_limits() {
    RenderOptions options;
    options.limits.steps = 1'000'000;
    options.limits.live_bytes = 10 << 20;
    options.limits.text_bytes = 4 << 20;
    return options;
}

std::int64_t peak_bytes() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return std::int64_t{usage.ru_maxrss} * 1024;
}

// Whether memory that was given back stays with the process: under a sanitizer.
bool keeps_freed_memory() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
    return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
    return false;
#endif
}

void expect_bounded(const std::vector<Hostile>& all) {
    using Clock = std::chrono::steady_clock;
    const std::int64_t bytes_before = peak_bytes();
    for (const Hostile& one : all) {
        SCOPED_TRACE(one.name);
        const Clock::time_point begin = Clock::now();
        const auto render = [&one] { Template(one.source, "t").render(parse_json("{}"), small_limits()); };
        if (one.message.empty()) {
            EXPECT_NO_THROW(render());
        } else if (const auto error = test::error_of(render)) {
            const std::string_view message = error->what();
            EXPECT_TRUE(error->kind() == ErrorKind::bad_input || error->kind() == ErrorKind::unsupported);
            EXPECT_TRUE(message.starts_with("t:")) << message.substr(0, 100);
            EXPECT_NE(message.find(one.message), message.npos) << message.substr(0, 300);
            EXPECT_LE(message.size(), 20000U);
        }
        // A hundredth of that on an idle machine.
        EXPECT_LT(Clock::now() - begin, std::chrono::seconds(60));
    }
    if (!keeps_freed_memory()) {
        EXPECT_LT(peak_bytes() - bytes_before, std::int64_t{200} << 20);
    }
}

TEST(HostileTemplate, EndlessWorkIsRefused) { expect_bounded(endless_templates()); }

TEST(HostileTemplate, HugeValuesAreRefused) { expect_bounded(huge_templates()); }

TEST(HostileTemplate, DeepNestingIsRefused) { expect_bounded(deep_templates()); }

TEST(HostileTemplate, TextThatIsNoTemplateIsRefusedOrTakenAsText) {
    for (const std::string_view part : {"{", "{{", "{%", "{#", "}}", "%}", "{% raw %}", "{{ '", "{{ \"\\",
                                        "{%-", "{% for", "{% set x", "{{ a.", "{{ a[", "{{ a|", "\xFF\xC3{{"})
        for (const int n : {1, 2, 1000}) {
            try {
                Template(repeat(part, n), "t").render(parse_json("{}"), small_limits());
            } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::bad_input) << error.what();
            }
        }
}

TEST(HostileTemplate, OneOfMoreThanAMebibyteIsRefused) {
    test::expect_error(ErrorKind::bad_input, {"t: the template has 1048577 bytes"},
                       [] { Template(std::string((1 << 20) + 1, ' '), "t"); });
}

}  // namespace
}  // namespace greenroom::text::jinja
