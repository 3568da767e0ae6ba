#pragma once

// PairMerger: the loop that both kinds of BPE share. Symbols stand in a row; of all neighbours that may
// merge, those of the lowest rank do, the leftmost first, until none may. A heap over a linked list:
// O(n log n) for n symbols.
//
// One per thread; its memory is reused by the next row.

#include "runtime/text/token_id.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace greenroom::text {

struct Symbol {
    std::uint32_t begin = 0;  // byte in the text
    std::uint32_t size = 0;   // bytes; 0: merged into the symbol before it
    std::int32_t previous = -1;
    std::int32_t next = -1;
    TokenId id = kNoToken;
};

struct PairMerge {
    std::uint32_t rank;
    TokenId id;  // of the merged symbol
};

class PairMerger {
  public:
    void clear() noexcept { symbols_.clear(); }

    // Appends a symbol of `size` > 0 bytes. At most 2^31 bytes in all.
    void add(std::uint32_t size, TokenId id) {
        const auto at = static_cast<std::int32_t>(symbols_.size());
        std::uint32_t begin = 0;
        if (at > 0) {
            Symbol& last = symbols_.back();
            last.next = at;
            begin = last.begin + last.size;
        }
        symbols_.push_back({begin, size, at - 1, -1, id});
    }

    // find(left, right) gives std::optional<PairMerge>: whether two neighbours may merge, and into what.
    template <class Find>
    void merge(const Find& find) {
        queue_.clear();
        for (std::size_t i = 1; i < symbols_.size(); ++i) consider(static_cast<std::int32_t>(i - 1), find);
        std::make_heap(queue_.begin(), queue_.end(), ComesLater{});

        while (!queue_.empty()) {
            std::pop_heap(queue_.begin(), queue_.end(), ComesLater{});
            const Candidate best = queue_.back();
            queue_.pop_back();
            if (!is_current(best)) continue;

            Symbol& left = symbols_[static_cast<std::size_t>(best.left())];
            Symbol& right = symbols_[static_cast<std::size_t>(left.next)];
            left.size = best.size;
            left.id = best.id;
            left.next = right.next;
            right.size = 0;
            if (left.next >= 0) symbols_[static_cast<std::size_t>(left.next)].previous = best.left();

            if (left.previous >= 0 && consider(left.previous, find)) sift_up();
            if (consider(best.left(), find)) sift_up();
        }
    }

    // visit(symbol) for those that are left, in order.
    template <class Visit>
    void for_each(const Visit& visit) const {
        for (std::int32_t i = symbols_.empty() ? -1 : 0; i >= 0;
             i = symbols_[static_cast<std::size_t>(i)].next)
            visit(symbols_[static_cast<std::size_t>(i)]);
    }

  private:
    struct Candidate {
        std::uint64_t order;  // rank, then index of the left symbol: one comparison for both
        std::uint32_t size;   // of both symbols
        TokenId id;           // of the merged one

        std::int32_t left() const noexcept { return static_cast<std::int32_t>(order & 0xFFFFFFFFu); }
    };

    // A type, not a function: the heap's algorithms can then inline it.
    struct ComesLater {
        bool operator()(const Candidate& a, const Candidate& b) const noexcept { return a.order > b.order; }
    };

    // Appends the pair that begins at `left`, if it may merge, to the end of the queue.
    template <class Find>
    bool consider(std::int32_t left, const Find& find) {
        const Symbol& a = symbols_[static_cast<std::size_t>(left)];
        if (a.next < 0) return false;
        const Symbol& b = symbols_[static_cast<std::size_t>(a.next)];
        const std::optional<PairMerge> merge = find(a, b);
        if (merge) {
            const std::uint64_t order = std::uint64_t{merge->rank} << 32 | static_cast<std::uint32_t>(left);
            queue_.push_back({order, a.size + b.size, merge->id});
        }
        return merge.has_value();
    }

    void sift_up() { std::push_heap(queue_.begin(), queue_.end(), ComesLater{}); }

    // False if one of the two has merged since. Symbols only grow or vanish, so two of the same total size
    // are the same two.
    bool is_current(const Candidate& candidate) const noexcept {
        const Symbol& left = symbols_[static_cast<std::size_t>(candidate.left())];
        return left.size > 0 && left.next >= 0 &&
               left.size + symbols_[static_cast<std::size_t>(left.next)].size == candidate.size;
    }

    std::vector<Symbol> symbols_;
    std::vector<Candidate> queue_;  // a heap
};

}  // namespace greenroom::text
