/* Stands in for the model store while a tree has none (daemon/CMakeLists.txt): there are no models.
 */
#include "node/model_store.h"

#include <stdlib.h>

#define IGNORE(value) (void)(value)

struct sora_model_store {
    int unused;
};

int sora_model_store_create(const struct sora_model_store_params *params,
                            struct sora_model_store **out_store, struct sora_fault *fault)
{
    IGNORE(params);
    IGNORE(out_store);
    IGNORE(fault);
    *out_store = calloc(1, sizeof(**out_store));
    return *out_store ? SORA_OK : SORA_E_MEMORY;
}

void sora_model_store_destroy(struct sora_model_store **store)
{
    IGNORE(store);
    free(*store);
    *store = NULL;
}

int sora_model_store_add(struct sora_model_store *store, const char *path, sora_model_done done,
                         void *context)
{
    IGNORE(store);
    IGNORE(path);
    IGNORE(done);
    IGNORE(context);
    return SORA_OK;
}

int sora_model_store_fetch(struct sora_model_store *store, const struct sora_digest *digest,
                           const unsigned char node[SORA_NODE_ID_SIZE], sora_model_done done,
                           void *context)
{
    IGNORE(store);
    IGNORE(digest);
    IGNORE(node);
    IGNORE(done);
    IGNORE(context);
    return SORA_E_UNSUPPORTED;
}

void sora_model_store_forget(struct sora_model_store *store, const void *context)
{
    IGNORE(store);
    IGNORE(context);
}

bool sora_model_store_find(const struct sora_model_store *store, const struct sora_digest *digest,
                           struct sora_model_entry *out_entry)
{
    IGNORE(store);
    IGNORE(digest);
    IGNORE(out_entry);
    return false;
}

int sora_model_store_count(const struct sora_model_store *store)
{
    IGNORE(store);
    return 0;
}

void sora_model_store_at(const struct sora_model_store *store, int index,
                         struct sora_model_entry *out_entry)
{
    IGNORE(store);
    IGNORE(index);
    IGNORE(out_entry);
}
