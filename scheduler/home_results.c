/*
 * Results of a job: files in its folder, handed out as blobs. Digesting a file, and copying one
 * that still grows, happens on a thread; the answer comes when it is done.
 */
#include "scheduler/home_parts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

/* Checked when the job was submitted: what does not parse is the default. */
enum sora_codec home_codec(const Farm__Output *output)
{
    enum sora_codec codec = SORA_CODEC_H264;
    if (output && *output->codec)
        (void)sora_codec_parse(output->codec, &codec, NULL);
    return codec;
}

enum sora_container home_container(const Farm__Output *output)
{
    enum sora_container asked, container = SORA_CONTAINER_MKV;
    int wanted = -1;
    if (output && *output->container && sora_container_parse(output->container, &asked, NULL) == 0)
        wanted = (int)asked;
    (void)sora_codec_container(home_codec(output), wanted, &container, NULL);
    return container;
}

/* Letters, digits and what does not trouble a shell. */
void home_result_name(const struct home_job *job, char *out, size_t size)
{
    char stem[64];
    size_t length = 0;
    for (const char *at = job->name; *at && length + 1 < sizeof(stem); at++) {
        bool plain = isalnum((unsigned char)*at) || *at == '-' || *at == '_';
        if (plain || (length > 0 && stem[length - 1] != '-'))
            stem[length++] = plain ? *at : '-';
    }
    while (length > 0 && stem[length - 1] == '-')
        length--;
    stem[length] = 0;
    const unsigned char *id = job->id.bytes;
    if (length == 0)
        snprintf(stem, sizeof(stem), "sorafarm-%02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
    snprintf(out, size, "%s.%s", stem, sora_container_name(home_container(home_spec(job)->output)));
}

static const char *file_of(const struct home_job *job, Farm__ResultKind kind)
{
    switch (kind) {
    case FARM__RESULT_KIND__RESULT_VIDEO:
        return job->file_name;
    case FARM__RESULT_KIND__RESULT_PREVIEW:
        return SORA_ASSEMBLY_PREVIEW;
    case FARM__RESULT_KIND__RESULT_CONTACT_SHEET:
        return SORA_ASSEMBLY_CONTACT;
    case FARM__RESULT_KIND__RESULT_REPORT:
        return SORA_ASSEMBLY_REPORT;
    case FARM__RESULT_KIND__RESULT_LATENTS:
        return SORA_ASSEMBLY_LATENTS_FILE;
    default:
        return NULL;
    }
}

/* A suggestion: the video's name, and for the rest its stem before the file's own name. */
static void suggest(const struct home_job *job, Farm__ResultKind kind, char *out, size_t size)
{
    const char *dot = strrchr(job->file_name, '.');
    int stem = dot ? (int)(dot - job->file_name) : 0;
    if (kind == FARM__RESULT_KIND__RESULT_VIDEO)
        snprintf(out, size, "%s", job->file_name);
    else
        snprintf(out, size, "%.*s-%s", stem < 90 ? stem : 90, job->file_name, file_of(job, kind));
}

/* ---- on the thread ---- */

static void digest_file(struct home_export *export)
{
    struct stat status;
    int fd = open(export->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status)) {
        sora_fault_set(&export->fault, sora_error_from_errno(errno), "%.300s cannot be read: %s",
                       export->path, strerror(errno));
    } else if (status.st_size == 0) {
        sora_fault_set(&export->fault, SORA_E_NOT_FOUND, "%.300s is empty", export->path);
    } else {
        void *map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            sora_fault_set(&export->fault, SORA_E_MEMORY, "%.300s cannot be read", export->path);
        } else {
            export->blob.size = (uint64_t)status.st_size;
            sora_digest_of(map, (size_t)status.st_size, &export->blob.digest);
            munmap(map, (size_t)status.st_size);
        }
    }
    if (fd >= 0)
        close(fd);
}

static int copy_bytes(int from, int to)
{
    char buffer[65536];
    ssize_t got;
    while ((got = read(from, buffer, sizeof(buffer))) > 0) {
        for (ssize_t at = 0; at < got;) {
            ssize_t put = write(to, buffer + at, (size_t)(got - at));
            if (put < 0)
                return -1;
            at += put;
        }
    }
    return got < 0 ? -1 : 0;
}

static void copy_file(struct home_export *export)
{
    int from = open(export->path, O_RDONLY | O_CLOEXEC);
    int to = from < 0 ? -1 : open(export->copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0 || copy_bytes(from, to))
        sora_fault_set(&export->fault, sora_error_from_errno(errno),
                       "the preview cannot be copied: %s", strerror(errno));
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    if (to >= 0 && export->fault.code)
        unlink(export->copy);
}

static void run_export(void *context)
{
    struct home_export *export = context;
    if (export->snapshot)
        copy_file(export);
    else
        digest_file(export);
}

/* ---- answers ---- */

static void answer(struct sora_home *home, struct home_reply *to, const struct sora_blob *blob,
                   char *file_name)
{
    Farm__FetchReply reply = FARM__FETCH_REPLY__INIT;
    reply.digest = (ProtobufCBinaryData){SORA_DIGEST_SIZE, (uint8_t *)blob->digest.bytes};
    reply.size = blob->size;
    reply.file_name = file_name;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_FETCH_REPLY;
    message.fetch_reply = &reply;
    home_reply_message(home, home_reply_origin(to), &message);
}

static void end_export(struct home_export *export)
{
    if (export->fault.code)
        home_refuse(export->home, &export->reply, &export->fault);
    else
        answer(export->home, &export->reply, &export->blob, export->file_name);
    export->used = false;
}

void home_drop_snapshot(struct sora_home *home, struct home_job *job)
{
    if (job->snapshot.size > 0)
        sora_blob_store_drop(home->params.blobs, &job->snapshot.digest);
    job->snapshot.size = 0;
}

/* The newest copy of a growing preview stays for who fetches it, in place of the one before; also
 * past the job's end. */
static void keep_snapshot(struct sora_home *home, const struct sora_job_id *id,
                          const struct sora_blob *blob)
{
    struct home_job *job = home_find_job(home, id);
    if (!job)
        return; /* evicted one day */
    sora_blob_store_pin(home->params.blobs, &blob->digest);
    home_drop_snapshot(home, job);
    job->snapshot = *blob;
}

static void snapshot_is_blob(void *context, const struct sora_blob *blob,
                             const struct sora_fault *fault)
{
    struct home_export *export = context;
    if (!export->home) { /* the home is gone */
        free(export);
        return;
    }
    if (fault->code) {
        export->fault = *fault;
    } else {
        export->blob = *blob;
        keep_snapshot(export->home, &export->job, blob);
    }
    end_export(export);
}

static void export_done(void *context)
{
    struct home_export *export = context;
    struct sora_home *home = export->home;
    struct home_job *job = home_find_job(home, &export->job);
    if (!export->fault.code && export->snapshot) {
        int rc = sora_blob_store_adopt(home->params.blobs, export->copy, snapshot_is_blob, export);
        if (rc == SORA_OK)
            return;
        unlink(export->copy);
        sora_fault_set(&export->fault, rc, "the blob store takes nothing now: try again");
    } else if (!export->fault.code) {
        int rc = sora_blob_store_lend(home->params.blobs, &export->blob, export->path);
        if (rc)
            sora_fault_set(&export->fault, rc, "the blob store takes nothing now: try again");
        else if (job)
            job->results[export->kind] = export->blob;
    }
    end_export(export);
}

/* ---- Fetch ---- */

static int explain_missing(struct sora_home *home, const struct home_job *job,
                           Farm__ResultKind kind, struct sora_fault *fault)
{
    if (job->final_state == SORA_JOB_DONE)
        return sora_fault_set(
            fault, SORA_E_NOT_FOUND, "%s is not in %s/%s: it was removed, or not asked for%s",
            file_of(job, kind), home->results, job->folder,
            kind == FARM__RESULT_KIND__RESULT_LATENTS ? " (`soractl submit --keep-latents`)" : "");
    if (job->final_state >= 0)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "the job has no results: it is %s",
                              sora_job_state_text((enum sora_job_state)job->final_state));
    return sora_fault_set(fault, SORA_E_BUSY,
                          kind == FARM__RESULT_KIND__RESULT_PREVIEW
                              ? "there is no preview yet: its first frames are not decoded"
                              : "the job is not done yet; its preview may be there");
}

static struct home_export *new_export(struct sora_home *home)
{
    for (int i = 0; i < HOME_EXPORTS_MAX; i++) {
        if (home->exports[i] && !home->exports[i]->used)
            return home->exports[i];
        if (!home->exports[i])
            return home->exports[i] = calloc(1, sizeof(*home->exports[i]));
    }
    return NULL;
}

static int begin_export(struct sora_home *home, const struct sora_origin *origin,
                        struct home_job *job, Farm__ResultKind kind, struct sora_fault *fault)
{
    struct home_export *export = new_export(home);
    if (!export)
        return sora_fault_set(fault, SORA_E_FULL, "%d results are being prepared: try again",
                              HOME_EXPORTS_MAX);
    *export = (struct home_export){.home = home,
                                   .used = true,
                                   .snapshot = kind == FARM__RESULT_KIND__RESULT_PREVIEW &&
                                               job->final_state < 0,
                                   .job = job->id,
                                   .kind = kind};
    home_reply_keep(origin, &export->reply);
    snprintf(export->path, sizeof(export->path), "%.3900s/%s/%s", home->results, job->folder,
             file_of(job, kind));
    snprintf(export->copy, sizeof(export->copy), "%.3900s/preview-%llu",
             sora_blob_store_incoming(home->params.blobs),
             (unsigned long long)++home->export_number);
    suggest(job, kind, export->file_name, sizeof(export->file_name));
    int rc = access(export->path, R_OK) ? explain_missing(home, job, kind, fault) : SORA_OK;
    if (rc == SORA_OK) {
        const struct sora_task task = {.run = run_export, .done = export_done, .context = export};
        rc = sora_tasks_post(home->tasks, &task);
    }
    export->used = rc == SORA_OK;
    return rc ? sora_fault_set(fault, rc, "the results cannot be read now: try again") : SORA_OK;
}

void home_take_fetch(struct sora_home *home, const struct sora_origin *origin,
                     const Farm__Fetch *fetch)
{
    struct sora_fault fault = {0};
    struct home_job *job = NULL;
    uint64_t size;
    struct home_reply reply;
    home_reply_keep(origin, &reply);
    int rc = home_name_job(home, fetch->job, origin->identity, &job, &fault);
    bool growing = rc == SORA_OK && fetch->kind == FARM__RESULT_KIND__RESULT_PREVIEW &&
                   job->assembly.assembler;
    if (rc == SORA_OK && !growing && job->final_state != SORA_JOB_DONE)
        rc = explain_missing(home, job, fetch->kind, &fault);
    struct sora_blob *known = rc == SORA_OK ? &job->results[fetch->kind] : NULL;
    if (known && known->size > 0 &&
        sora_blob_store_have(home->params.blobs, &known->digest, &size)) {
        char name[128];
        suggest(job, fetch->kind, name, sizeof(name));
        answer(home, &reply, known, name);
        return;
    }
    if (rc == SORA_OK)
        rc = begin_export(home, origin, job, fetch->kind, &fault);
    if (rc)
        home_refuse(home, &reply, &fault);
}
