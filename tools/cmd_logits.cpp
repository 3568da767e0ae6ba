// greenroom logits: what the model computes for given tokens, as .npy files.

#include "runtime/engine.h"
#include "runtime/session.h"
#include "tools/command.h"
#include "tools/forward_dump.h"
#include "tools/interrupt.h"
#include "tools/memory_options.h"
#include "tools/npy_writer.h"
#include "tools/options.h"
#include "tools/progress_bar.h"
#include "tools/standard_streams.h"
#include "tools/token_list.h"

#include <array>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(All arrays are .npy, C order. T tokens, V vocabulary, L layers, H hidden size, M layers with experts,
K experts per token:
  -o FILE       float32 [T, V]: the logits after each token
  --hidden DIR  hidden.npy, float32 [L+1, T, H]: the embedding, then the residual stream after each layer
  --router DIR  router_layers.npy, int32 [M]: which layers have experts
                router_ids.npy, int32 [M, T, K]: the chosen experts, by falling weight
                router_weights.npy, float32 [M, T, K]: what their outputs are multiplied by
No token is added: give BOS where the model wants one.

Examples:
  greenroom logits -m model.gguf --tokens 1,306,4658 -o logits.npy
  greenroom logits -m model.gguf --tokens @ids.txt -o logits.npy --hidden dump --router dump)";

class LogitsCommand : public Command {
  public:
    explicit LogitsCommand(CLI::App& program)
        : Command(*program.add_subcommand("logits", "Write the logits of given tokens to a file")) {
        app_.footer(kExamples);
        add_model_option(app_, model_path_);
        app_.add_option("--tokens", tokens_, "Token ids, as in 1,2,3; @FILE reads them from a file")
            ->required()
            ->type_name("LIST");
        app_.add_option("-o,--output", output_path_, "Where the logits go")
            ->required()
            ->check(file_name())
            ->type_name("FILE");
        app_.add_option("--hidden", dump_options_.hidden_folder, "Write the hidden states into this folder")
            ->type_name("DIR");
        app_.add_option("--router", dump_options_.router_folder,
                        "Write the router's choices into this folder")
            ->type_name("DIR");
        app_.add_option("-c,--ctx-size", session_options_.context_tokens,
                        "Tokens that the context holds; 0: as many as are given")
            ->check(whole_number(0, kMaxTokens))
            ->type_name("N")
            ->capture_default_str();
        add_batch_option(app_, session_options_.batch_tokens);
        // What is compared with a reference should not be rounded on the way.
        session_options_.kv_types = {quant::Type::F32, quant::Type::F32};
        session_options_.activations = Activations::f32;
        add_kv_cache_options(app_, session_options_);
        add_memory_options(app_, memory_);
        add_expert_place_flags(app_, memory_.gpu);
        add_thread_options(app_, threads_);
        add_activations_option(app_, session_options_.activations);
    }

    int run() override {
        const std::vector<text::TokenId> tokens = parse_token_list("--tokens", tokens_);
        const auto n_tokens = static_cast<std::int64_t>(tokens.size());
        ProgressBar bar;
        const auto engine = runtime::Engine::open(model_path_, threads_);
        if (session_options_.context_tokens == 0) session_options_.context_tokens = n_tokens;
        engine->load_weights(load_options(*engine, StartProfile::find(engine->file()), memory_,
                                          session_options_, bar.reporter()));
        runtime::Session session(*engine, session_options_);

        const std::int64_t n_vocab = engine->spec().n_vocab;
        NpyWriter<float> logits(output_path_, std::array<std::int64_t, 2>{n_tokens, n_vocab});
        ForwardDump dump(dump_options_, engine->spec(), n_tokens);
        const auto write_row = [&logits, n_vocab](std::int64_t position, std::span<const float> row) {
            logits.write_at(position * n_vocab, row);
        };
        const runtime::EvaluateOptions options{.progress = bar.reporter(),
                                               .cancelled = &catch_interrupt(),
                                               .observer = dump.is_wanted() ? &dump : nullptr};
        if (session.evaluate_each(tokens, write_row, options) == runtime::Evaluated::cancelled) {
            bar.clear();
            write_error("greenroom: interrupted; nothing was written\n");
            return kExitFailed;
        }
        dump.commit();
        logits.commit();
        return kExitOk;
    }

  private:
    std::string model_path_;
    std::string tokens_;
    std::string output_path_;
    ForwardDumpOptions dump_options_;
    runtime::SessionOptions session_options_;
    runtime::ThreadOptions threads_;
    MemoryFlags memory_;
};

}  // namespace

std::unique_ptr<Command> make_logits_command(CLI::App& program) {
    return std::make_unique<LogitsCommand>(program);
}

}  // namespace greenroom::tools
