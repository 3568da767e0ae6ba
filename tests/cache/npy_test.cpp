#include "cache/npy.h"
#include "tests/support/errors.h"
#include "tests/support/npy.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <iterator>
#include <string>

namespace greenroom::cache {
namespace {

constexpr std::array<std::int64_t, 2> kShape{2, 3};
constexpr std::array<std::uint16_t, 6> kValues{1, 2, 3, 4, 5, 65535};

class Npy : public testing::Test {
  protected:
    Npy() { write_npy<std::uint16_t>(path_, "<u2", kShape, kValues); }

    std::string bytes() const {
        std::ifstream in(path_, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    void replace(const std::string& from, const std::string& to) const {
        std::string all = bytes();
        ASSERT_NE(all.find(from), std::string::npos);
        std::ofstream(path_, std::ios::binary) << all.replace(all.find(from), from.size(), to);
    }
    void expect_refusal(std::initializer_list<std::string_view> texts, std::string_view descr = "<u2") const {
        test::expect_error(ErrorKind::bad_input, texts, [&] { read_npy<std::uint16_t>(path_, descr); });
    }

    const test::TempDir folder_;
    const std::string path_ = folder_.file("a.npy");
};

TEST_F(Npy, ReadsWhatItWrote) {
    const NpyArray<std::uint16_t> array = read_npy<std::uint16_t>(path_, "<u2");
    EXPECT_EQ(array.shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(array.values, std::vector<std::uint16_t>(kValues.begin(), kValues.end()));
}

TEST_F(Npy, WritesWhatOthersRead) {
    const auto array = test::load_npy<std::uint16_t>(path_);
    EXPECT_EQ(array.shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(array.values, std::vector<std::uint16_t>(kValues.begin(), kValues.end()));
}

TEST_F(Npy, ReadsWhatOthersWrote) {
    const auto path = test::test_data("oracle/mini/deepseek2/router_ids_p1.npy");
    const auto expected = test::load_npy<std::int32_t>(path);
    const auto found = read_npy<std::int32_t>(path.string(), "<i4");
    EXPECT_EQ(found.shape, expected.shape);
    EXPECT_EQ(found.values, expected.values);
}

TEST_F(Npy, AnotherElementTypeIsRefused) { expect_refusal({"'<u2'"}, "<f2"); }

TEST_F(Npy, FortranOrderIsRefused) {
    replace("False", "True ");
    expect_refusal({"C order"});
}

TEST_F(Npy, AShapeThatTheValuesDoNotFillIsRefused) {
    for (const char* shape : {"(2, 4)", "(9, 9)", "(2,-3)", "(2, x)", "(2, 3 "}) {
        write_npy<std::uint16_t>(path_, "<u2", kShape, kValues);
        replace("(2, 3)", shape);
        expect_refusal({"12 bytes"});
    }
    replace("{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3 , }",
            "{'descr':'<u2','fortran_order':False,'shape':(99999999999,9");
    expect_refusal({"12 bytes"});
}

TEST_F(Npy, EveryShorterFileIsRefused) {
    const std::string whole = bytes();
    for (std::size_t n = 1; n < whole.size(); ++n) {
        std::ofstream(path_, std::ios::binary) << whole.substr(0, n);
        expect_refusal({"a.npy"});
    }
}

TEST_F(Npy, AMissingFileIsSaid) {
    test::expect_error(ErrorKind::io, {"none.npy"},
                       [&] { read_npy<float>(folder_.file("none.npy"), "<f4"); });
}

}  // namespace
}  // namespace greenroom::cache
