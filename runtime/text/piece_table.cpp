#include "runtime/text/piece_table.h"

#include "quant/base/error.h"
#include "runtime/text/byte_alphabet.h"

#include <charconv>
#include <cstdint>

namespace greenroom::text {
namespace {

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";  // U+2581

char read_byte_token(const Vocabulary& vocabulary, TokenId id) {
    const std::string_view text = vocabulary.tokens[static_cast<std::size_t>(id)];
    std::uint8_t byte = 0;
    const bool framed = text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
    if (!framed || std::from_chars(text.data() + 3, text.data() + 5, byte, 16).ptr != text.data() + 5) {
        fail(ErrorKind::bad_input,
             "{}: tokenizer.ggml.tokens[{}] is \"{}\" and of type byte; a byte token is spelled <0x00> to "
             "<0xFF>. "
             "Convert the model again.",
             vocabulary.file, id, text);
    }
    return static_cast<char>(byte);
}

}  // namespace

PieceTable::PieceTable(const Vocabulary& vocabulary) {
    begins_.reserve(vocabulary.tokens.size() + 1);
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
        begins_.push_back(bytes_.size());
        const std::string_view text = vocabulary.tokens[static_cast<std::size_t>(id)];
        const TokenType type = vocabulary.types[static_cast<std::size_t>(id)];
        if (type == TokenType::byte) {
            bytes_.push_back(read_byte_token(vocabulary, id));
        } else if (type != TokenType::normal && type != TokenType::undefined) {
            bytes_ += text;  // these are spelled as they stand in text
        } else if (vocabulary.model == TokenizerModel::byte_level_bpe) {
            append_spelled_bytes(bytes_, text);
        } else {
            bytes_ += with_plain_spaces(text);
        }
    }
    begins_.push_back(bytes_.size());
}

std::string with_plain_spaces(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (;;) {
        const std::size_t at = text.find(kVisibleSpace);
        out += text.substr(0, at);
        if (at == std::string_view::npos) return out;
        out += ' ';
        text.remove_prefix(at + kVisibleSpace.size());
    }
}

}  // namespace greenroom::text
