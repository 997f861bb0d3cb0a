/*
 * The blob transfer of a home's tests: what members hold is put into the home's blob store when it
 * is fetched; what nobody holds fails when the test says so. Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_HOME_TRANSFER_H
#define SORA_TESTS_UNIT_HOME_TRANSFER_H

#include "proto/blob_transfer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct held_blob {
    struct sora_blob blob;
    void *data;
};
struct fetch_call {
    sora_blob_done done;
    void *context;
    bool used, missing;
};

static struct sora_blob_store *blobs;
static struct held_blob held_blobs[512]; /* of all members but the home */
static size_t held_blob_count;
static struct fetch_call calls[512];

static inline void call_done(void *context, const struct sora_blob *blob,
                             const struct sora_fault *fault)
{
    struct fetch_call *call = context;
    struct fetch_call copy = *call;
    call->used = false;
    if (copy.done)
        copy.done(copy.context, blob, fault);
}

int sora_blob_transfer_fetch(struct sora_blob_transfer *transfer,
                             const unsigned char node[SORA_NODE_ID_SIZE],
                             const struct sora_blob *blob, sora_blob_done done, void *context)
{
    (void)transfer, (void)node;
    struct fetch_call *call = calls;
    while (call->used)
        call++;
    *call = (struct fetch_call){.done = done, .context = context, .used = true, .missing = true};
    for (size_t i = 0; i < held_blob_count; i++) {
        const struct held_blob *held = &held_blobs[i];
        if (!sora_digest_equal(&held->blob.digest, &blob->digest))
            continue;
        call->missing = false;
        return sora_blob_store_put(blobs, held->data, held->blob.size, call_done, call);
    }
    return SORA_OK;
}

void sora_blob_transfer_forget(struct sora_blob_transfer *transfer, const void *context)
{
    (void)transfer;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (calls[i].used && calls[i].context == context)
            calls[i].done = NULL;
    }
}

static inline struct sora_blob hold_blob(const void *data, size_t size)
{
    assert_true(held_blob_count < sizeof(held_blobs) / sizeof(held_blobs[0]));
    struct held_blob *held = &held_blobs[held_blob_count++];
    held->blob.size = size;
    sora_digest_of(data, size, &held->blob.digest);
    held->data = malloc(size);
    memcpy(held->data, data, size);
    return held->blob;
}

#endif
