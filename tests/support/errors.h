#pragma once

// Catching what is expected to be thrown.

#include "quant/base/error.h"

#include <gtest/gtest.h>

#include <exception>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace greenroom::test {

// The Error that the call throws; a test failure (and nothing) when it throws none or something else.
template <class Call>
std::optional<Error> error_of(Call&& call) {
    try {
        call();
    } catch (const Error& error) {
        return error;
    } catch (const std::exception& other) {
        ADD_FAILURE() << "another exception: " << other.what();
        return std::nullopt;
    }
    ADD_FAILURE() << "nothing was thrown";
    return std::nullopt;
}

// Expects an Error of this kind whose message contains every one of the texts.
template <class Call>
void expect_error(ErrorKind kind, std::initializer_list<std::string_view> texts, Call&& call) {
    const auto error = error_of(call);
    if (!error) return;
    EXPECT_EQ(static_cast<int>(error->kind()), static_cast<int>(kind)) << error->what();
    for (const std::string_view text : texts)
        EXPECT_NE(std::string_view(error->what()).find(text), std::string_view::npos)
            << "message: " << error->what() << "\nlacks: " << text;
}

}  // namespace greenroom::test
