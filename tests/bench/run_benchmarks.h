#pragma once

// What main() of a program of benchmarks does.

#include <benchmark/benchmark.h>

namespace greenroom::bench {

// Runs what register_all() registers and the arguments choose. Returns the exit code.
template <class RegisterAll>
int run_benchmarks(int argc, char** argv, RegisterAll&& register_all) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    register_all();
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}

}  // namespace greenroom::bench
