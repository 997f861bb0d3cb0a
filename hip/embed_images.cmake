# Writes images.c (hip/gpu/images.h): cmake -DOUT= -DROOT= -DIMAGES=,arch=file,... -DSOURCES=a,b,...
# -P embed_images.cmake. The assembler takes the files' bytes; a zero byte follows each, which ends
# text and counts into the size of PTX.
set(text "/* Made by hip/embed_images.cmake: do not edit. */
#include \"hip/gpu/images.h\"

#define BLOB(number, path) \\
    __asm__(\".pushsection .rodata\\n.balign 64\\nsora_gpu_blob_\" #number \":\\n\" \\
            \".incbin \\\"\" path \"\\\"\\n.byte 0\\n.popsection\\n\"); \\
    extern const char blob_##number[] __asm__(\"sora_gpu_blob_\" #number);

")
string(REPLACE "," ";" images "${IMAGES}")
string(REPLACE "," ";" sources "${SOURCES}")
set(rows "")
set(number 0)
set(count 0)
foreach(row ${images})
    string(REGEX MATCH "^([^=]+)=(.*)$" found "${row}")
    set(arch ${CMAKE_MATCH_1})
    set(path ${CMAKE_MATCH_2})
    file(SIZE ${path} size)
    if(arch MATCHES "^sm_")
        math(EXPR size "${size} + 1")
    endif()
    string(APPEND text "BLOB(${number}, \"${path}\")\n")
    string(APPEND rows "    {\"${arch}\", blob_${number}, ${size}},\n")
    math(EXPR number "${number} + 1")
    math(EXPR count "${count} + 1")
endforeach()
string(APPEND rows "    {NULL, NULL, 0},\n")
set(source_rows "")
set(source_count 0)
foreach(source ${sources})
    string(APPEND text "BLOB(${number}, \"${ROOT}/${source}\")\n")
    string(APPEND source_rows "    {\"${source}\", blob_${number}},\n")
    math(EXPR number "${number} + 1")
    math(EXPR source_count "${source_count} + 1")
endforeach()
file(WRITE ${OUT} "${text}
static const struct sora_gpu_image images[] = {
${rows}};
const struct sora_gpu_image *const sora_gpu_images = images;
const int sora_gpu_image_count = ${count};

static const struct sora_gpu_source sources[] = {
${source_rows}};
const struct sora_gpu_source *const sora_gpu_sources = sources;
const int sora_gpu_source_count = ${source_count};
")
