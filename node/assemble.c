/*
 * `sora-worker assemble`: the home's child that turns segments into the finished files, told what
 * to do over descriptor 3 (media/assembly_wire.h). It may read one folder and write one.
 */
#include "node/commands.h"

#include "base/child.h"
#include "base/files.h"
#include "base/settings.h"
#include "media/assembly.h"
#include "node/assemble_latents.h"
#include "node/sandbox.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLE_SIZE_MAX (1 << 20)
#define STRINGS_MAX (4 + 2 * SORA_ASSEMBLY_TAGS_MAX)

/* A sanitizer's shadow alone takes terabytes. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#define MEMORY_BYTES_MAX 0
#else
#define MEMORY_BYTES_MAX ((uint64_t)16 << 30)
#endif

struct options {
    char *read, *write;
    int help;
};

static const struct sora_setting rows[] = {
    {.name = "read",
     .type = SORA_SETTING_STRING,
     .offset = offsetof(struct options, read),
     .max = SORA_FILE_PATH_SIZE - 1,
     .unit = "DIR",
     .help = "the folder with segments and latents"},
    {.name = "write",
     .type = SORA_SETTING_STRING,
     .offset = offsetof(struct options, write),
     .max = SORA_FILE_PATH_SIZE - 1,
     .unit = "DIR",
     .help = "the folder of the finished files"},
    {.name = "help",
     .letter = 'h',
     .type = SORA_SETTING_FLAG,
     .offset = offsetof(struct options, help),
     .help = "print this and exit",
     .command_only = true},
};
static const struct sora_settings_table table = {
    .usage = "sora-worker assemble --read DIR --write DIR",
    .about = "Assembles a video from segments. A scheduler's daemon starts this; it is of no use\n"
             "by hand, because its orders come over descriptor 3.",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

struct assembler {
    const struct options *options;
    struct sora_assembly *assembly; /* NULL before BEGIN */
    struct sora_assemble_latents latents;
    bool finished;
};

/* ---- answers ---- */

static void send_progress(void *context, const struct sora_assembly_progress *progress)
{
    (void)context;
    const struct sora_frame frame = {
        .kind = SORA_ASSEMBLY_PROGRESS, .head = progress, .head_size = sizeof(*progress)};
    /* When the parent is gone, the next receive says so. */
    (void)sora_child_self_send(&frame);
}

static void send_done(struct assembler *assembler, const struct sora_bytes *text)
{
    struct sora_assembly_progress progress;
    sora_assembly_get_progress(assembler->assembly, &progress);
    const struct sora_frame frame = {.kind = SORA_ASSEMBLY_DONE,
                                     .head = &progress,
                                     .head_size = sizeof(progress),
                                     .payload = text->data,
                                     .payload_size = text->size};
    (void)sora_child_self_send(&frame);
}

static void send_failed(int error, const struct sora_fault *fault)
{
    const char *text = fault->text[0] ? fault->text : sora_error_text(error);
    const struct sora_assembly_failed failed = {error};
    const struct sora_frame frame = {.kind = SORA_ASSEMBLY_FAILED,
                                     .head = &failed,
                                     .head_size = sizeof(failed),
                                     .payload = text,
                                     .payload_size = strlen(text)};
    (void)sora_child_self_send(&frame);
}

/* ---- orders ---- */

/* Splits the payload at its NULs. Returns how many strings there are, or -1. */
static int split(const struct sora_frame *frame, const char **strings, int capacity)
{
    const char *text = frame->payload;
    size_t left = frame->payload_size;
    int count = 0;
    while (left > 0) {
        const char *end = memchr(text, 0, left);
        if (!end || count == capacity)
            return -1;
        strings[count++] = text;
        left -= (size_t)(end + 1 - text);
        text = end + 1;
    }
    return count;
}

static int malformed(const char *what, struct sora_fault *fault)
{
    return sora_fault_set(fault, SORA_E_FORMAT, "assembly: a malformed order %s", what);
}

static int begin(struct assembler *assembler, const struct sora_frame *frame,
                 struct sora_fault *fault)
{
    const struct sora_assembly_begin *head = frame->head;
    const char *strings[STRINGS_MAX];
    struct sora_video_tag tags[SORA_ASSEMBLY_TAGS_MAX];
    if (assembler->assembly || frame->head_size != sizeof(*head) || head->tag_count < 0 ||
        head->tag_count > SORA_ASSEMBLY_TAGS_MAX ||
        split(frame, strings, STRINGS_MAX) != 4 + 2 * head->tag_count)
        return malformed("to begin", fault);
    for (int i = 0; i < head->tag_count; i++)
        tags[i] = (struct sora_video_tag){strings[4 + 2 * i], strings[5 + 2 * i]};
    assembler->latents.channels = head->latent_channels;
    assembler->latents.height = head->latent_height;
    assembler->latents.width = head->latent_width;
    const struct sora_assembly_params params = {
        .begin = head,
        .folder = strings[0],
        .file_name = strings[1],
        .pixel_format = strings[2],
        .title = strings[3],
        .tags = tags,
        .progress = send_progress,
    };
    return sora_assembly_create(&params, &assembler->assembly, fault);
}

/* The payload as a path; NULL when it is none. */
static const char *path_of(const struct sora_frame *frame)
{
    const char *path = NULL;
    return split(frame, &path, 1) == 1 ? path : NULL;
}

static int add_segment(struct assembler *assembler, const struct sora_frame *frame,
                       struct sora_fault *fault)
{
    const char *path = path_of(frame);
    if (!assembler->assembly || !path || frame->head_size != sizeof(struct sora_assembly_segment))
        return malformed("about a segment", fault);
    int error = sora_assembly_segment(assembler->assembly, path, frame->head, fault);
    if (error)
        return error;
    struct sora_assembly_progress progress;
    sora_assembly_get_progress(assembler->assembly, &progress);
    send_progress(NULL, &progress);
    return 0;
}

static int add_latents(struct assembler *assembler, const struct sora_frame *frame,
                       struct sora_fault *fault)
{
    const char *path = path_of(frame);
    if (!assembler->assembly || !path || frame->head_size != sizeof(struct sora_assembly_latents))
        return malformed("about latents", fault);
    return sora_assemble_latents_add(&assembler->latents, path, frame->head, fault);
}

static int finish(struct assembler *assembler, const struct sora_frame *frame,
                  struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    struct sora_bytes text;
    int error = 0;
    const char *devices = path_of(frame);
    if (!assembler->assembly || !devices || frame->head_size != 0)
        return malformed("to finish", fault);
    snprintf(path, sizeof(path), "%s/%s", assembler->options->write, SORA_ASSEMBLY_LATENTS_FILE);
    bool latents = assembler->latents.count > 0;
    sora_bytes_init(&text, TABLE_SIZE_MAX);
    if (latents)
        error = sora_assemble_latents_write(&assembler->latents, path, fault);
    if (!error)
        error = sora_assembly_finish(assembler->assembly, devices, &text, fault);
    if (error && latents)
        unlink(path);
    if (!error) {
        send_done(assembler, &text);
        assembler->finished = true;
    }
    sora_bytes_fini(&text);
    return error;
}

static const struct {
    uint32_t kind;
    int (*obey)(struct assembler *assembler, const struct sora_frame *frame,
                struct sora_fault *fault);
} orders[] = {
    {SORA_ASSEMBLY_BEGIN, begin},
    {SORA_ASSEMBLY_SEGMENT, add_segment},
    {SORA_ASSEMBLY_LATENTS, add_latents},
    {SORA_ASSEMBLY_FINISH, finish},
};

static int obey(struct assembler *assembler, const struct sora_frame *frame,
                struct sora_fault *fault)
{
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        if (orders[i].kind == frame->kind)
            return orders[i].obey(assembler, frame, fault);
    }
    return malformed("of an unknown kind", fault);
}

static int run(const struct options *options, struct sora_fault *fault)
{
    struct assembler assembler = {.options = options};
    const char *const readable[] = {options->read}, *const writable[] = {options->write};
    const struct sora_sandbox_params sandbox = {.readable = readable,
                                                .readable_count = 1,
                                                .writable = writable,
                                                .writable_count = 1,
                                                .memory_bytes = MEMORY_BYTES_MAX};
    char words[SORA_SANDBOX_WORDS_SIZE];
    setenv("SVT_LOG", "1", 0); /* the AV1 encoder talks on stderr otherwise */
    int error = sora_sandbox_enter(&sandbox, words, fault);
    while (!error && !assembler.finished) {
        struct sora_frame frame;
        int got = sora_child_self_receive(&frame, fault);
        if (got == 0)
            error = sora_fault_set(fault, SORA_E_CANCELLED, "the parent is gone");
        else
            error = got < 0 ? got : obey(&assembler, &frame, fault);
    }
    sora_assembly_destroy(&assembler.assembly);
    sora_assemble_latents_fini(&assembler.latents);
    if (error)
        send_failed(error, fault);
    return error;
}

int sora_command_assemble(int argc, char **argv)
{
    struct options options;
    struct sora_fault fault = {0};
    sora_settings_init(&table, &options);
    int error = sora_settings_parse_arguments(&table, argc, argv, &options, &fault);
    if (!error && options.help) {
        sora_settings_print_help(&table, stdout);
        sora_settings_fini(&table, &options);
        return 0;
    }
    if (!error && (!options.read || !options.write))
        error = sora_fault_set(&fault, SORA_E_INVALID, "assemble needs --read DIR and --write DIR");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (!error)
        error = run(&options, &fault);
    if (error)
        fprintf(stderr, "sora-worker: %s\n", fault.text[0] ? fault.text : sora_error_text(error));
    sora_settings_fini(&table, &options);
    return sora_error_exit_status(error);
}
