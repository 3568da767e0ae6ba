// How fast experts come from the disk, against what the disk gives to plain preads of the same size, at
// random places.
//
//     ssd_reader_bench FILE [ROUNDS [SECONDS]]        5 rounds of 2 s each
//
// FILE should be several times larger than the disk's cache.
//
// Disks are shared and their speed drifts, so the roof and all candidates take turns, and each line is the
// median over the rounds, of the speed and of its ratio to the roof of the same round. An expert is 3 ranges
// of 1.2 MiB; the roof is 8 threads that read such ranges, widened to whole blocks, with O_DIRECT.

#include "cache/arena.h"
#include "cache/bulk_read.h"
#include "cache/slot_layout.h"
#include "cache/ssd_reader.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::cache {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMatrixBytes = 1'258'304;  // 1.2 MiB, not a multiple of a block
constexpr int kMatrices = 3;
constexpr std::int64_t kBlock = 4096;
constexpr int kSlots = 64;  // experts asked for at a time: more than a token's, so that no reader starves
constexpr int kRoofThreads = 8;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

double cpu_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Result {
    double mb_per_s = 0;
    double cpu_ms_per_gb = 0;
    double latency_ms = 0;  // mean, of demanded experts; 0: not measured
};

struct Bench {
    std::string path;
    std::int64_t file_bytes = 0;
    double seconds = 2;
    Arena arena{kSlots * kMatrices * (kMatrixBytes + 2 * kBlock), {.commit = ArenaCommit::at_once}};
    Arena small_pages{arena.bytes(), {.pages = ArenaPages::normal, .commit = ArenaCommit::at_once}};
    std::byte* slots = arena.data();
    std::mt19937_64 random{1};

    std::int64_t random_offset() {
        return static_cast<std::int64_t>(random() %
                                         static_cast<std::uint64_t>((file_bytes - kMatrixBytes) / 32)) *
               32;
    }
    std::byte* slot(std::uint64_t i) const {
        return slots +
               static_cast<std::int64_t>(i) * kMatrices * (kMatrixBytes + 2 * kBlock) / kBlock * kBlock;
    }
    bool start_expert(SsdReader& reader, std::uint64_t slot_index, Priority priority) {
        std::array<ByteRange, kMatrices> matrices;
        for (ByteRange& m : matrices) m = {0, random_offset(), kMatrixBytes};
        const SlotLayout layout(matrices, reader.alignment());
        const auto copies = layout.copies_to(slot(slot_index));
        return reader.start({std::span(copies).first(kMatrices), priority, slot_index}).has_value();
    }
};

Result measure(double bytes, double seconds, double cpu) {
    return {bytes / seconds / 1e6, cpu * 1e3 / (bytes / 1e9)};
}

Result roof(Bench& bench) {
    const int fd = ::open(bench.path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0) {
        std::perror("open with O_DIRECT");
        std::exit(1);
    }
    std::atomic<std::int64_t> bytes{0};
    const double cpu = cpu_seconds();
    const auto begin = Clock::now();
    std::vector<std::thread> threads;
    for (int t = 0; t < kRoofThreads; ++t) {
        threads.emplace_back([&, t, seed = bench.random()] {
            std::mt19937_64 random(seed);
            const std::int64_t length = (kMatrixBytes + 2 * kBlock - 1) / kBlock * kBlock;
            const auto n_blocks = static_cast<std::uint64_t>((bench.file_bytes - length) / kBlock);
            while (seconds_since(begin) < bench.seconds) {
                const auto offset = static_cast<std::int64_t>(random() % n_blocks) * kBlock;
                if (::pread(fd, bench.slot(static_cast<std::uint64_t>(t)), static_cast<std::size_t>(length),
                            offset) == length)
                    bytes += kMatrixBytes;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    ::close(fd);
    return measure(static_cast<double>(bytes), seconds_since(begin), cpu_seconds() - cpu);
}

// Experts in random order, all slots asked for all the time.
Result experts(Bench& bench, const ReaderOptions& options, Priority priority) {
    SsdReader reader({&bench.path, 1}, options);
    const double cpu = cpu_seconds();
    const auto begin = Clock::now();
    for (std::uint64_t i = 0; i < kSlots; ++i) bench.start_expert(reader, i, priority);
    std::int64_t bytes = 0;
    double elapsed = 0;
    std::array<Completion, 16> completions;
    while (const std::size_t n = reader.wait(completions, std::chrono::seconds(60))) {
        for (const Completion& completion : std::span(completions).first(n)) {
            if (elapsed < bench.seconds) bytes += kMatrices * kMatrixBytes;
            if (elapsed < bench.seconds) bench.start_expert(reader, completion.tag, priority);
        }
        if (elapsed < bench.seconds) elapsed = seconds_since(begin);
    }
    return measure(static_cast<double>(bytes), elapsed, cpu_seconds() - cpu);
}

// How long a demanded expert takes while prefetches keep the reader busy: one at a time.
Result demanded_among_prefetches(Bench& bench, const ReaderOptions& options) {
    SsdReader reader({&bench.path, 1}, options);
    const double cpu = cpu_seconds();
    const auto begin = Clock::now();
    for (std::uint64_t i = 1; i < kSlots; ++i) bench.start_expert(reader, i, Priority::prefetch);
    bench.start_expert(reader, 0, Priority::demanded);
    std::int64_t bytes = 0;
    std::int64_t latency_us = 0;
    int n_demanded = 0;
    std::array<Completion, 16> completions;
    bool over = false;
    while (const std::size_t n = reader.wait(completions, std::chrono::seconds(60))) {
        for (const Completion& completion : std::span(completions).first(n)) {
            if (over) continue;
            bytes += kMatrices * kMatrixBytes;
            if (completion.tag == 0) {
                latency_us += completion.elapsed_us;
                ++n_demanded;
            }
            bench.start_expert(reader, completion.tag,
                               completion.tag == 0 ? Priority::demanded : Priority::prefetch);
        }
        over = seconds_since(begin) >= bench.seconds;
        if (over) break;  // the destructor drops the rest
    }
    Result result = measure(static_cast<double>(bytes), seconds_since(begin), cpu_seconds() - cpu);
    result.latency_ms = n_demanded == 0 ? 0 : static_cast<double>(latency_us) / n_demanded / 1e3;
    return result;
}

// As the weights that stay in memory are loaded. They all go to the arena, one over the other: nobody looks
// at them.
Result sequential(Bench& bench, const ReaderOptions& options) {
    SsdReader reader({&bench.path, 1}, options);
    const std::int64_t step = std::min(bench.arena.bytes(), bench.file_bytes) / kBlock * kBlock;
    std::vector<Copy> copies;
    for (std::int64_t at = 0; at + step <= bench.file_bytes; at += step)
        copies.push_back({{0, at, step}, bench.arena.data()});
    std::rotate(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(bench.random() % copies.size()),
                copies.end());

    const double cpu = cpu_seconds();
    const auto begin = Clock::now();
    double bytes = 0;
    std::atomic<bool> stop{false};
    read_all(
        reader, copies, "",
        [&](std::string_view, std::int64_t done, std::int64_t) {
            stop = seconds_since(begin) >= bench.seconds;
            bytes = static_cast<double>(done);
        },
        &stop);
    return measure(bytes, seconds_since(begin), cpu_seconds() - cpu);
}

struct Candidate {
    std::string name;
    std::function<Result()> run;
    std::vector<Result> results;
    std::vector<double> ratios;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

ReaderOptions with(ReadBackend backend, std::int64_t piece_kib, int depth) {
    ReaderOptions options;
    options.backend = backend;
    options.piece_bytes = piece_kib << 10;
    options.depth = depth;
    return options;
}

std::vector<Candidate> candidates(Bench& bench) {
    std::vector<Candidate> all;
    const auto add = [&all](std::string name, std::function<Result()> run) {
        all.push_back({std::move(name), std::move(run), {}, {}});
    };
    add("8 threads, pread (the roof)", [&bench] { return roof(bench); });
    for (const int piece_kib : {512, 1024, 2048, 4096})
        for (const int depth : {8, 16, 32})
            add(fmt::format("io_uring, pieces of {} KiB, {} in flight", piece_kib, depth),
                [&bench, piece_kib, depth] {
                    return experts(bench, with(ReadBackend::uring, piece_kib, depth), Priority::demanded);
                });
    add("io_uring, as it is by default", [&bench] { return experts(bench, {}, Priority::demanded); });
    add("the same with registered memory", [&bench] {
        ReaderOptions options;
        const std::span<std::byte> memory = bench.arena.memory();
        options.fixed_memory = {&memory, 1};
        return experts(bench, options, Priority::demanded);
    });
    add("the same into pages of 4 KiB", [&bench] {
        bench.slots = bench.small_pages.data();
        const Result result = experts(bench, {}, Priority::demanded);
        bench.slots = bench.arena.data();
        return result;
    });
    add("pread in 16 threads", [&bench] {
        ReaderOptions options;
        options.backend = ReadBackend::pread;
        return experts(bench, options, Priority::demanded);
    });
    add("io_uring through the page cache", [&bench] {
        ReaderOptions options;
        options.access = ReadAccess::buffered;
        return experts(bench, options, Priority::demanded);
    });
    for (const int share : {1, 2, 4, 8}) {
        ReaderOptions options;
        options.prefetch_depth = share;
        add(fmt::format("prefetches only, share {}", share),
            [&bench, options] { return experts(bench, options, Priority::prefetch); });
        add(fmt::format("one demanded expert among prefetches, share {}", share),
            [&bench, options] { return demanded_among_prefetches(bench, options); });
    }
    add("read_all(), sequential", [&bench] { return sequential(bench, {}); });
    return all;
}

int run(const std::string& path, int rounds, double seconds) {
    Bench bench;
    bench.path = path;
    bench.seconds = seconds;
    {
        const SsdReader reader({&path, 1});
        bench.file_bytes = reader.file_bytes(0);
        std::printf("%s: %.1f GB; %s; %s\n", path.c_str(), static_cast<double>(bench.file_bytes) / 1e9,
                    reader.describe().c_str(), bench.arena.describe().c_str());
    }
    std::vector<Candidate> all = candidates(bench);
    for (int round = 0; round < rounds; ++round) {
        double roof_mb_per_s = 0;
        for (Candidate& candidate : all) {
            // The roof again and again, since it moves.
            if ((&candidate - all.data()) % 4 == 0) roof_mb_per_s = roof(bench).mb_per_s;
            candidate.results.push_back(candidate.run());
            candidate.ratios.push_back(candidate.results.back().mb_per_s / roof_mb_per_s);
        }
    }
    for (const Candidate& candidate : all) {
        const auto median_of = [&](double Result::*member) {
            std::vector<double> values;
            for (const Result& result : candidate.results) values.push_back(result.*member);
            return median(values);
        };
        std::printf("%-52s %6.0f MB/s  %4.0f %% of the roof  %4.0f ms of CPU per GB", candidate.name.c_str(),
                    median_of(&Result::mb_per_s), 100 * median(candidate.ratios),
                    median_of(&Result::cpu_ms_per_gb));
        if (const double latency = median_of(&Result::latency_ms); latency > 0)
            std::printf("  %5.1f ms", latency);
        std::printf("\n");
    }
    return 0;
}

}  // namespace
}  // namespace greenroom::cache

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s FILE [ROUNDS [SECONDS]]\n", argv[0]);
        return 2;
    }
    try {
        return greenroom::cache::run(argv[1], argc > 2 ? std::max(1, std::atoi(argv[2])) : 5,
                                     argc > 3 ? std::max(0.1, std::atof(argv[3])) : 2);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
