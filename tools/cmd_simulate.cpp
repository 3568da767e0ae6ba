// greenroom simulate: what a cache of experts would hit, from recorded router choices.

#include "cache/policies.h"
#include "cache/simulator.h"
#include "cache/trace.h"
#include "tools/command.h"
#include "tools/hit_rate_plot.h"
#include "tools/options.h"
#include "tools/partial_file.h"
#include "tools/percent_list.h"
#include "tools/printable.h"
#include "tools/progress_bar.h"
#include "tools/standard_streams.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <exception>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(A trace is a folder that `greenroom trace` writes. The cache starts empty, every token is a step, every miss is
loaded, and a text finds what the one before has left. `belady` is the optimum, which knows the future.

With --expert-mib also tokens per second, at most: every token reads its experts and --resident-gib, hits (and what is
resident) at --hit-gbs and misses at --miss-gbs. Both are read at the same time, so the slower side decides. Hits from
VRAM and misses computed from RAM: about 800 and 60. Hits from RAM and misses from an SSD: 60 and 6.

With --foresight also the share of the misses that were among the top_k missing experts that the policy valued most just
before the request: what could be read ahead where no router can be asked yet.

--json prints a list of {"trace", "policy", "scope", "size", "hit_rate", "default"}: size and hit_rate from 0 to 1;
default marks the policy and scope that Greenroom uses when none is asked for. With --foresight also "foreseen", with --expert-mib "tokens_per_s".

Examples:
  greenroom simulate --trace traces/chat traces/code --sizes 15,30,60
  greenroom simulate --trace traces/chat --policy learned,lru --scope layer --sizes 5..90 --plot hits.svg
  greenroom simulate --trace traces/chat --expert-mib 2.3 --hit-gbs 900 --miss-gbs 70)";

// What a token costs.
struct Speed {
    double expert_mib = 0;  // 0: not asked for
    double resident_gib = 0;
    double hit_gb_per_s = 800;
    double miss_gb_per_s = 60;

    double tokens_per_s(const cache::Trace& trace, double hit_rate) const {
        const double routed_bytes = expert_mib * 0x1p20 * trace.n_layers * trace.top_k;
        const double hit_s = (resident_gib * 0x1p30 + hit_rate * routed_bytes) / (hit_gb_per_s * 1e9);
        const double miss_s = (1 - hit_rate) * routed_bytes / (miss_gb_per_s * 1e9);
        return 1 / std::max(hit_s, miss_s);
    }
};

// One line of the table.
struct Series {
    std::string policy;
    cache::Scope scope = cache::Scope::layer;
    std::vector<double> hit_rates;  // by size, as
    std::vector<double> foreseen;   // the share of the misses that the policy would have named

    bool is_optimum() const { return policy == cache::kOptimum; }
    bool is_default() const { return policy == cache::kDefaultPolicy && scope == cache::kDefaultScope; }
};

// Calls work(0) … work(n - 1) on all cores, in any order. The first exception is thrown again here.
template <class Work>
void for_each_index(std::size_t n, const Work& work) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::exception_ptr failure;  // guarded by mutex
    const auto run = [&] {
        try {
            for (std::size_t i = next++; i < n; i = next++) work(i);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
            next = n;
        }
    };
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 1;
             i < std::min<std::size_t>(n, std::max(1U, std::thread::hardware_concurrency())); ++i)
            threads.emplace_back(run);
        run();
    }
    if (failure) std::rethrow_exception(failure);
}

class SimulateCommand : public Command {
  public:
    explicit SimulateCommand(CLI::App& program)
        : Command(
              *program.add_subcommand("simulate", "Replay recorded router choices against cache policies")) {
        app_.footer(kExamples);
        app_.add_option("--trace", folders_, "Folders with traces")->required()->type_name("DIR");
        app_.add_option("--policy", policies_, "Policies: all, or some of " + names_of_all())
            ->type_name("NAME,…")
            ->delimiter(',')
            ->capture_default_str();
        app_.add_option("--scope", scope_,
                        "Who competes for a slot: the experts of a layer, all, or show both")
            ->check(one_of({"layer", "global", "both"}))
            ->type_name("layer|global|both")
            ->capture_default_str();
        app_.add_option("--sizes", sizes_, "Experts in the cache, percent; 5..90 is in steps of 5")
            ->type_name("LIST")
            ->capture_default_str();
        app_.add_flag("--json", json_, "Print one JSON list");
        app_.add_flag("--foresight", foresight_,
                      "Also show how many misses the policy would have foreseen from the calls alone");
        app_.add_option("--plot", plot_path_, "Draw the hit rates into this file")
            ->check(file_name())
            ->type_name("SVG");
        add_speed_option("--expert-mib", speed_.expert_mib, "Size of an expert; also show tokens per second");
        add_speed_option("--resident-gib", speed_.resident_gib, "What every token reads beside its experts");
        add_speed_option("--hit-gbs", speed_.hit_gb_per_s, "GB/s at which hits are read");
        add_speed_option("--miss-gbs", speed_.miss_gb_per_s, "GB/s at which misses are read");
    }

    int run() override {
        const std::vector<double> sizes = parse_percent_list("--sizes", sizes_);
        const std::vector<Series> wanted = wanted_series(sizes.size());
        if (!(speed_.hit_gb_per_s > 0) || !(speed_.miss_gb_per_s > 0))
            bad_usage("--hit-gbs, --miss-gbs", "found 0, expected more");
        if (!plot_path_.empty()) check_can_create(plot_path_);

        const auto foreseen = foresight_ ? cache::CountForeseen::yes : cache::CountForeseen::no;
        nlohmann::ordered_json json = nlohmann::ordered_json::array();
        std::vector<HitRatePanel> panels;
        std::string text;
        ProgressBar bar;
        for (const std::string& folder : folders_) {
            const cache::Trace trace = cache::read_trace(folder);
            const std::vector<Series> done = replay(trace, wanted, sizes, foreseen, bar.reporter());
            for (const Series& series : done) append_json(json, trace, series, sizes);
            text += as_table(trace, done, sizes);
            panels.push_back(as_panel(trace, done));
        }
        bar.clear();
        if (!plot_path_.empty()) write_file(plot_path_, draw_hit_rates(panels, sizes));
        // A folder's name may be no UTF-8.
        constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
        write_output(json_ ? json.dump(1, ' ', false, kReplace) + "\n" : text);
        return kExitOk;
    }

  private:
    static std::vector<std::string> all_policies() {
        const auto names = cache::policy_names();
        std::vector<std::string> all(names.begin(), names.end());
        all.emplace_back(cache::kOptimum);
        return all;
    }

    static std::string names_of_all() { return fmt::format("{}", fmt::join(all_policies(), ", ")); }

    void add_speed_option(const char* flag, double& value, const char* what) {
        app_.add_option(flag, value, what)->check(number(0, 1e9))->type_name("N")->capture_default_str();
    }

    std::vector<Series> wanted_series(std::size_t n_sizes) const {
        const std::vector<std::string> all = all_policies();
        const std::vector<std::string>& names =
            policies_ == std::vector<std::string>{"all"} ? all : policies_;
        std::vector<Series> wanted;
        for (const std::string& name : names) {
            if (std::find(all.begin(), all.end(), name) == all.end())
                bad_usage("--policy",
                          fmt::format("found '{}', expected all or some of {}", name, names_of_all()));
            for (const cache::Scope scope : {cache::Scope::layer, cache::Scope::global})
                if (scope_ == "both" || scope_ == cache::scope_name(scope))
                    wanted.push_back(
                        {name, scope, std::vector<double>(n_sizes), std::vector<double>(n_sizes)});
        }
        return wanted;
    }

    static std::vector<Series> replay(const cache::Trace& trace, std::vector<Series> series,
                                      const std::vector<double>& sizes, cache::CountForeseen foreseen,
                                      const ProgressFn& report) {
        const std::size_t n_runs = series.size() * sizes.size();
        std::mutex mutex;
        std::int64_t n_done = 0;  // guarded by mutex
        for_each_index(n_runs, [&](std::size_t i) {
            Series& line = series[i / sizes.size()];
            const std::size_t size = i % sizes.size();
            const cache::SimulationResult result =
                cache::simulate(trace, line.policy, line.scope, sizes[size], foreseen);
            line.hit_rates[size] = result.hit_rate();
            line.foreseen[size] = result.foreseen();
            if (!report) return;
            const std::lock_guard lock(mutex);
            report(printable(trace.name), ++n_done, static_cast<std::int64_t>(n_runs));
        });
        return series;
    }

    void append_json(nlohmann::ordered_json& list, const cache::Trace& trace, const Series& series,
                     const std::vector<double>& sizes) const {
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            nlohmann::ordered_json entry{{"trace", trace.name},
                                         {"policy", series.policy},
                                         {"scope", cache::scope_name(series.scope)},
                                         {"size", sizes[i]},
                                         {"hit_rate", series.hit_rates[i]},
                                         {"default", series.is_default()}};
            if (foresight_ && !series.is_optimum()) entry["foreseen"] = series.foreseen[i];
            if (speed_.expert_mib > 0)
                entry["tokens_per_s"] = speed_.tokens_per_s(trace, series.hit_rates[i]);
            list.push_back(std::move(entry));
        }
    }

    std::string as_table(const cache::Trace& trace, const std::vector<Series>& lines,
                         const std::vector<double>& sizes) const {
        std::string out = fmt::format("{}: {} tokens, {} layers, {} of {} experts\n", printable(trace.name),
                                      trace.n_tokens, trace.n_layers, trace.top_k, trace.n_experts);
        append_rows(out, "hit rate, %", lines, sizes,
                    [](const Series& line, std::size_t i) { return 100 * line.hit_rates[i]; });
        if (foresight_)
            append_rows(out, "misses foreseen, %", without_optimum(lines), sizes,
                        [](const Series& line, std::size_t i) { return 100 * line.foreseen[i]; });
        if (speed_.expert_mib > 0)
            append_rows(out, "tokens/s", lines, sizes, [&](const Series& line, std::size_t i) {
                return speed_.tokens_per_s(trace, line.hit_rates[i]);
            });
        return out + "\n";
    }

    // It knows the calls of what it has seen before, which is no foresight.
    static std::vector<Series> without_optimum(std::vector<Series> lines) {
        std::erase_if(lines, [](const Series& line) { return line.is_optimum(); });
        return lines;
    }

    template <class Value>
    static void append_rows(std::string& out, const char* what, const std::vector<Series>& lines,
                            const std::vector<double>& sizes, const Value& value) {
        auto to = std::back_inserter(out);
        fmt::format_to(to, "{:<19}", what);
        for (const double size : sizes) fmt::format_to(to, "{:>6.0f} %", 100 * size);
        out += '\n';
        for (const Series& line : lines) {
            fmt::format_to(to, "{:<9} {:<7}{} ", line.policy, cache::scope_name(line.scope),
                           line.is_default() ? '*' : ' ');
            for (std::size_t i = 0; i < sizes.size(); ++i) fmt::format_to(to, "{:>8.1f}", value(line, i));
            out += '\n';
        }
    }

    static HitRatePanel as_panel(const cache::Trace& trace, const std::vector<Series>& lines) {
        HitRatePanel panel;
        panel.title =
            fmt::format("{}, {} of {} experts", printable(trace.name), trace.top_k, trace.n_experts);
        const std::vector<std::string> all = all_policies();
        for (const Series& line : lines) {
            const auto color = std::find(all.begin(), all.end(), line.policy) - all.begin();
            panel.curves.push_back({fmt::format("{}, {}", line.policy, cache::scope_name(line.scope)),
                                    line.is_optimum(), line.scope == cache::Scope::global,
                                    static_cast<int>(color), line.hit_rates});
        }
        return panel;
    }

    std::vector<std::string> folders_;
    std::vector<std::string> policies_{"all"};
    std::string scope_ = "both";
    std::string sizes_ = "10,15,20,25,30,40,50,60,70";
    std::string plot_path_;
    bool json_ = false;
    bool foresight_ = false;
    Speed speed_;
};

}  // namespace

std::unique_ptr<Command> make_simulate_command(CLI::App& program) {
    return std::make_unique<SimulateCommand>(program);
}

}  // namespace greenroom::tools
