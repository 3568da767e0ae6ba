#include "cpu/isa.h"

#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace greenroom::cpu {
namespace {

class ForcedIsa : public testing::Test {
  protected:
    void TearDown() override { ::unsetenv("GREENROOM_ISA"); }
};

TEST_F(ForcedIsa, TheBestIsTakenUnlessOneIsForced) {
    ::unsetenv("GREENROOM_ISA");
    EXPECT_EQ(select_isa(), available_isas().back());
    for (const Isa isa : available_isas()) {
        ::setenv("GREENROOM_ISA", std::string(isa_name(isa)).c_str(), 1);
        EXPECT_EQ(select_isa(), isa);
    }
}

TEST_F(ForcedIsa, UnknownNameIsAnError) {
    ::setenv("GREENROOM_ISA", "sse9", 1);
    test::expect_error(ErrorKind::bad_input,
                       {"GREENROOM_ISA=sse9", "scalar, avx2, avxvnni, avx512, avx512vbmi or amx"},
                       [] { select_isa(); });
}

}  // namespace
}  // namespace greenroom::cpu
