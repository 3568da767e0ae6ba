// Profiles come back as they were written; others are refused with what is wrong.

#include "runtime/profile.h"

#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <string>

namespace greenroom::runtime {
namespace {

Profile example() {
    Profile profile;
    profile.key = {.model = "Model \"X\"",
                   .file_bytes = 5'000'000'000,
                   .metadata_hash = 0xfedcba9876543210,
                   .cpu = "A CPU",
                   .n_cores = 8,
                   .n_threads = 16,
                   .gpu = "NVIDIA A"};
    profile.made = "2026-01-02T03:04:05Z";
    profile.measured.expert_bytes = 1'234'567;
    profile.measured.ssd_read = 2.5e9;
    profile.measured.threads = {{1, 10e9, 1.5e-4}, {8, 40e9, 3e-5}};
    profile.measured.experts = {{1, 3e-5}, {32, 2e-4}};
    profile.measured.decodes = {{4, 10.5}, {8, 11}};
    profile.measured.gpu = GpuMeasurements{.pinned_upload = 25e9,
                                           .pageable_upload = 8e9,
                                           .staged_upload = 12e9,
                                           .shared_upload = 20e9,
                                           .shared_dram_read = 30e9,
                                           .shared_staged_upload = 9e9,
                                           .shared_staged_dram_read = 25e9,
                                           .vram_copy = 8e11,
                                           .hand_over_s = 1.25e-5};
    profile.tuning = {.n_threads = 4,
                      .batch_tokens = 512,
                      .gpu = {.upload_share = 0.4,
                              .crossover_tokens = 17.5,
                              .staged_upload_share = 0.25,
                              .staged_crossover_tokens = 33.5}};
    return profile;
}

std::string refusal(const std::string& json) {
    const auto error = test::error_of([&] { parse_profile(json, "p.json"); });
    return error ? error->what() : "";
}

std::string edited(const std::string& from, const std::string& to) {
    std::string json = to_json(example());
    const std::size_t at = json.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? json : json.replace(at, from.size(), to);
}

TEST(Profile, ComesBackAsItWasWritten) {
    Profile profile = example();
    EXPECT_EQ(to_json(parse_profile(to_json(profile), "p.json")), to_json(profile));
    EXPECT_EQ(parse_profile(to_json(profile), "p.json").key, profile.key);
    EXPECT_EQ(parse_profile(to_json(profile), "p.json").tuning, profile.tuning);
    profile.measured.gpu.reset();
    EXPECT_FALSE(parse_profile(to_json(profile), "p.json").measured.gpu);
}

TEST(Profile, ThatOfVersionOneTakesWhatIsStagedAsPinned) {
    std::string json = edited("\"version\": 2", "\"version\": 1");
    for (const char* key : {"staged_upload_share", "staged_crossover_tokens", "staged_upload_bytes_per_s",
                            "shared_staged_upload_bytes_per_s", "shared_staged_dram_read_bytes_per_s"}) {
        const std::size_t at = json.find('"' + std::string(key) + '"');
        ASSERT_NE(at, std::string::npos) << key;
        json.insert(at + 1, "no_");
    }
    const Profile profile = parse_profile(json, "p.json");
    EXPECT_EQ(profile.tuning.gpu.staged_upload_share, profile.tuning.gpu.upload_share);
    EXPECT_EQ(profile.tuning.gpu.staged_crossover_tokens, profile.tuning.gpu.crossover_tokens);
    EXPECT_EQ(profile.measured.gpu->staged_upload, 0);
    EXPECT_EQ(profile.measured.gpu->pinned_upload, 25e9);
}

TEST(Profile, BrokenAndNewerOnesAreRefusedWithWhatIsWrong) {
    EXPECT_NO_THROW(parse_profile(to_json(example()), "p.json"));
    EXPECT_NE(refusal("{").find("no JSON"), std::string::npos);
    EXPECT_NE(refusal("[]").find("no object"), std::string::npos);
    EXPECT_NE(refusal(edited("\"version\": 2", "\"version\": 3")).find("version 3"), std::string::npos);
    EXPECT_NE(refusal(edited("\"threads\": 4", "\"threads\": 0")).find("chosen.threads"), std::string::npos);
    EXPECT_NE(refusal(edited("\"threads\": 4", "\"threads\": 1e3")).find("chosen.threads"),
              std::string::npos);
    EXPECT_NE(refusal(edited("\"upload_share\": 0.4", "\"upload_share\": 1.5")).find("chosen.upload_share"),
              std::string::npos);
    EXPECT_NE(refusal(edited("\"staged_upload_share\": 0.25", "\"staged_upload_share\": 1.5"))
                  .find("chosen.staged_upload_share"),
              std::string::npos);
    EXPECT_NE(refusal(edited("\"cores\"", "\"core\"")).find("for.cores"), std::string::npos);
    EXPECT_NE(refusal(edited("fedcba9876543210", "xyz")).find("for.metadata_hash"), std::string::npos);
    const std::string json = to_json(example());
    for (std::size_t n = 0; n + 2 < json.size(); n += 7) EXPECT_NE(refusal(json.substr(0, n)), "") << n;
}

TEST(Profile, OfAnotherMachineIsRefusedWithTheDifference) {
    const Profile profile = example();
    EXPECT_NO_THROW(check_profile_is_for(profile, profile.key, "p.json"));
    const auto difference = [&](const ProfileKey& key) {
        const auto error = test::error_of([&] { check_profile_is_for(profile, key, "p.json"); });
        return std::string(error ? error->what() : "");
    };
    ProfileKey key = profile.key;
    key.cpu = "Another CPU";
    EXPECT_NE(difference(key).find("Another CPU"), std::string::npos);
    EXPECT_NE(profile_file_name(key), profile_file_name(profile.key));
    key = profile.key;
    key.gpu = "";
    EXPECT_NE(difference(key).find("NVIDIA A"), std::string::npos);
}

TEST(Profile, FileIsNamedAfterTheModel) {
    EXPECT_TRUE(profile_file_name(example().key).starts_with("model-x-"));
    EXPECT_TRUE(profile_file_name(example().key).ends_with(".json"));
    EXPECT_EQ(profile_file_name({}).size(), 16U + 5);
}

TEST(Profile, KeyTellsModelsApart) {
    const auto key_of = [](const std::string& model) {
        return profile_key(
            quant::Gguf::open(test::test_data("oracle/mini/" + model + "/model-bf16.gguf").string()));
    };
    EXPECT_EQ(key_of("deepseek2"), key_of("deepseek2"));
    EXPECT_NE(key_of("deepseek2").metadata_hash, key_of("kimi-k2").metadata_hash);
    EXPECT_GE(key_of("deepseek2").n_threads, key_of("deepseek2").n_cores);
}

}  // namespace
}  // namespace greenroom::runtime
