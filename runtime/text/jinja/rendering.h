#pragma once

// Rendering: the state of one rendering of a template that filters, methods and functions share. It counts
// what values cost, and it keeps what may refer to itself until the end. One thread only.

#include "runtime/text/jinja/budget.h"
#include "runtime/text/jinja/date_time.h"
#include "runtime/text/jinja/value.h"

#include <memory>
#include <string>
#include <vector>

namespace greenroom::text::jinja {

class Dict;
class Scope;

struct RenderOptions {
    DateTime now;  // what strftime_now tells
    Limits limits;
};

class Rendering {
  public:
    explicit Rendering(const RenderOptions& options);
    ~Rendering();
    Rendering(const Rendering&) = delete;
    Rendering& operator=(const Rendering&) = delete;

    Budget& budget() noexcept { return budget_; }
    const DateTime& now() const noexcept { return now_; }

    Value undefined(std::string message) { return Value::undefined(std::move(message), &budget_); }
    Value string(std::string bytes) { return make_string(std::move(bytes), &budget_); }
    Value list(Values items) { return make_sequence(SequenceKind::list, std::move(items), &budget_); }
    Value tuple(Values items) { return make_sequence(SequenceKind::tuple, std::move(items), &budget_); }
    Value generator(Values items) { return make_generator(std::move(items), &budget_); }
    Value new_namespace(Dict attributes);

    // A namespace can hold itself, a scope the macro that holds it: they would keep one another alive for
    // ever. So each is also held here and emptied at the end, one after the other, which no depth of nesting
    // can make a recursion. shared_ptr: the other owners are values and macros.
    void keep(std::shared_ptr<Scope> scope);

  private:
    Budget budget_;  // first: all values give back to it
    DateTime now_;
    std::vector<std::shared_ptr<Namespace>> namespaces_;
    std::vector<std::shared_ptr<Scope>> scopes_;
};

}  // namespace greenroom::text::jinja
