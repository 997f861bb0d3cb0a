/* The model of a serving worker: opening, texts and schedules. */
#include "node/serve_parts.h"

#include "base/log.h"
#include "hip/cpu/cpu.h"
#include "hip/gpu/gpu.h"
#include "model/schedule.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PART_PATH_SIZE (SORA_FILE_PATH_SIZE + 64)

static const char *const weight_parts[] = {"transformer", "vae", "text_encoder"};

void sora_serve_model_close(struct sora_serve_model *model)
{
    sora_text_rows_encoder_close(&model->encoder);
    sora_vae_destroy(&model->vae);
    sora_transformer_destroy(&model->transformer);
    sora_bundle_fini(&model->bundle);
    *model = (struct sora_serve_model){0};
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), end_length = strlen(end);
    return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

/* Bytes of the safetensors files of one component. */
static uint64_t part_bytes(const struct sora_bundle *bundle, const char *part)
{
    char folder[PART_PATH_SIZE], path[PART_PATH_SIZE + 300];
    sora_bundle_path(bundle, part, folder, sizeof(folder));
    DIR *dir = opendir(folder);
    uint64_t bytes = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        struct stat status;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (ends_with(entry->d_name, ".safetensors") && stat(path, &status) == 0)
            bytes += (uint64_t)status.st_size;
    }
    if (dir)
        closedir(dir);
    return bytes;
}

static int open_parts(struct sora_serve_model *model, struct sora_device *device,
                      struct sora_fault *fault)
{
    char path[PART_PATH_SIZE];
    int error = sora_bundle_open(model->folder, &model->bundle, fault);
    if (error)
        return error;
    sora_bundle_path(&model->bundle, "transformer", path, sizeof(path));
    error = sora_transformer_open(path, device, &model->transformer, fault);
    sora_bundle_path(&model->bundle, "vae", path, sizeof(path));
    if (!error)
        error = sora_vae_open(path, device, &model->vae, fault);
    if (error)
        return error;
    int takes = sora_transformer_config(model->transformer)->in_channels;
    int makes = sora_vae_config(model->vae)->channels;
    if (takes != makes)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%.300s: the transformer takes %d channels, the VAE makes %d",
                              model->folder, takes, makes);
    return 0;
}

int sora_serve_open(struct sora_serve *serve, const struct sora_frame *frame,
                    struct sora_fault *fault)
{
    char folder[SORA_FILE_PATH_SIZE];
    struct sora_serve_model *model = &serve->model;
    int error = sora_serve_path(frame, folder, fault);
    sora_serve_work_destroy(&serve->work);
    if (!error && strcmp(folder, model->folder) != 0) {
        sora_serve_model_close(model);
        memcpy(model->folder, folder, sizeof(folder));
        error = open_parts(model, serve->device, fault);
    }
    if (error) {
        sora_serve_model_close(model);
        return error;
    }
    struct sora_serve_opened opened = {0};
    snprintf(opened.name, sizeof(opened.name), "%s", model->bundle.name);
    for (size_t i = 0; i < sizeof(weight_parts) / sizeof(weight_parts[0]); i++)
        opened.weight_bytes += part_bytes(&model->bundle, weight_parts[i]);
    sora_serve_answer(serve, SORA_SERVE_OPENED, &opened, sizeof(opened));
    return 0;
}

static int open_encoder(struct sora_serve *serve, struct sora_fault *fault)
{
    struct sora_serve_model *model = &serve->model;
    struct sora_device *device = serve->text_device ? serve->text_device : serve->device;
    int error = sora_text_rows_encoder_open(&model->bundle, device, &model->encoder, fault);
    if (!error && device == serve->device)
        sora_serve_room_for_texts(serve, sora_text_rows_encoder_room(model->encoder));
    return error;
}

static int encode(struct sora_serve *serve, const char *text, size_t size,
                  struct sora_text_rows *rows, struct sora_fault *fault)
{
    struct sora_serve_model *model = &serve->model;
    int error = model->encoder ? 0 : open_encoder(serve, fault);
    return error ? error : sora_text_rows_encoder_encode(model->encoder, text, size, rows, fault);
}

/* A card that has no room for a block of the text encoder leaves texts to the CPU, which reads the
 * weights in place. */
static int encode_somewhere(struct sora_serve *serve, const char *text, size_t size,
                            struct sora_text_rows *rows, struct sora_fault *fault)
{
    struct sora_fault first = {0};
    int error = encode(serve, text, size, rows, &first);
    if (error == SORA_E_MEMORY && !serve->text_device && sora_gpu_device_card(serve->device)) {
        sora_log(SORA_LOG_WARN, "texts are encoded on the CPU reason=%s", first.text);
        sora_text_rows_encoder_close(&serve->model.encoder);
        error = sora_cpu_device_create(NULL, &serve->text_device, fault);
        return error ? error : encode(serve, text, size, rows, fault);
    }
    return error ? sora_fault_set(fault, error, "%s", first.text) : 0;
}

int sora_serve_text(struct sora_serve *serve, const struct sora_frame *frame,
                    struct sora_fault *fault)
{
    const struct sora_serve_number *number = frame->head;
    if (!serve->model.folder[0])
        return sora_fault_set(fault, SORA_E_INVALID, "a text needs an open model");
    struct sora_text_rows rows = {0};
    const char *text = frame->payload_size ? frame->payload : "";
    int error = encode_somewhere(serve, text, frame->payload_size, &rows, fault);
    if (error)
        return error;
    const struct sora_serve_rows head = {number->value, rows.count, rows.width};
    const struct sora_frame answer = {
        .kind = SORA_SERVE_ROWS,
        .head = &head,
        .head_size = sizeof(head),
        .payload = rows.values,
        .payload_size = (size_t)rows.count * (size_t)rows.width * sizeof(float),
    };
    sora_serve_answer_with(serve, &answer);
    sora_text_rows_fini(&rows);
    return 0;
}

int sora_serve_schedule(struct sora_serve *serve, const struct sora_frame *frame,
                        struct sora_fault *fault)
{
    const struct sora_serve_schedule *asked = frame->head;
    const struct sora_schedule_params params = {.solver = (enum sora_solver_kind)asked->solver,
                                                .steps = asked->steps,
                                                .shift = asked->shift};
    static struct sora_schedule schedule; /* 40 KB */
    memset(&schedule, 0, sizeof(schedule));
    int error = sora_schedule_init(&params, &schedule, fault);
    if (error)
        return error;
    const struct sora_frame answer = {
        .kind = SORA_SERVE_SCHEDULED, .payload = &schedule, .payload_size = sizeof(schedule)};
    sora_serve_answer_with(serve, &answer);
    return 0;
}
