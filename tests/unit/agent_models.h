/* A made-up model store for the agent's tests: one model, which is here or is not. */
#ifndef SORA_TESTS_UNIT_AGENT_MODELS_H
#define SORA_TESTS_UNIT_AGENT_MODELS_H

#include "node/model_store.h"

#include <stdio.h>

struct sora_model_store {
    bool here, failing, reading;
    int fetches;
    sora_model_done done;
    void *context;
};

static struct sora_digest rig_model = {{7}};
static char rig_model_path[600];
static inline void rig_entry(struct sora_model_entry *out)
{
    *out = (struct sora_model_entry){.digest = rig_model, .name = "toy", .path = rig_model_path};
}
int sora_model_store_fetch(struct sora_model_store *store, const struct sora_digest *digest,
                           const unsigned char node[SORA_NODE_ID_SIZE], sora_model_done done,
                           void *context)
{
    (void)digest, (void)node;
    store->fetches++;
    store->done = done;
    store->context = context;
    return 0;
}
void sora_model_store_forget(struct sora_model_store *store, const void *context)
{
    if (store->context == context)
        store->done = NULL;
}
bool sora_model_store_find(const struct sora_model_store *store, const struct sora_digest *digest,
                           struct sora_model_entry *out_entry)
{
    rig_entry(out_entry);
    return store->here && sora_digest_equal(digest, &rig_model);
}
bool sora_model_store_progress(const struct sora_model_store *store,
                               const struct sora_digest *digest, char *out_words, size_t size)
{
    (void)digest;
    snprintf(out_words, size, "toy: 3 of 14 files");
    return store->fetches > 0;
}
bool sora_model_store_reading(const struct sora_model_store *store)
{
    return store->reading;
}
int sora_model_store_count(const struct sora_model_store *store)
{
    return store->here;
}
void sora_model_store_at(const struct sora_model_store *store, int index,
                         struct sora_model_entry *out_entry)
{
    (void)store, (void)index;
    rig_entry(out_entry);
}

#endif
