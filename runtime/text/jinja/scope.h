#pragma once

// Scope: the variables of a template, a loop's round, a macro's call or a block, within the scope around it.

#include "runtime/text/jinja/value.h"

#include <cstddef>
#include <map>
#include <memory>
#include <string_view>

namespace greenroom::text::jinja {

class Scope {
  public:
    // shared_ptr: a scope belongs to the code that runs in it, to the scopes within it, and to the macros
    // that were defined in it. Names must outlive it: they are the template's.
    Scope(std::shared_ptr<Scope> parent, Budget& budget)
        : share_(&budget, kScopeBytes),
          parent_(std::move(parent)),
          level_(parent_ == nullptr ? 0 : parent_->level_ + 1) {}

    void set(std::string_view name, Value value) {
        const auto [variable, is_new] = variables_.insert_or_assign(name, std::move(value));
        if (is_new) share_.grow(kVariableBytes);
    }

    // The nearest variable of the name; nullptr: there is none.
    const Value* find(std::string_view name) const {
        for (const Scope* scope = this; scope != nullptr; scope = scope->parent_.get()) {
            const auto found = scope->variables_.find(name);
            if (found != scope->variables_.end()) return &found->second;
        }
        return nullptr;
    }

    // How many scopes lie around this one.
    std::size_t level() const noexcept { return level_; }

    // Already handed to Rendering::keep().
    bool is_kept() const noexcept { return is_kept_; }
    void mark_kept() noexcept { is_kept_ = true; }

    void clear() noexcept { variables_.clear(); }

  private:
    static constexpr std::size_t kScopeBytes = 128;
    static constexpr std::size_t kVariableBytes = 96;

    Share share_;
    std::shared_ptr<Scope> parent_;
    std::size_t level_;
    std::map<std::string_view, Value> variables_;
    bool is_kept_ = false;
};

}  // namespace greenroom::text::jinja
