#pragma once

// Loop: the variable `loop` of a for statement.
//
// Elements are pulled one by one, and ahead only as far as the template looks (loop.last, loop.length),
// because a condition of the for statement may depend on what its body has done.

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/value.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

namespace greenroom::text::jinja {

class Loop {
  public:
    using Source = std::function<std::optional<Value>()>;
    using Recurse = std::function<Value(const Value&)>;

    // `recurse` is empty unless the statement is recursive. `depth` counts such loops around this one, from
    // 0.
    Loop(Rendering& rendering, Source source, Recurse recurse, int depth);

    // Goes to the next element; false at the end.
    bool advance();
    const Value& current() const noexcept { return current_; }

    // When the statement is left: lets go of the elements and of the code, which may hold this loop in turn.
    void finish() noexcept;

    // loop.NAME; empty if there is none of the name.
    std::optional<Value> attribute(std::string_view name);

    // loop.cycle(…), loop.changed(…).
    Value cycle(const Values& choices) const;
    bool changed(const Values& values);

    // loop(…) of a recursive statement.
    Value recurse(const CallArguments& arguments) const;

  private:
    bool look_ahead();
    std::int64_t length();

    Rendering& rendering_;
    Source source_;
    Recurse recurse_;
    std::deque<Value> ahead_;  // pulled, and not yet current
    Value previous_;
    Value current_;
    std::int64_t index_ = -1;  // from 0
    int depth_;
    std::optional<Values> last_changed_;
};

std::span<const Builtin> loop_methods() noexcept;

}  // namespace greenroom::text::jinja
