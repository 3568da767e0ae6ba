#pragma once

// Keeping the KV cache from one prompt to the next: the prompts of a conversation begin alike.

#include "runtime/session.h"

#include <span>

namespace greenroom::runtime {

// Truncates the session to the tokens that it has in common with the beginning of the prompt, as far as it
// can (see Session::truncate()), and returns the rest of the prompt, which is to be evaluated. At least the
// last token is in it, as the logits behind it are wanted; empty only for an empty prompt. The session then
// goes on as if all of the prompt had been evaluated at once.
std::span<const text::TokenId> reuse_prefix(Session& session, std::span<const text::TokenId> prompt);

}  // namespace greenroom::runtime
