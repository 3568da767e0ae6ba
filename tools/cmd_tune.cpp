// greenroom tune: measures this machine with a model and keeps what follows in a profile.

#include "quant/base/error.h"
#include "runtime/engine.h"
#include "runtime/profile.h"
#include "runtime/tuner.h"
#include "runtime/tuning.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/printable.h"
#include "tools/profile_file.h"
#include "tools/progress_bar.h"
#include "tools/standard_streams.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <iterator>
#include <string>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(Takes some seconds, and needs the machine for itself. The profile is kept in
$XDG_DATA_HOME/greenroom/profiles (by default ~/.local/share/greenroom/profiles), one for each machine and
model; run, chat and bench take their number of threads and the size of a batch from it unless -t and -b are
given. With a GPU every start takes from it how many misses are uploaded, and from how many tokens on layers
are streamed (--stream-above); without a profile these are measured at the start, for a second at most.

Examples:
  greenroom tune -m model.gguf
  greenroom tune -m model.gguf --dry-run --json > measured.json)";

double gb(double bytes_per_s) { return bytes_per_s / 1e9; }

std::string table_of(const runtime::Profile& profile) {
    const runtime::MachineMeasurements& m = profile.measured;
    std::string text;
    auto to = std::back_inserter(text);
    const auto line = [&to](const std::string& what, double value, const char* unit) {
        fmt::format_to(to, "{:<58} {:>10.4g} {}\n", what, value, unit);
    };
    if (m.expert_bytes > 0)
        line(fmt::format("SSD, whole experts of {}", human_bytes(m.expert_bytes)), gb(m.ssd_read), "GB/s");
    for (const runtime::ThreadMeasurement& point : m.threads) {
        line("DRAM reads, " + counted(point.n_threads, "thread"), gb(point.dram_read), "GB/s");
        if (point.expert_s > 0)
            line("expert, 1 token, " + counted(point.n_threads, "thread"), point.expert_s * 1e6, "us");
    }
    for (const runtime::ExpertMeasurement& point : m.experts)
        line("expert, " + counted(point.n_tokens, "token") + ", a thread per core", point.seconds * 1e6,
             "us");
    for (const runtime::DecodeMeasurement& point : m.decodes)
        line("decode, " + counted(point.n_threads, "thread"), point.tokens_per_s, "tok/s");
    if (m.gpu) {
        line("upload from pinned memory", gb(m.gpu->pinned_upload), "GB/s");
        line("upload from pageable memory", gb(m.gpu->pageable_upload), "GB/s");
        line("upload through pinned pieces", gb(m.gpu->staged_upload), "GB/s");
        line("upload from pinned memory while the CPU reads", gb(m.gpu->shared_upload), "GB/s");
        line("DRAM reads while uploading", gb(m.gpu->shared_dram_read), "GB/s");
        line("upload through pinned pieces while the CPU reads", gb(m.gpu->shared_staged_upload), "GB/s");
        line("DRAM reads while uploading through pinned pieces", gb(m.gpu->shared_staged_dram_read), "GB/s");
        line("copies in VRAM, read and written", gb(m.gpu->vram_copy), "GB/s");
        line("hand-over of a layer, GPU to CPU and back", m.gpu->hand_over_s * 1e6, "us");
    } else {
        fmt::format_to(to, "GPU: none that this build can use\n");
    }
    const runtime::Tuning& t = profile.tuning;
    fmt::format_to(to, "\n{:<20} {:>10}   the fewest within 5 % of the best decode\n", "threads",
                   t.n_threads);
    fmt::format_to(to, "{:<20} {:>10}   the smallest that reads experts well (-b)\n", "batch",
                   t.batch_tokens);
    if (m.gpu) {
        fmt::format_to(to, "{:<20} {:>8.0f} %   of misses: the link's part of the host's memory\n",
                       "upload share", 100 * t.gpu.upload_share);
        fmt::format_to(to, "{:<20} {:>10.1f}   tokens per expert: the CPU takes as long as the upload\n",
                       "crossover", t.gpu.crossover_tokens);
        fmt::format_to(to, "{:<20} {:>8.0f} %   of misses in memory that cannot be pinned\n",
                       "upload share, staged", 100 * t.gpu.staged_upload_share);
        fmt::format_to(to, "{:<20} {:>10.1f}   tokens per expert, where it is in such memory\n",
                       "crossover, staged", t.gpu.staged_crossover_tokens);
    }
    return text;
}

class TuneCommand : public Command {
  public:
    explicit TuneCommand(CLI::App& program)
        : Command(*program.add_subcommand("tune", "Measure this machine with a model, for later starts")) {
        app_.footer(kExamples);
        add_model_option(app_, model_path_);
        app_.add_flag("--json", json_, "Print the profile as JSON instead of a table");
        app_.add_flag("--dry-run", dry_run_, "Measure and print, and keep nothing");
    }

    int run() override {
        ProgressBar bar;
        const auto engine = runtime::Engine::open(model_path_);
        runtime::Profile profile;
        profile.key = runtime::profile_key(engine->file());
        const std::string path = dry_run_ ? "" : profile_path(profile.key);
        if (!dry_run_ && path.empty())
            fail(ErrorKind::io,
                 "there is no place for a profile: neither XDG_DATA_HOME nor HOME is an absolute path. Set "
                 "one, or use --dry-run");
        runtime::TuneOptions options;
        options.progress = bar.reporter();
        profile.measured = runtime::measure_machine(*engine, options);
        profile.tuning = runtime::decide(profile.measured, runtime::tuned_model(engine->spec()));
        profile.made =
            fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                        fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
        bar.clear();
        write_output(json_ ? runtime::to_json(profile) : table_of(profile));
        if (dry_run_) return kExitOk;
        save_profile(path, profile);
        write_error(fmt::format("profile: {}\n", path));
        return kExitOk;
    }

  private:
    std::string model_path_;
    bool json_ = false;
    bool dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tune_command(CLI::App& program) {
    return std::make_unique<TuneCommand>(program);
}

}  // namespace greenroom::tools
