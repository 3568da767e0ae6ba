#pragma once

// The rules about #include lines and kernels, as functions of a file's path and text, so that the rules
// themselves can be tested.

#include <string>
#include <string_view>
#include <vector>

namespace greenroom::test {

// What the #include lines of this file break, one sentence each with the line's number; empty when all is
// well. `path` is relative to the root of the tree, with '/' ("cpu/ops.h"); files outside of the layers break
// nothing.
std::vector<std::string> broken_include_rules(std::string_view path, std::string_view text);

// Where a kernel file (gpu/**.cu) says something that only one of the two compilers understands, or that
// gpu/*.cuh wrap: launches in <<< >>>, intrinsics, assembly, questions about who is compiling.
std::vector<std::string> broken_kernel_rules(std::string_view path, std::string_view text);

}  // namespace greenroom::test
