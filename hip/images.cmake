# GPU images: hip/kernels/all.c compiled for every architecture of the list by clang, and embedded
# together with the kernels' source (hip/gpu/images.h). Everything works without images: run-time
# compilation takes their place. What is left out, and why, is printed at configuration.
option(SORA_GPU_IMAGES "Embed kernels compiled for GPUs when a compiler for them is found" ON)
set(SORA_GPU_ARCHS gfx906 gfx90a gfx942 gfx1030 gfx1100 gfx1201 sm_80 CACHE STRING
    "Architectures that get an embedded image")

# Strict aliasing is off because shared memory is read as the type that fits, contraction because
# sums must round as on the CPU.
set(gpu_flags -O3 -fno-strict-aliasing -ffp-contract=off -I${PROJECT_SOURCE_DIR} -Wall -Wextra
    -Werror)
# No device libraries, no headers of ROCm or CUDA. AMD: the HIP language, as clang 19 does not know
# kernels in plain C; code object 5, for ROCm 5.0 and later. NVIDIA: the CUDA language, which has
# launch bounds, without an installed CUDA; PTX 7.0, for CUDA 11.0 and later.
set(gpu_flags_amd -x hip -std=c++17 --cuda-device-only --no-gpu-bundle-output -nogpulib -nogpuinc
    -mcode-object-version=5)
set(gpu_flags_nvidia -x cuda -std=c++17 --cuda-device-only -nogpulib -nogpuinc
    --cuda-path=/nowhere --cuda-feature=+ptx70 -S)

function(gpu_flags_of arch out_flags)
    if(arch MATCHES "^sm_")
        set(${out_flags} ${gpu_flags_nvidia} --cuda-gpu-arch=${arch} ${gpu_flags} PARENT_SCOPE)
    else()
        set(${out_flags} ${gpu_flags_amd} --offload-arch=${arch} ${gpu_flags} PARENT_SCOPE)
    endif()
endfunction()

# Which architectures the compiler can do, linker included, by an empty kernel.
function(gpu_archs_find out_archs)
    set(found "")
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/images/probe.c "void probe(void) {}\n")
    foreach(arch ${SORA_GPU_ARCHS})
        gpu_flags_of(${arch} flags)
        execute_process(COMMAND ${SORA_GPU_CC} ${flags} probe.c -o probe.out
            WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/images
            RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE said)
        if(failed)
            string(REGEX REPLACE "\n.*" "" said "${said}")
            message(STATUS "GPU image ${arch} skipped: ${said}")
        else()
            list(APPEND found ${arch})
        endif()
    endforeach()
    set(${out_archs} "${found}" PARENT_SCOPE)
endfunction()

set(gpu_archs "")
# Version 19 is the first whose code for gfx11 and gfx12 is right; later ones are preferred.
find_program(SORA_GPU_CC NAMES clang-22 clang-21 clang-20 clang-19
    DOC "clang with the AMDGPU and NVPTX targets, 19 or later")
if(NOT SORA_GPU_IMAGES)
    message(STATUS "GPU images skipped: SORA_GPU_IMAGES is off")
elseif(SORA_SANITIZE OR SORA_FUZZ)
    message(STATUS "GPU images skipped: sanitizers check what runs on the host")
elseif(NOT SORA_GPU_CC)
    message(STATUS "GPU images skipped: no clang-22, -21, -20 or -19 (docs/DEPENDENCIES.md)")
else()
    gpu_archs_find(gpu_archs)
    message(STATUS "GPU images by ${SORA_GPU_CC}: ${gpu_archs}")
endif()

file(GLOB kernel_sources RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
    ${CMAKE_CURRENT_SOURCE_DIR}/kernels/*.h)
list(PREPEND kernel_sources hip/kernels/all.c)
list(TRANSFORM kernel_sources PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE kernel_paths)

set(images "")
set(image_files "")
foreach(arch ${gpu_archs})
    gpu_flags_of(${arch} flags)
    set(image ${CMAKE_CURRENT_BINARY_DIR}/images/${arch}.image)
    add_custom_command(OUTPUT ${image}
        COMMAND ${SORA_GPU_CC} ${flags} ${PROJECT_SOURCE_DIR}/hip/kernels/all.c -o ${image}
        DEPENDS ${kernel_paths} COMMENT "Compiling the kernels for ${arch}" VERBATIM)
    list(APPEND image_files ${image})
    string(APPEND images ",${arch}=${image}")
endforeach()
string(REPLACE ";" "," sources "${kernel_sources}")
set(images_c ${CMAKE_CURRENT_BINARY_DIR}/images/images.c)
add_custom_command(OUTPUT ${images_c}
    COMMAND ${CMAKE_COMMAND} -DOUT=${images_c} -DROOT=${PROJECT_SOURCE_DIR} "-DIMAGES=${images}"
        "-DSOURCES=${sources}" -P ${CMAKE_CURRENT_SOURCE_DIR}/embed_images.cmake
    DEPENDS ${image_files} ${kernel_paths} embed_images.cmake
    COMMENT "Embedding GPU images and kernel sources" VERBATIM)
target_sources(hip PRIVATE ${images_c})
set(SORA_GPU_IMAGE_FILES "${image_files}" CACHE INTERNAL "The embedded images, for their tests")
