#pragma once

// Value: what a template computes with, which is the Python objects that chat templates meet.
//
// A Value is small and copied freely. Strings, lists and dicts are shared by the values that were copied from
// one another, as Python's names share an object, and never change: the sandbox of chat templates forbids
// what would change them. So values that a caller hands in may be used by several renderings at once. What a
// template makes during a rendering is counted by its Budget and must not outlive it.

#include "runtime/text/jinja/budget.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace greenroom::text::jinja {

class Callable;
class Dict;
class Loop;
struct BigInteger;
struct Generator;
struct Namespace;
struct Sequence;
struct String;
struct Undefined;

struct None {
    bool operator==(const None&) const = default;
};

class Value {
  public:
    // Undefined, for no reason that could be given.
    Value() noexcept = default;

    // Undefined; `message` says why, should the template do more than print or test it.
    static Value undefined(std::string message, Budget* budget = nullptr);
    static Value none() noexcept { return Value(Storage(None{})); }
    static Value boolean(bool value) noexcept { return Value(Storage(value)); }
    static Value integer(std::int64_t value) noexcept { return Value(Storage(value)); }
    static Value real(double value) noexcept { return Value(Storage(value)); }

    template <class T>
    explicit Value(std::shared_ptr<T> object) noexcept : storage_(std::move(object)) {}

    // The object in it, nullptr if it is of another type. get<std::int64_t>() is no bool and no BigInteger.
    template <class T>
    auto* get() const noexcept {
        if constexpr (std::is_arithmetic_v<T>) {
            return std::get_if<T>(&storage_);
        } else {
            using Object = std::conditional_t<kChanges<T>, T, const T>;
            const auto* held = std::get_if<std::shared_ptr<Object>>(&storage_);
            return held == nullptr ? nullptr : held->get();
        }
    }

    bool is_undefined() const noexcept { return storage_.index() == 0; }
    bool is_none() const noexcept { return std::holds_alternative<None>(storage_); }
    bool is_string() const noexcept {
        return std::holds_alternative<std::shared_ptr<const String>>(storage_);
    }

    // Python's truth: not empty, not zero, not none.
    bool truth() const noexcept;

    // Whether both are one object; equal numbers, strings and the like count as one.
    bool is_same(const Value& other) const noexcept;

  private:
    template <class T>
    static constexpr bool kChanges =
        std::is_same_v<T, Generator> || std::is_same_v<T, Namespace> || std::is_same_v<T, Loop>;

    // shared_ptr: the co-owners are the values copied from one another.
    using Storage =
        std::variant<std::shared_ptr<const Undefined>, None, bool, std::int64_t, double,
                     std::shared_ptr<const BigInteger>, std::shared_ptr<const String>,
                     std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Generator>,
                     std::shared_ptr<Namespace>, std::shared_ptr<Loop>, std::shared_ptr<const Callable>>;

    explicit Value(Storage storage) noexcept : storage_(std::move(storage)) {}

    Storage storage_;
};

using Values = std::vector<Value>;

struct Undefined {
    std::string message;
    Share share;
};

// An integer beyond 64 bits. It keeps its digits; nothing is computed with it.
struct BigInteger {
    std::string digits;  // decimal, '-' before a negative one, no leading zeros
    Share share;
};

struct String {
    std::string bytes;     // UTF-8
    std::int64_t n_chars;  // code points
    bool is_markup;        // came through `safe` or `escape`: what is added to it gets escaped
    Share share;

    bool is_ascii() const noexcept { return static_cast<std::size_t>(n_chars) == bytes.size(); }
};

enum class SequenceKind : std::uint8_t { list, tuple, range, dict_keys, dict_values, dict_items };

// Whether a dict can be asked for a value.
enum class KeyUse : std::uint8_t {
    key,       // none, numbers, strings, and tuples of them
    never_in,  // namespaces and the like: hashable in Python, and of no use here
    refused,   // lists, dicts, and tuples that hold one
};

struct Sequence {
    SequenceKind kind;
    Values items;
    int nesting;
    KeyUse key_use;
    Share share;
};

// What `map`, `select` and their like give: can be read once, from front to end.
struct Generator {
    Values items;
    std::size_t next = 0;
    int nesting;
    Share share;
};

// Lists in lists in lists: deeper ones are refused, so that walking a value cannot overflow the stack.
inline constexpr int kMaxNesting = 200;

// How many containers lie one within the other. Namespaces and macros count as flat: they are taken apart one
// by one.
int nesting(const Value& value) noexcept;
// That of a container with such an element; Error{bad_input} when it is too deep.
int nesting_around(int nesting_of_element);
int nesting_around(const Values& elements);

KeyUse key_use(const Value& value) noexcept;

// The text must be UTF-8.
Value make_string(std::string bytes, Budget* budget = nullptr);
Value make_markup(std::string bytes, Budget* budget = nullptr);
// A string that is markup if `like` is.
Value make_string_like(const String& like, std::string bytes, Budget* budget);
Value make_sequence(SequenceKind kind, Values items, Budget* budget = nullptr);
Value make_generator(Values items, Budget* budget);

// The name of its Python class: "str", "NoneType".
std::string_view type_name(const Value& value) noexcept;

// Throws what using an undefined value in earnest throws.
[[noreturn]] void fail_undefined(const Undefined* undefined);
void expect_defined(const Value& value);

// The bytes of a string; Error{bad_input} names `what` if it is none.
std::string_view expect_text(const Value& value, std::string_view what);

}  // namespace greenroom::text::jinja
