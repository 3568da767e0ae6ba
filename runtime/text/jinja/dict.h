#pragma once

// Dict: Python's dict, in the order of insertion; and Namespace, the one object whose attributes a template
// may set.

#include "runtime/text/jinja/value.h"

#include <cstddef>
#include <map>
#include <string_view>
#include <vector>

namespace greenroom::text::jinja {

// Error{bad_input} for KeyUse::refused.
void expect_hashable(const Value& value);

class Dict {
  public:
    struct Entry {
        Value key;
        Value value;
    };

    explicit Dict(Budget* budget = nullptr) : share_(budget, sizeof(Dict)), index_(KeyLess{budget}) {}

    // Puts a new key last; a key that is there keeps its place and gets the value. Error for what can be no
    // key. Not called any more once the dict is a Value.
    void set(Value key, Value value);
    void set(std::string_view key, Value value);

    void clear() noexcept;

    // nullptr: no such key. 1, 1.0 and true are the same key.
    const Value* find(const Value& key) const;
    const Value* find(std::string_view key) const;

    const std::vector<Entry>& entries() const noexcept { return entries_; }
    std::size_t size() const noexcept { return entries_.size(); }
    int nesting() const noexcept { return nesting_; }

  private:
    // An order of keys in which equal ones meet, strings and numbers alike. Comparing takes time, which the
    // budget counts.
    struct KeyLess {
        using is_transparent = void;
        Budget* budget;

        bool operator()(const Value& a, const Value& b) const { return compare(a, b) < 0; }
        bool operator()(const Value& a, std::string_view b) const { return compare(a, b) < 0; }
        bool operator()(std::string_view a, const Value& b) const { return compare(b, a) > 0; }
        int compare(const Value& a, const Value& b) const;
        int compare(const Value& a, std::string_view b) const;
        int compare_text(std::string_view a, std::string_view b) const;
    };

    template <class Key>
    const Value* find_key(const Key& key) const;

    Share share_;
    std::vector<Entry> entries_;
    std::map<Value, std::size_t, KeyLess> index_;  // into entries_
    int nesting_ = 1;
};

Value make_dict(Dict dict);

struct Namespace {
    Dict attributes;
};

// Error{bad_input} for an attribute that begins with '_', which transformers lets no template set.
void expect_public_name(std::string_view attribute);

}  // namespace greenroom::text::jinja
