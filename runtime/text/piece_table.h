#pragma once

// PieceTable: the bytes of every token as they stand in text, by id. Immutable; any thread.

#include "runtime/text/vocabulary.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {

class PieceTable {
  public:
    // Error{bad_input} for a byte token that is not spelled <0xNN>.
    explicit PieceTable(const Vocabulary& vocabulary);

    // Precondition: 0 <= id < size().
    std::string_view operator[](TokenId id) const noexcept {
        const auto i = static_cast<std::size_t>(id);
        return std::string_view(bytes_).substr(begins_[i], begins_[i + 1] - begins_[i]);
    }

    std::int32_t size() const noexcept { return static_cast<std::int32_t>(begins_.size() - 1); }

  private:
    std::string bytes_;                // of all tokens, one after the other
    std::vector<std::size_t> begins_;  // by id, and the end of the last one
};

// Writes a space where SentencePiece's vocabularies and texts have "▁" (U+2581).
std::string with_plain_spaces(std::string_view text);

}  // namespace greenroom::text
