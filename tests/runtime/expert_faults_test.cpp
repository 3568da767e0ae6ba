// Experts on a disk that fails, is slow or loses the file, and many sessions on the least memory: nothing
// hangs, nothing is lost, no token is wrong.

#include "cache/read_faults.h"
#include "runtime/engine.h"
#include "runtime/session.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::runtime {
namespace {

const std::string kModel = test::test_data("oracle/mini/deepseek2/model-bf16.gguf").string();
constexpr std::size_t kPrompt = 12;

// With room for the least number of experts.
std::unique_ptr<Engine> load_tight(const std::string& path, cache::ReadFaults* faults = nullptr,
                                   int prefetch_layers = 2, int n_threads = 1) {
    LoadOptions options;
    options.max_expert_bytes = 1;
    options.experts.prefetch_layers = prefetch_layers;
    options.reader.faults = faults;
    options.n_sessions = 8;
    return Engine::load(path, {n_threads, {}, options});
}

std::vector<text::TokenId> text_number(int n) {
    std::vector<text::TokenId> tokens(24);
    std::iota(tokens.begin(), tokens.end(), 3 + 29 * n);
    return tokens;
}

const SessionOptions kSession{.context_tokens = 32, .batch_tokens = 8};

// The logits after a prompt and after each of the tokens that follow it. A failed request is made again from
// where the session stands.
std::vector<float> logits_of(Session& session, const std::vector<text::TokenId>& tokens, int* n_failed) {
    std::vector<float> all;
    for (std::size_t end = kPrompt; end <= tokens.size(); ++end) {
        for (int tries = 0;; ++tries) {
            const auto done = static_cast<std::size_t>(session.n_tokens());
            try {
                session.evaluate(std::span(tokens).subspan(done, end - done));
                break;
            } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::io) << error.what();
                EXPECT_NE(std::string(error.what()).find(".gguf"), std::string::npos) << error.what();
                if (n_failed != nullptr) ++*n_failed;
                if (tries == 200) {
                    ADD_FAILURE() << "fails every time: " << error.what();
                    return all;
                }
            }
        }
        const auto logits = session.logits();
        all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
}

std::vector<float> expected_logits(int text) {
    const auto engine = Engine::load(kModel, {1, {}, {}});
    Session session(*engine, kSession);
    return logits_of(session, text_number(text), nullptr);
}

TEST(ExpertFaults, AFailedReadEndsTheRequestAndNothingElse) {
    const std::vector<float> expected = expected_logits(0);
    for (const int prefetch_layers : {0, 3}) {
        cache::ReadFaults faults("eio@*401");
        const auto engine = load_tight(kModel, &faults, prefetch_layers);
        Session session(*engine, kSession);
        int n_failed = 0;
        EXPECT_EQ(logits_of(session, text_number(0), &n_failed), expected);
        EXPECT_GT(n_failed, 0);
        EXPECT_GE(engine->experts()->cache().total().n_failed, n_failed);
    }
}

TEST(ExpertFaults, ShortAndSlowReadsChangeNothing) {
    const std::vector<float> expected = expected_logits(0);
    for (const char* rules : {"short@*3", "delay_ms=1@*5,short@*2"}) {
        cache::ReadFaults faults(rules);
        const auto engine = load_tight(kModel, &faults);
        Session session(*engine, kSession);
        EXPECT_EQ(logits_of(session, text_number(0), nullptr), expected) << rules;
    }
}

TEST(ExpertFaults, AnAnswerIsCancelledWhileItWaitsForTheDisk) {
    cache::ReadFaults faults("delay_ms=50@1+");
    const auto engine = load_tight(kModel, &faults);
    Session session(*engine, kSession);
    const std::vector<text::TokenId> tokens = text_number(0);
    std::atomic<bool> cancelled{false};
    std::thread killer([&cancelled] {
        std::this_thread::sleep_for(std::chrono::milliseconds(150));
        cancelled = true;
    });
    EvaluateOptions options;
    options.cancelled = &cancelled;
    Evaluated result = Evaluated::done;
    std::size_t done = 0;
    while (result == Evaluated::done && done < tokens.size()) {
        result = session.evaluate(std::span(tokens).subspan(done, 1), options);
        if (result == Evaluated::done) ++done;
    }
    killer.join();
    EXPECT_EQ(result, Evaluated::cancelled) << "each of its reads takes 50 ms";
    EXPECT_EQ(static_cast<std::size_t>(session.n_tokens()), done);
    EXPECT_EQ(session.truncate(0), 0);
    EXPECT_EQ(logits_of(session, tokens, nullptr), expected_logits(0));
}

TEST(ExpertFaults, AFileThatIsTruncatedWhileRunningIsAnError) {
    const test::TempDir folder;
    const std::string path = folder.file("model.gguf");
    std::filesystem::copy_file(kModel, path);
    const auto engine = load_tight(path);
    Session session(*engine, kSession);
    const std::vector<text::TokenId> tokens = text_number(0);
    session.evaluate(std::span(tokens).first(kPrompt));
    std::filesystem::resize_file(path, 4096);
    for (int i = 0; i < 3; ++i)
        test::expect_error(ErrorKind::io, {path, "the file has 4096 bytes", "truncated"},
                           [&] { session.evaluate(std::span(tokens).subspan(kPrompt)); });
    EXPECT_EQ(static_cast<std::size_t>(session.n_tokens()), kPrompt);
    // What has been read is still of use: the vocabulary, and the weights that every token needs.
    EXPECT_FALSE(engine->tokenizer().decode(tokens).empty());
}

TEST(ExpertFaults, EightSessionsShareTheLeastMemory) {
    constexpr int kSessions = 8;
    std::vector<std::vector<float>> expected;
    for (int i = 0; i < kSessions; ++i) expected.push_back(expected_logits(i));
    const auto engine = load_tight(kModel, nullptr, 1, 2);
    std::vector<std::unique_ptr<Session>> sessions;
    for (int i = 0; i < kSessions; ++i) sessions.push_back(std::make_unique<Session>(*engine, kSession));
    std::vector<std::vector<float>> found(kSessions);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kSessions; ++i)
        threads.emplace_back(
            [&, i] { found[i] = logits_of(*sessions[i], text_number(static_cast<int>(i)), nullptr); });
    for (std::thread& thread : threads) thread.join();
    for (std::size_t i = 0; i < kSessions; ++i) EXPECT_EQ(found[i], expected[i]) << "session " << i;
}

TEST(ExpertFaults, MissesAllocateNothing) {
    const auto engine = load_tight(kModel);
    Session session(*engine, kSession);
    const std::vector<text::TokenId> tokens = text_number(0);
    session.evaluate(std::span(tokens).first(kPrompt));
    const std::int64_t n_misses = engine->experts()->cache().total().n_misses;
    const std::int64_t before = test::allocation_count();
    for (std::size_t i = kPrompt; i < tokens.size(); ++i) session.evaluate(std::span(tokens).subspan(i, 1));
    EXPECT_EQ(test::allocation_count(), before);
    EXPECT_GT(engine->experts()->cache().total().n_misses, n_misses);
}

TEST(ExpertFaults, ASessionThatTheBudgetHasNoRoomForIsRefusedAndAnotherFits) {
    LoadOptions options;
    options.session = kSession;
    const auto probe = Engine::load(kModel, {1, {}, options});
    // What this process takes for the least, and a little.
    options.ram_bytes = resident_set_bytes() + (24 << 20);
    const auto engine = Engine::load(kModel, {1, {}, options});
    std::vector<std::unique_ptr<Session>> sessions;
    test::expect_error(ErrorKind::out_of_memory, {"a context of 32 tokens", "MiB are available"}, [&] {
        for (int i = 0; i < 10'000; ++i) sessions.push_back(std::make_unique<Session>(*engine, kSession));
    });
    ASSERT_FALSE(sessions.empty());
    sessions.pop_back();
    sessions.push_back(std::make_unique<Session>(*engine, kSession));
}

}  // namespace
}  // namespace greenroom::runtime
