// greenroom tokenize: text to token ids and back. Needs the vocabulary only, not the weights.

#include "quant/base/error.h"
#include "quant/gguf.h"
#include "runtime/text/tokenizer.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/printable.h"
#include "tools/standard_streams.h"
#include "tools/text_input.h"
#include "tools/token_list.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(Prints a line for each token: its id and its text, control characters and broken UTF-8 escaped.

Examples:
  greenroom tokenize -m model.gguf -p "Hello world"
  greenroom tokenize -m model.gguf -f text.txt --json
  greenroom tokenize -m model.gguf --ids 9906,1917)";

class TokenizeCommand : public Command {
  public:
    explicit TokenizeCommand(CLI::App& program)
        : Command(*program.add_subcommand("tokenize", "Show the tokens of a text, or the text of tokens")),
          input_(app_, "The text") {
        app_.footer(kExamples);
        add_model_option(app_, model_path_);
        app_.add_flag("--no-special", no_special_,
                      "Read control tokens in the text as plain text; with --ids, leave them out");
        app_.add_flag("--no-bos", no_bos_, "Add no begin and end of text, whatever the model says");
        app_.add_flag("--json", json_,
                      "Print a JSON list of ids and nothing else; with --ids, a JSON string");
        ids_option_ =
            app_.add_option("--ids", ids_, "Print the text of these ids; @FILE reads them from a file")
                ->type_name("LIST");
    }

    int run() override {
        const bool decodes = ids_option_->count() > 0;
        if (decodes && input_.is_given()) bad_usage("--ids", "excludes --prompt and --file");
        if (!decodes) input_.require();
        const std::vector<text::TokenId> ids =
            decodes ? parse_token_list("--ids", ids_) : std::vector<text::TokenId>{};
        const std::string text = decodes ? "" : input_.text();

        const quant::Gguf gguf = quant::Gguf::open(model_path_, quant::SplitParts::first_only);
        const text::Tokenizer tokenizer = text::Tokenizer::load(gguf);
        write_output(decodes ? decoded(tokenizer, ids) : encoded(tokenizer, text));
        return kExitOk;
    }

  private:
    std::string encoded(const text::Tokenizer& tokenizer, const std::string& text) const {
        const std::vector<text::TokenId> ids = tokenizer.encode(
            text, {.special = no_special_ ? text::SpecialTokens::literal : text::SpecialTokens::parse,
                   .add_bos_eos = no_bos_ ? text::AddBosEos::never : text::AddBosEos::as_metadata});
        if (json_) return nlohmann::json(ids).dump() + "\n";
        std::string lines;
        for (const text::TokenId id : ids)
            lines += fmt::format("{:>7} '{}'\n", id, printable(tokenizer.piece(id)));
        return lines;
    }

    std::string decoded(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& ids) const {
        for (const text::TokenId id : ids)
            if (id >= tokenizer.size())
                fail(ErrorKind::bad_input, "{}: token id {} is outside the vocabulary, which has 0 to {}",
                     model_path_, id, tokenizer.size() - 1);
        const std::string text = tokenizer.decode(
            ids, no_special_ ? text::Tokenizer::ControlTokens::skip : text::Tokenizer::ControlTokens::show);
        return json_ ? nlohmann::json(text).dump() + "\n" : text + (output_is_terminal() ? "\n" : "");
    }

    TextInput input_;
    std::string model_path_;
    std::string ids_;
    const CLI::Option* ids_option_;
    bool no_special_ = false;
    bool no_bos_ = false;
    bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize_command(CLI::App& program) {
    return std::make_unique<TokenizeCommand>(program);
}

}  // namespace greenroom::tools
