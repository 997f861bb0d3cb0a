/*
 * `sora-worker serve`: the child of the daemon that drives one device. It enters its sandbox, opens
 * the device and carries out commands in order until its parent is gone.
 */
#include "node/commands.h"

#include "base/log.h"
#include "base/settings.h"
#include "hip/gpu/gpu.h"
#include "node/device_open.h"
#include "node/sandbox.h"
#include "node/serve_parts.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- commands ---- */

struct command {
    uint32_t kind;
    const char *name;
    size_t head_size;
    bool needs_shard; /* passed over while the shard is void */
    sora_serve_function run;
};

static int close_shard(struct sora_serve *serve, const struct sora_frame *frame,
                       struct sora_fault *fault)
{
    (void)frame, (void)fault;
    sora_serve_work_destroy(&serve->work);
    serve->is_void = false;
    sora_serve_answer(serve, SORA_SERVE_CLOSED, NULL, 0);
    return 0;
}

/* What a shard can have: what is free, and of a card what this process holds from earlier ones. */
static uint64_t memory_free(const struct sora_serve *serve)
{
    struct sora_gpu_usage usage = {.memory_bytes = 0};
    struct sora_device_caps caps;
    sora_device_caps(serve->device, &caps);
    if (sora_gpu_device_card(serve->device))
        sora_gpu_device_usage(serve->device, &usage);
    uint64_t bytes = caps.memory_free + usage.memory_bytes;
    return serve->memory_max && serve->memory_max < bytes ? serve->memory_max : bytes;
}

static int tell_memory(struct sora_serve *serve, const struct sora_frame *frame,
                       struct sora_fault *fault)
{
    (void)frame, (void)fault;
    const struct sora_serve_number head = {(int64_t)memory_free(serve)};
    sora_serve_answer(serve, SORA_SERVE_MEMORY_IS, &head, sizeof(head));
    return 0;
}

#define SPAN sizeof(struct sora_serve_span)
static const struct command commands[] = {
    {SORA_SERVE_OPEN, "open", 0, false, sora_serve_open},
    {SORA_SERVE_TEXT, "text", sizeof(struct sora_serve_number), false, sora_serve_text},
    {SORA_SERVE_SCHEDULE, "schedule", sizeof(struct sora_serve_schedule), false,
     sora_serve_schedule},
    {SORA_SERVE_SHARD, "shard", sizeof(struct sora_serve_shard), false, sora_serve_shard_open},
    {SORA_SERVE_LOAD, "load", SPAN, true, sora_serve_load},
    {SORA_SERVE_LOADED, "loaded", SPAN, true, sora_serve_loaded},
    {SORA_SERVE_PUT_LATENTS, "put latents", SPAN, true, sora_serve_put},
    {SORA_SERVE_PUT_PREDICTIONS, "put predictions", SPAN, true, sora_serve_put},
    {SORA_SERVE_PUT_FINAL, "put final", SPAN, true, sora_serve_put},
    {SORA_SERVE_RUN, "run", SPAN, true, sora_serve_run},
    {SORA_SERVE_GET_LATENTS, "get latents", SPAN, true, sora_serve_get},
    {SORA_SERVE_GET_PREDICTIONS, "get predictions", SPAN, true, sora_serve_get},
    {SORA_SERVE_GET_FINAL, "get final", SPAN, true, sora_serve_get},
    {SORA_SERVE_UPDATE, "update", SPAN, true, sora_serve_update},
    {SORA_SERVE_STATE, "state", SPAN, true, sora_serve_state},
    {SORA_SERVE_DECODE, "decode", sizeof(struct sora_serve_decode), true, sora_serve_decode},
    {SORA_SERVE_CLOSE, "close", 0, false, close_shard},
    {SORA_SERVE_MEMORY, "memory", 0, false, tell_memory},
};
_Static_assert(sizeof(struct sora_serve_shard) <= SORA_CHILD_HEAD_MAX,
               "a head holds every command");

static const struct command *find_command(uint32_t kind)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (commands[i].kind == kind)
            return &commands[i];
    }
    return NULL;
}

void sora_serve_answer_with(struct sora_serve *serve, const struct sora_frame *frame)
{
    if (!serve->is_parent_gone && sora_child_self_send(frame))
        serve->is_parent_gone = true;
}

void sora_serve_answer(struct sora_serve *serve, enum sora_serve_answer kind, const void *head,
                       size_t head_size)
{
    sora_serve_answer_with(
        serve, &(const struct sora_frame){.kind = kind, .head = head, .head_size = head_size});
}

int sora_serve_path(const struct sora_frame *frame, char out_path[SORA_FILE_PATH_SIZE],
                    struct sora_fault *fault)
{
    if (frame->payload_size == 0 || memchr(frame->payload, 0, frame->payload_size))
        return sora_fault_set(fault, SORA_E_INVALID, "the command's path is empty or holds a NUL");
    if (frame->payload_size >= SORA_FILE_PATH_SIZE)
        return sora_fault_set(fault, SORA_E_LIMIT, "a path of %zu bytes is longer than %d",
                              frame->payload_size, SORA_FILE_PATH_SIZE - 1);
    memcpy(out_path, frame->payload, frame->payload_size);
    memset(out_path + frame->payload_size, 0, SORA_FILE_PATH_SIZE - frame->payload_size);
    return 0;
}

static void answer_failed(struct sora_serve *serve, uint32_t command, int error,
                          const struct sora_fault *fault)
{
    const char *text = fault->text[0] ? fault->text : sora_error_text(error);
    const struct sora_serve_failed head = {command, error};
    const struct sora_frame frame = {SORA_SERVE_FAILED, &head, sizeof(head), text, strlen(text)};
    sora_serve_answer_with(serve, &frame);
}

static int carry_out(struct sora_serve *serve, const struct command *command,
                     const struct sora_frame *frame, struct sora_fault *fault)
{
    if (!command)
        return sora_fault_set(fault, SORA_E_INVALID, "command %" PRIu32 " does not exist",
                              frame->kind);
    if (frame->head_size != command->head_size)
        return sora_fault_set(fault, SORA_E_FORMAT, "command '%s' came with %zu bytes, it has %zu",
                              command->name, frame->head_size, command->head_size);
    if (command->needs_shard && !serve->work)
        return sora_fault_set(fault, SORA_E_INVALID, "command '%s' needs an open shard",
                              command->name);
    return command->run(serve, frame, fault);
}

/* A failed command of the shard takes the shard with it. */
static void dispatch(struct sora_serve *serve, const struct sora_frame *frame)
{
    const struct command *command = find_command(frame->kind);
    struct sora_fault fault = {0};
    if (command && command->needs_shard && serve->is_void)
        return;
    if (frame->kind != SORA_SERVE_TEXT && frame->kind != SORA_SERVE_MEMORY)
        sora_text_rows_encoder_close(&serve->model.encoder);
    if (frame->kind == SORA_SERVE_SHARD)
        serve->is_void = false;
    int error = carry_out(serve, command, frame, &fault);
    if (!error)
        return;
    if (command && (command->needs_shard || frame->kind == SORA_SERVE_SHARD)) {
        sora_serve_work_destroy(&serve->work);
        serve->is_void = true;
    }
    serve->is_device_lost = error == SORA_E_DEVICE;
    answer_failed(serve, frame->kind, error, &fault);
}

/* ---- options ---- */

struct options {
    char *device;
    int64_t threads, memory;
    char *cache;
    char *read, *write; /* in the help only: they may come several times */
    int precision, help;
};

#define ROW(name, type, field, min, max, unit, help)                                               \
    {                                                                                              \
        name, 0, type, offsetof(struct options, field), min, max, NULL, unit, help, true           \
    }
static const struct sora_setting option_rows[] = {
    ROW("device", SORA_SETTING_STRING, device, 1, 32, "NAME", "the device to drive; default cpu0"),
    ROW("threads", SORA_SETTING_INT, threads, 0, 256, "N", "CPU threads; 0 or absent: all"),
    ROW("memory", SORA_SETTING_INT, memory, 0, 9007199254740991.0, "BYTES",
        "private memory at most, of a card its own; 0 or absent: no limit"),
    {"precision", 0, SORA_SETTING_CHOICE, offsetof(struct options, precision), 0, 0,
     SORA_GPU_PRECISION_CHOICES, NULL,
     "of products on a card; int8 (error 0.5 %), fp8 (3 %): of weights; default bf16", true},
    ROW("cache", SORA_SETTING_STRING, cache, 1, SORA_FILE_PATH_SIZE, "DIR",
        "a folder that keeps kernels compiled for a card; default none"),
    ROW("read", SORA_SETTING_STRING, read, 1, SORA_FILE_PATH_SIZE, "DIR",
        "a folder that may be read (models, checkpoints); may be repeated"),
    ROW("write", SORA_SETTING_STRING, write, 1, SORA_FILE_PATH_SIZE, "DIR",
        "a folder that may be written (states, segments); may be repeated"),
    ROW("help", SORA_SETTING_FLAG, help, 0, 0, NULL, "print this"),
};
static const struct sora_settings_table option_table = {
    .usage = "sora-worker serve --read DIR --write DIR [options]",
    .about = "Drives one device for sorad, which starts it and talks to it over descriptor 3.",
    .rows = option_rows,
    .row_count = sizeof(option_rows) / sizeof(option_rows[0]),
};

/* The options that repeat; what is left of argv is for the table. */
struct folders {
    const char *read[SORA_SANDBOX_FOLDERS_MAX], *write[SORA_SANDBOX_FOLDERS_MAX];
    int read_count, write_count;
};

/* The cache of compiled kernels is made here, as rules are for folders that exist. NVIDIA's driver
 * keeps what it compiles of the embedded code there too: its own folder is outside the sandbox. */
static int add_cache(const struct options *options, struct folders *folders,
                     struct sora_fault *fault)
{
    if (!options->cache)
        return 0;
    if (folders->write_count == SORA_SANDBOX_FOLDERS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "--write is given %d times; --cache is one more",
                              SORA_SANDBOX_FOLDERS_MAX);
    int error = sora_file_make_dirs(options->cache, fault);
    if (error)
        return error;
    folders->write[folders->write_count++] = options->cache;
    setenv("CUDA_CACHE_PATH", options->cache, false);
    return 0;
}

static int take_folders(int *argc, char **argv, struct folders *out_folders,
                        struct sora_fault *fault)
{
    int kept = 0;
    for (int i = 0; i < *argc; i++) {
        bool read = strcmp(argv[i], "--read") == 0, write = strcmp(argv[i], "--write") == 0;
        int *count = read ? &out_folders->read_count : &out_folders->write_count;
        if ((!read && !write) || i + 1 == *argc) {
            argv[kept++] = argv[i];
            continue;
        }
        if (*count == SORA_SANDBOX_FOLDERS_MAX)
            return sora_fault_set(fault, SORA_E_LIMIT, "%s is given more than %d times", argv[i],
                                  SORA_SANDBOX_FOLDERS_MAX);
        (read ? out_folders->read : out_folders->write)[(*count)++] = argv[i + 1];
        i++;
    }
    *argc = kept;
    return 0;
}

/* ---- start ---- */

static int64_t given(int64_t value)
{
    return value == SORA_SETTING_INT_UNSET ? 0 : value;
}

static uint64_t lower(uint64_t value, uint64_t limit)
{
    return limit && limit < value ? limit : value;
}

static int open_device(const struct options *options, struct sora_serve *serve,
                       struct sora_fault *fault)
{
    const struct sora_device_open_params params = {
        .name = options->device,
        .threads = (int)given(options->threads),
        .memory_bytes = (uint64_t)given(options->memory),
        .precision = options->precision > 0 ? options->precision : 0,
        .cache_folder = options->cache,
    };
    return sora_device_open(&params, &serve->device, fault);
}

/* A model's folder may have gone since the daemon saw it; that is no reason to leave the device
 * idle, and opening that model will say it. */
static void drop_missing(struct folders *folders)
{
    int kept = 0;
    for (int i = 0; i < folders->read_count; i++) {
        if (access(folders->read[i], F_OK) == 0)
            folders->read[kept++] = folders->read[i];
        else
            sora_log(SORA_LOG_WARN, "folder to read is not there and was left out path=%s",
                     folders->read[i]);
    }
    folders->read_count = kept;
}

static void describe(const struct sora_serve *serve, struct sora_serve_ready *ready)
{
    const struct sora_gpu_card *card = sora_gpu_device_card(serve->device);
    struct sora_device_caps caps;
    struct utsname system;
    sora_device_caps(serve->device, &caps);
    snprintf(ready->kind, sizeof(ready->kind), "%s", card ? "gpu" : "cpu");
    snprintf(ready->name, sizeof(ready->name), "%s", caps.name);
    snprintf(ready->device_class, sizeof(ready->device_class), "%s", caps.device_class);
    snprintf(ready->int8_class, sizeof(ready->int8_class), "%s", caps.int8_class);
    if (card)
        snprintf(ready->arch, sizeof(ready->arch), "%s", card->arch);
    else if (uname(&system) == 0)
        snprintf(ready->arch, sizeof(ready->arch), "%.63s", system.machine);
    ready->memory_total = lower(caps.memory_total, serve->memory_max);
    ready->memory_free = memory_free(serve);
    ready->threads = caps.thread_count;
}

/* The sandbox comes before the device, whose threads would stay outside. */
static int begin(const struct options *options, struct folders *folders, struct sora_serve *serve,
                 struct sora_fault *fault)
{
    bool is_card = options->device && sora_gpu_name_is(options->device);
    drop_missing(folders);
    struct sora_serve_ready ready = {.kind = "cpu"};
    serve->memory_max = (uint64_t)given(options->memory);
    /* A card's limit is its device's; a driver maps far more than it uses. */
    const struct sora_sandbox_params sandbox = {
        .readable = folders->read,
        .readable_count = folders->read_count,
        .writable = folders->write,
        .writable_count = folders->write_count,
        .memory_bytes = is_card ? 0 : serve->memory_max,
        .cards = is_card,
    };
    if (is_card)
        sora_gpu_libraries_load();
    int error = sora_sandbox_enter(&sandbox, ready.sandbox, fault);
    if (!error)
        error = open_device(options, serve, fault);
    if (error)
        return error;
    describe(serve, &ready);
    sora_serve_answer(serve, SORA_SERVE_READY, &ready, sizeof(ready));
    return 0;
}

static int serve_frames(struct sora_serve *serve, struct sora_fault *fault)
{
    while (!serve->is_parent_gone) {
        if (serve->is_device_lost)
            return sora_fault_set(fault, SORA_E_DEVICE,
                                  "the card is lost; a new process looks for "
                                  "it again");
        struct sora_frame frame;
        int rc = sora_child_self_receive(&frame, fault);
        if (rc <= 0)
            return rc;
        dispatch(serve, &frame);
    }
    return 0;
}

static int serve_all(const struct options *options, struct folders *folders,
                     struct sora_fault *fault)
{
    if (!sora_child_self_present())
        return sora_fault_set(fault, SORA_E_INVALID,
                              "serve is started by sorad and has nobody to talk to here");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit becomes an error of the write */
    struct sora_serve serve = {0};
    int error = begin(options, folders, &serve, fault);
    if (error)
        answer_failed(&serve, 0, error, fault);
    else
        error = serve_frames(&serve, fault);
    sora_serve_work_destroy(&serve.work);
    sora_serve_model_close(&serve.model);
    sora_device_destroy(&serve.text_device);
    sora_device_destroy(&serve.device);
    return error;
}

int sora_command_serve(int argc, char **argv)
{
    struct options options;
    struct folders folders = {.read_count = 0};
    struct sora_fault fault = {0};
    sora_settings_init(&option_table, &options);
    int error = take_folders(&argc, argv, &folders, &fault);
    if (!error)
        error = sora_settings_parse_arguments(&option_table, argc, argv, &options, &fault);
    if (!error)
        error = add_cache(&options, &folders, &fault);
    if (!error && options.help)
        sora_settings_print_help(&option_table, stdout);
    else if (!error)
        error = serve_all(&options, &folders, &fault);
    if (error)
        fprintf(stderr, "sora-worker serve: %s\n", fault.text);
    sora_settings_fini(&option_table, &options);
    return sora_error_exit_status(error);
}
