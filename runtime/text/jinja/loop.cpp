#include "runtime/text/jinja/loop.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/operators.h"

#include <algorithm>
#include <array>
#include <utility>

namespace greenroom::text::jinja {

Loop::Loop(Rendering& rendering, Source source, Recurse recurse, int depth)
    : rendering_(rendering), source_(std::move(source)), recurse_(std::move(recurse)), depth_(depth) {}

bool Loop::advance() {
    if (!look_ahead()) return false;
    previous_ = index_ < 0 ? Value::undefined("there is no previous item") : std::move(current_);
    current_ = std::move(ahead_.front());
    ahead_.pop_front();
    ++index_;
    return true;
}

void Loop::finish() noexcept {
    source_ = nullptr;
    recurse_ = nullptr;
    ahead_.clear();
    previous_ = Value();
    current_ = Value();
    last_changed_.reset();
}

bool Loop::look_ahead() {
    if (!ahead_.empty()) return true;
    std::optional<Value> next = source_ ? source_() : std::nullopt;
    if (!next) return false;
    ahead_.push_back(*std::move(next));
    return true;
}

std::int64_t Loop::length() {
    while (std::optional<Value> next = source_ ? source_() : std::nullopt) ahead_.push_back(*std::move(next));
    return index_ + 1 + static_cast<std::int64_t>(ahead_.size());
}

std::optional<Value> Loop::attribute(std::string_view name) {
    if (name == "index") return Value::integer(index_ + 1);
    if (name == "index0") return Value::integer(index_);
    if (name == "first") return Value::boolean(index_ == 0);
    if (name == "last") return Value::boolean(!look_ahead());
    if (name == "length") return Value::integer(length());
    if (name == "revindex") return Value::integer(length() - index_);
    if (name == "revindex0") return Value::integer(length() - index_ - 1);
    if (name == "previtem") return previous_;
    if (name == "nextitem") return look_ahead() ? ahead_.front() : Value::undefined("there is no next item");
    if (name == "depth") return Value::integer(depth_ + 1);
    if (name == "depth0") return Value::integer(depth_);
    return std::nullopt;
}

Value Loop::cycle(const Values& choices) const {
    if (choices.empty()) fail(ErrorKind::bad_input, "loop.cycle() needs something to choose from");
    return choices[static_cast<std::size_t>(index_) % choices.size()];
}

bool Loop::changed(const Values& values) {
    const auto equals = [this](const Value& a, const Value& b) { return equal(rendering_.budget(), a, b); };
    if (last_changed_ &&
        std::equal(values.begin(), values.end(), last_changed_->begin(), last_changed_->end(), equals))
        return false;
    last_changed_ = values;
    return true;
}

Value Loop::recurse(const CallArguments& arguments) const {
    if (!recurse_) {
        fail(ErrorKind::bad_input,
             "loop(…) works within a for statement that says 'recursive' only, while it runs");
    }
    if (arguments.positional.size() != 1 || !arguments.named.empty())
        fail(ErrorKind::bad_input, "loop(…) takes one argument, what to go through");
    return recurse_(arguments.positional.front());
}

std::span<const Builtin> loop_methods() noexcept {
    static constexpr std::array<Builtin, 2> kMethods = {{
        {"cycle", "*",
         [](Call& call) { return call.self().get<Loop>()->cycle(call.arguments().positional); }},
        {"changed", "*",
         [](Call& call) {
             return Value::boolean(call.self().get<Loop>()->changed(call.arguments().positional));
         }},
    }};
    return kMethods;
}

}  // namespace greenroom::text::jinja
