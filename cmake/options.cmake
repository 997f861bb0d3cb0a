# Compiler flags shared by every target, and the two switches a developer may set.
set(SORA_SANITIZE "" CACHE STRING "Comma separated -fsanitize= list; empty for none")
option(SORA_FUZZ "Build the libFuzzer targets (clang only)" OFF)

add_library(sora_flags INTERFACE)
target_include_directories(sora_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(sora_flags INTERFACE _GNU_SOURCE SORA_VERSION="${PROJECT_VERSION}")
# Contraction is off so that one source gives one rounding with every compiler; kernels that want a
# fused multiply-add ask for it by name.
target_compile_options(sora_flags INTERFACE
    -Wall -Wextra -Werror -Wshadow -Wundef -Wvla -Wpointer-arith -Wwrite-strings
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition>
    -fno-math-errno -ffp-contract=off -fvisibility=hidden)
if(SORA_SANITIZE)
    target_compile_options(sora_flags INTERFACE -fsanitize=${SORA_SANITIZE} -fno-omit-frame-pointer)
    target_link_options(sora_flags INTERFACE -fsanitize=${SORA_SANITIZE})
    if(SORA_SANITIZE MATCHES "undefined")
        target_compile_options(sora_flags INTERFACE -fno-sanitize-recover=undefined)
    endif()
endif()
if(SORA_FUZZ)
    # Coverage in every layer; the fuzz targets alone link libFuzzer's main (tests/fuzz).
    target_compile_options(sora_flags INTERFACE -fsanitize=fuzzer-no-link)
    target_link_options(sora_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
