/* Files of the state, written on another thread. */
#include "daemon/keep.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_MAX ((size_t)4 << 20)

struct kept_file {
    char path[SORA_STATE_PATH_SIZE];
    struct sora_bytes bytes;
};

struct sora_keep {
    struct sora_state state; /* only its names are used */
    struct kept_file files[SORA_KEEP_FILES_MAX];
    int count;
    char key_path[SORA_STATE_PATH_SIZE], book_path[SORA_STATE_PATH_SIZE];
    const struct sora_key *key;
    const struct sora_invites *book;
    sora_keep_done done;
    void *context;
    struct sora_fault fault;
    bool ran;
};

struct sora_keep *sora_keep_create(const struct sora_state *state, sora_keep_done done,
                                   void *context)
{
    struct sora_keep *keep = calloc(1, sizeof(*keep));
    if (!keep)
        return NULL;
    keep->state = *state;
    keep->done = done;
    keep->context = context;
    return keep;
}

void sora_keep_destroy(struct sora_keep **keep)
{
    if (!*keep)
        return;
    for (int i = 0; i < (*keep)->count; i++)
        sora_bytes_fini(&(*keep)->files[i].bytes);
    free(*keep);
    *keep = NULL;
}

int sora_keep_add(struct sora_keep *keep, const char *name, const void *data, size_t size)
{
    if (keep->count == SORA_KEEP_FILES_MAX)
        return SORA_E_FULL;
    struct kept_file *file = &keep->files[keep->count];
    sora_bytes_init(&file->bytes, BYTES_MAX);
    int rc = sora_bytes_append(&file->bytes, data, size);
    if (rc)
        return rc;
    sora_state_path(&keep->state, name, file->path);
    keep->count++;
    return SORA_OK;
}

int sora_keep_add_certificate(struct sora_keep *keep, const char *name,
                              const struct sora_certificate *certificate)
{
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, 4096);
    int rc = sora_certificate_pack(certificate, &bytes);
    if (rc == SORA_OK)
        rc = sora_keep_add(keep, name, bytes.data, bytes.size);
    sora_bytes_fini(&bytes);
    return rc;
}

void sora_keep_add_key(struct sora_keep *keep, const char *name, const struct sora_key *key)
{
    sora_state_path(&keep->state, name, keep->key_path);
    keep->key = key;
}

void sora_keep_add_book(struct sora_keep *keep, const struct sora_invites *book)
{
    sora_state_path(&keep->state, "invites", keep->book_path);
    keep->book = book;
}

static void keep_run(void *context)
{
    struct sora_keep *keep = context;
    int rc = SORA_OK;
    keep->ran = true;
    /* Keys first, so that no certificate is on disk whose key is not; the book before what was
     * given for an invite's use. */
    if (keep->key)
        rc = sora_key_save(keep->key, keep->key_path, &keep->fault);
    if (rc == SORA_OK && keep->book)
        rc = sora_invites_save(keep->book, keep->book_path, &keep->fault);
    for (int i = 0; i < keep->count && rc == SORA_OK; i++)
        rc = sora_file_write(keep->files[i].path, keep->files[i].bytes.data,
                             keep->files[i].bytes.size, &keep->fault);
    if (rc && !keep->fault.code)
        sora_fault_set(&keep->fault, rc, "the state could not be written");
}

static void keep_done(void *context)
{
    struct sora_keep *keep = context;
    if (!keep->ran)
        keep_run(keep);
    if (keep->done)
        keep->done(keep->context, &keep->fault);
    sora_keep_destroy(&keep);
}

int sora_keep_post(struct sora_keep **keep, struct sora_tasks *tasks)
{
    const struct sora_task task = {.run = keep_run, .done = keep_done, .context = *keep};
    int rc = sora_tasks_post(tasks, &task);
    if (rc == SORA_OK)
        *keep = NULL;
    return rc;
}
