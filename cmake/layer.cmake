# sora_layer(NAME SOURCES extra... LINK libs...): a static library of all sources of the calling
# folder; main_*.c files are programs and stay out.
function(sora_layer name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    file(GLOB found CONFIGURE_DEPENDS
        ${CMAKE_CURRENT_SOURCE_DIR}/*.c ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
    list(FILTER found EXCLUDE REGEX "/main_[a-z_]+\\.c$")
    if(found OR ARG_SOURCES)
        add_library(${name} STATIC ${found} ${ARG_SOURCES})
        target_link_libraries(${name} PUBLIC sora_flags ${ARG_LINK})
    else()
        add_library(${name} INTERFACE)
        target_link_libraries(${name} INTERFACE sora_flags ${ARG_LINK})
    endif()
endfunction()
