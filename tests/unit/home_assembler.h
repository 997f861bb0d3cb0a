/*
 * The assembly child of a home's tests: it checks that frames come in order without gaps, and ends
 * well or with `assembly_code`. Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_HOME_ASSEMBLER_H
#define SORA_TESTS_UNIT_HOME_ASSEMBLER_H

#include "base/files.h"
#include "scheduler/assembler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct sora_assembler {
    char path[SORA_FILE_PATH_SIZE];
    struct sora_assembly_begin begin;
    int32_t frames, latents, told;
    bool finished, over;
};
static int assemblies_begun, assembly_code; /* of the next that ends */
static struct sora_assembly_begin last_begin;

int sora_assembler_create(const struct sora_assembler_params *params,
                          struct sora_assembler **out_assembler, struct sora_fault *fault)
{
    (void)fault;
    struct sora_assembler *assembler = calloc(1, sizeof(*assembler));
    assembler->begin = last_begin = *params->begin;
    snprintf(assembler->path, sizeof(assembler->path), "%.3000s/%.100s", params->folder,
             params->file_name);
    assert_string_equal(params->tags[0], "title");
    assert_non_null(strstr(params->read_folder, "blobs"));
    assemblies_begun++;
    *out_assembler = assembler;
    return SORA_OK;
}

void sora_assembler_destroy(struct sora_assembler **assembler)
{
    free(*assembler);
    *assembler = NULL;
}

int sora_assembler_segment(struct sora_assembler *assembler, const char *path,
                           const struct sora_assembly_segment *segment)
{
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(segment->frame_first, assembler->frames);
    assert_true(segment->skip >= 0 && segment->count > 0);
    assembler->frames += segment->count;
    return SORA_OK;
}

int sora_assembler_latents(struct sora_assembler *assembler, const char *path,
                           const struct sora_assembly_latents *latents)
{
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(latents->first, assembler->latents);
    assembler->latents = latents->end;
    return SORA_OK;
}

int sora_assembler_finish(struct sora_assembler *assembler, const char *devices)
{
    assert_int_equal(assembler->frames, assembler->begin.frame_count);
    assert_string_equal(devices, "cpu-test-1");
    assembler->finished = true;
    return SORA_OK;
}

void sora_assembler_poll(const struct sora_assembler *assembler, struct pollfd *out_item)
{
    (void)assembler;
    *out_item = (struct pollfd){.fd = -1};
}

int sora_assembler_step(struct sora_assembler *assembler, struct sora_assembler_event *out)
{
    *out = (struct sora_assembler_event){
        .kind = SORA_ASSEMBLER_PROGRESS,
        .progress = {.frames_done = assembler->frames, .preview_frames = assembler->frames},
        .text = ""};
    if (assembler->finished && !assembler->over) {
        assembler->over = true;
        out->kind = assembly_code ? SORA_ASSEMBLER_FAILED : SORA_ASSEMBLER_DONE;
        out->code = assembly_code;
        out->text = assembly_code ? "the encoder broke" : "";
        if (!assembly_code)
            assert_int_equal(sora_file_write(assembler->path, "video", 5, NULL), 0);
        return 1;
    }
    bool news = assembler->told != assembler->frames;
    assembler->told = assembler->frames;
    return news;
}

#endif
