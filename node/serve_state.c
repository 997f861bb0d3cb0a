/* Where a shard comes from and what is kept of it: noise, state files, final latents. */
#include "node/serve_parts.h"

#include "model/noise.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int32_t range_size(struct sora_range range)
{
    return range.end - range.first;
}

static struct sora_range intersect(struct sora_range a, struct sora_range b)
{
    struct sora_range both = {a.first > b.first ? a.first : b.first, a.end < b.end ? a.end : b.end};
    return both.end > both.first ? both : (struct sora_range){0, 0};
}

/* ---- final latents ---- */

int sora_serve_final_put(struct sora_serve_work *work, int32_t latent, const float *values,
                         struct sora_fault *fault)
{
    size_t elements = work->latent_elements;
    int error = sora_serve_check_range("final latent", latent, latent + 1, work->finals, fault);
    if (error)
        return error;
    if (!work->final_values)
        work->final_values = malloc((size_t)range_size(work->finals) * elements * sizeof(float));
    if (!work->final_values)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for %d final latents",
                              range_size(work->finals));
    for (size_t i = 0; i < elements; i++) {
        if (!isfinite(values[i]))
            return sora_fault_set(fault, SORA_E_NUMERIC,
                                  "final latent %d holds a value that is not finite", latent);
    }
    int32_t place = latent - work->finals.first;
    memcpy(work->final_values + (size_t)place * elements, values, elements * sizeof(float));
    work->final_present[place] = true;
    return 0;
}

const float *sora_serve_final(const struct sora_serve_work *work, int32_t latent,
                              struct sora_fault *fault)
{
    int32_t place = latent - work->finals.first;
    if (latent >= work->finals.first && latent < work->finals.end && work->final_present[place])
        return work->final_values + (size_t)place * work->latent_elements;
    sora_fault_set(fault, SORA_E_INVALID, "final latent %d has not arrived", latent);
    return NULL;
}

int sora_serve_finish(struct sora_serve_work *work, struct sora_fault *fault)
{
    struct sora_range owned = work->asked.owned;
    float *values = malloc(work->latent_elements * sizeof(float));
    if (!values)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for a latent");
    int error = 0;
    for (int32_t i = owned.first; !error && i < owned.end; i++) {
        error = sora_sampler_get_latent(work->sampler, i, values, fault);
        if (!error)
            error = sora_serve_final_put(work, i, values, fault);
    }
    free(values);
    if (!error)
        sora_sampler_destroy(&work->sampler);
    return error;
}

/* ---- reading ---- */

static int read_at(int fd, const char *path, void *data, size_t size, off_t offset,
                   struct sora_fault *fault)
{
    unsigned char *to = data;
    while (size > 0) {
        ssize_t count = pread(fd, to, size, offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return sora_file_fault(fault, errno, "read", path);
        if (count == 0)
            return sora_fault_set(fault, SORA_E_FORMAT, "%.300s became shorter", path);
        to += count;
        offset += count;
        size -= (size_t)count;
    }
    return 0;
}

/* One state file: latents [first,end) of `bytes` each. */
struct state_file {
    const char *path;
    int fd;
    struct sora_range latents;
    size_t elements;
};

static int open_state_file(struct state_file *file, struct sora_fault *fault)
{
    struct stat status;
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file->fd < 0 || fstat(file->fd, &status))
        return sora_file_fault(fault, errno, "read", file->path);
    uint64_t size = (uint64_t)range_size(file->latents) * file->elements * sizeof(float);
    if (!S_ISREG(status.st_mode) || (uint64_t)status.st_size != size)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%.300s has %lld bytes; the state of latents [%d,%d) has %llu",
                              file->path, (long long)status.st_size, file->latents.first,
                              file->latents.end, (unsigned long long)size);
    return 0;
}

/* A jump to another step forgets what was given for the one before. */
static void begin_loading(struct sora_serve_work *work, int32_t step)
{
    if (step == work->loading_step && !work->is_loaded)
        return;
    memset(work->state_present, 0, (size_t)range_size(work->asked.owned) * sizeof(bool));
    work->loading_step = step;
    work->is_loaded = false;
}

static int take_latents(struct sora_serve_work *work, int32_t step, const struct state_file *file,
                        struct sora_fault *fault)
{
    bool is_final = step == work->schedule.steps;
    struct sora_range wanted =
        intersect(file->latents, is_final ? work->finals : work->asked.owned);
    size_t bytes = file->elements * sizeof(float);
    float *values = malloc(bytes);
    int error = values ? 0 : sora_fault_set(fault, SORA_E_MEMORY, "out of memory for a state");
    for (int32_t i = wanted.first; !error && i < wanted.end; i++) {
        off_t offset = (off_t)bytes * (i - file->latents.first);
        error = read_at(file->fd, file->path, values, bytes, offset, fault);
        if (!error)
            error = is_final ? sora_serve_final_put(work, i, values, fault)
                             : sora_sampler_put_state(work->sampler, step, i, values, fault);
        if (!error && i >= work->asked.owned.first && i < work->asked.owned.end)
            work->state_present[i - work->asked.owned.first] = true;
    }
    free(values);
    return error;
}

int sora_serve_load(struct sora_serve *serve, const struct sora_frame *frame,
                    struct sora_fault *fault)
{
    const struct sora_serve_span *span = frame->head;
    struct sora_serve_work *work = serve->work;
    const struct sora_range timeline = {0, work->asked.timeline.latent_count};
    char path[SORA_FILE_PATH_SIZE];
    int error = sora_serve_path(frame, path, fault);
    if (!error)
        error = sora_serve_check_range("latents", span->first, span->end, timeline, fault);
    if (!error && (span->step < 1 || span->step > work->schedule.steps))
        error = sora_fault_set(fault, SORA_E_INVALID, "step %d has no state; steps are 1..%d",
                               span->step, work->schedule.steps);
    if (!error && span->step < work->schedule.steps && !work->sampler)
        error =
            sora_fault_set(fault, SORA_E_INVALID,
                           "the shard is sampled already; step %d cannot be loaded", span->step);
    if (error)
        return error;
    struct state_file file = {.path = path,
                              .latents = {span->first, span->end},
                              .elements = span->step == work->schedule.steps
                                              ? work->latent_elements
                                              : sora_sampler_state_elements(work->sampler)};
    error = open_state_file(&file, fault);
    if (!error) {
        begin_loading(work, span->step);
        error = take_latents(work, span->step, &file, fault);
    }
    if (file.fd >= 0)
        close(file.fd);
    return error;
}

static int put_noise(struct sora_serve_work *work, struct sora_fault *fault)
{
    const struct sora_serve_shard *asked = &work->asked;
    const struct sora_noise_params params = {
        .timeline = asked->timeline,
        .kind = (enum sora_noise_kind)asked->noise_kind,
        .seed = asked->seed,
        .shot = (uint32_t)asked->shot,
        .amplitude = asked->noise_share,
        .element_count = work->latent_elements,
    };
    struct sora_noise *noise = NULL;
    int error = sora_noise_create(&params, &noise, fault);
    float *values = error ? NULL : malloc(work->latent_elements * sizeof(float));
    if (!error && !values)
        error = sora_fault_set(fault, SORA_E_MEMORY, "out of memory for a latent of noise");
    for (int32_t i = asked->owned.first; !error && i < asked->owned.end; i++) {
        sora_noise_latent(noise, i, values);
        error = sora_sampler_put_latent(work->sampler, i, values, fault);
    }
    free(values);
    sora_noise_destroy(&noise);
    return error;
}

static int check_complete(const struct sora_serve_work *work, int32_t step,
                          struct sora_fault *fault)
{
    struct sora_range owned = work->asked.owned;
    for (int32_t i = owned.first; i < owned.end; i++) {
        if (step != work->loading_step || !work->state_present[i - owned.first])
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "the state of latent %d before step %d has not been given", i,
                                  step);
    }
    return 0;
}

int sora_serve_loaded(struct sora_serve *serve, const struct sora_frame *frame,
                      struct sora_fault *fault)
{
    const struct sora_serve_span *span = frame->head;
    struct sora_serve_work *work = serve->work;
    bool starts = span->step == 0;
    int error = 0;
    if (starts && (!work->sampler || sora_sampler_step_index(work->sampler) != 0))
        error = sora_fault_set(fault, SORA_E_INVALID, "the shard is past step 0");
    else
        error = starts ? put_noise(work, fault) : check_complete(work, span->step, fault);
    if (error)
        return error;
    if (span->step == work->schedule.steps)
        sora_sampler_destroy(&work->sampler);
    work->is_loaded = true;
    sora_serve_answer(serve, SORA_SERVE_IS_LOADED, span, sizeof(*span));
    return 0;
}

/* ---- writing ---- */

static int write_all(int fd, const char *path, const void *data, size_t size,
                     struct sora_fault *fault)
{
    const unsigned char *from = data;
    while (size > 0) {
        ssize_t count = write(fd, from, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return sora_file_fault(fault, errno, "write", path);
        from += count;
        size -= (size_t)count;
    }
    return 0;
}

static int write_sampler(struct sora_serve_work *work, int fd, const char *path,
                         struct sora_fault *fault)
{
    size_t bytes = sora_sampler_state_elements(work->sampler) * sizeof(float);
    float *values = malloc(bytes);
    int error = values ? 0 : sora_fault_set(fault, SORA_E_MEMORY, "out of memory for a state");
    for (int32_t i = work->asked.owned.first; !error && i < work->asked.owned.end; i++) {
        error = sora_sampler_get_state(work->sampler, i, values, fault);
        if (!error)
            error = write_all(fd, path, values, bytes, fault);
    }
    free(values);
    return error;
}

static int write_finals(struct sora_serve_work *work, int fd, const char *path,
                        struct sora_fault *fault)
{
    int error = 0;
    for (int32_t i = work->asked.owned.first; !error && i < work->asked.owned.end; i++) {
        const float *values = sora_serve_final(work, i, fault);
        error = values ? write_all(fd, path, values, work->latent_elements * sizeof(float), fault)
                       : SORA_E_INVALID;
    }
    return error;
}

int sora_serve_state(struct sora_serve *serve, const struct sora_frame *frame,
                     struct sora_fault *fault)
{
    struct sora_serve_span span = *(const struct sora_serve_span *)frame->head;
    struct sora_serve_work *work = serve->work;
    sora_time start = sora_clock_now();
    char path[SORA_FILE_PATH_SIZE];
    int error = sora_serve_path(frame, path, fault);
    bool is_final = !work->sampler && work->is_loaded && span.step == work->schedule.steps;
    if (!error && !is_final)
        error = sora_serve_check_step(work, span.step, fault);
    if (error)
        return error;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return sora_file_fault(fault, errno, "write", path);
    error = is_final ? write_finals(work, fd, path, fault) : write_sampler(work, fd, path, fault);
    if (close(fd) && !error)
        error = sora_file_fault(fault, errno, "write", path);
    if (error) {
        unlink(path);
        return error;
    }
    span.microseconds = (sora_clock_now() - start) / 1000;
    span.first = work->asked.owned.first;
    span.end = work->asked.owned.end;
    const struct sora_frame answer = {SORA_SERVE_STATE_WRITTEN, &span, sizeof(span), path,
                                      strlen(path)};
    sora_serve_answer_with(serve, &answer);
    return 0;
}
