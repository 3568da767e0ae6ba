# What every target of Greenroom has in common.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(PkgConfig REQUIRED)

find_program(GREENROOM_CCACHE ccache)
if(GREENROOM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${GREENROOM_CCACHE})
endif()

# Compiler settings shared by all C++ targets. No -march here: SIMD variants carry their own target attribute.
add_library(greenroom_options INTERFACE)
target_include_directories(greenroom_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(greenroom_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor>
    # Reproducible numbers: a product and a sum are fused only where the code says so.
    $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
# Only with the compiler that .ci/run uses: others have warnings of their own, some of them false (g++ 13: the bounds
# of arrays inside fmt).
if(GREENROOM_WERROR AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(greenroom_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
# At -O3 g++ 12 takes a + in front of a std::string for an overlapping copy (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(greenroom_options INTERFACE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-Wno-restrict>)
endif()
if(GREENROOM_SANITIZER)
    target_compile_options(greenroom_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${GREENROOM_SANITIZER}
        -fno-sanitize-recover=all -fno-omit-frame-pointer>)
    target_link_options(greenroom_options INTERFACE -fsanitize=${GREENROOM_SANITIZER})
endif()
if(GREENROOM_FUZZ)
    # The fuzzer sees which branches an input takes; only its own programs link libFuzzer's main().
    target_compile_options(greenroom_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link>)
endif()

# greenroom_layer(name SOURCES ... LINK ... [PRIVATE_LINK ...]): the static library greenroom_<name>.
function(greenroom_layer name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
    add_library(greenroom_${name} STATIC ${ARG_SOURCES})
    target_link_libraries(greenroom_${name} PUBLIC greenroom_options ${ARG_LINK} PRIVATE ${ARG_PRIVATE_LINK})
endfunction()
