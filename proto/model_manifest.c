/* Manifests are built as messages, packed by protobuf-c in field order, and held to the same checks
 * on the way out as on the way in. */
#include "proto/model_manifest.h"

#include <stdlib.h>
#include <string.h>

/* Fields whose wire type and C type are plain numbers, in both directions. */
#define NUMBER_FIELDS(X)                                                                           \
    X(window)                                                                                      \
    X(overlap)                                                                                     \
    X(channels)                                                                                    \
    X(temporal_factor)                                                                             \
    X(spatial_factor)                                                                              \
    X(multiple_width)                                                                              \
    X(multiple_height)                                                                             \
    X(width)                                                                                       \
    X(height)                                                                                      \
    X(steps)                                                                                       \
    X(solver)                                                                                      \
    X(context_latents)                                                                             \
    X(hidden)                                                                                      \
    X(ffn)                                                                                         \
    X(layers)                                                                                      \
    X(decode_pixel_bytes)

static void facts_to_wire(const struct sora_model_facts *facts, Farm__ModelFacts *out)
{
    farm__model_facts__init(out);
#define COPY(name) out->name = (uint32_t)facts->name;
    NUMBER_FIELDS(COPY)
#undef COPY
    out->fps = facts->fps;
    out->guidance = facts->guidance;
    out->shift = facts->shift;
    out->noise_share = facts->noise_share;
    /* protobuf-c wants char *, and only reads. */
    out->negative = (char *)(uintptr_t)facts->negative;
    out->knows = (char *)(uintptr_t)facts->knows;
    out->words = (char *)(uintptr_t)facts->words;
}

static void facts_from_wire(const Farm__ModelManifest *manifest, struct sora_model_facts *out)
{
    const Farm__ModelFacts *facts = manifest->facts;
#define COPY(name) .name = (int32_t)facts->name,
    *out = (struct sora_model_facts){
        NUMBER_FIELDS(COPY).fps = facts->fps,
        .guidance = facts->guidance,
        .shift = facts->shift,
        .noise_share = facts->noise_share,
        .name = manifest->name,
        .negative = facts->negative,
        .knows = facts->knows,
        .words = facts->words,
    };
#undef COPY
}

static int by_path(const void *a, const void *b)
{
    const struct sora_model_file *const *left = a, *const *right = b;
    return strcmp((*left)->path, (*right)->path);
}

static uint64_t size_below(const Farm__ModelFile *file, const char *folder)
{
    size_t length = strlen(folder);
    bool is_below = strncmp(file->path, folder, length) == 0 && file->path[length] == '/';
    return is_below ? file->size : 0;
}

/* The checks of both directions. Fills what the files say of the facts. */
static int check_files(const Farm__ModelManifest *manifest, struct sora_model_facts *facts,
                       struct sora_fault *fault)
{
    uint64_t bytes = 0, text = 0, vae = 0;
    for (size_t i = 0; i < manifest->n_files; i++) {
        const Farm__ModelFile *file = manifest->files[i];
        if (i > 0 && strcmp(manifest->files[i - 1]->path, file->path) >= 0)
            return sora_fault_set(fault, SORA_E_FORMAT,
                                  "the model's file '%s' is not in ascending order or there twice",
                                  file->path);
        if (file->size > INT64_MAX / 4 - bytes)
            return sora_fault_set(fault, SORA_E_LIMIT,
                                  "the model's files are larger than any disk at '%s'", file->path);
        bytes += file->size;
        text += size_below(file, SORA_MODEL_TEXT_FOLDER);
        vae += size_below(file, SORA_MODEL_VAE_FOLDER);
    }
    if (manifest->n_files == 0)
        return sora_fault_set(fault, SORA_E_FORMAT, "the model has no files");
    facts->weight_bytes = bytes;
    facts->text_weight_bytes = text;
    facts->vae_weight_bytes = vae;
    return SORA_OK;
}

/* What pack builds; one allocation each. */
struct parts {
    const struct sora_model_file **sorted;
    Farm__ModelFile *files;
    Farm__ModelFile **pointers;
};

static void parts_fini(struct parts *parts)
{
    free(parts->sorted);
    free(parts->files);
    free(parts->pointers);
}

static int parts_init(struct parts *parts, const struct sora_model_file *files, size_t count,
                      struct sora_fault *fault)
{
    parts->sorted = calloc(count + 1, sizeof(*parts->sorted));
    parts->files = calloc(count + 1, sizeof(*parts->files));
    parts->pointers = calloc(count + 1, sizeof(*parts->pointers));
    if (!parts->sorted || !parts->files || !parts->pointers)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for %zu files", count);
    for (size_t i = 0; i < count; i++)
        parts->sorted[i] = &files[i];
    qsort(parts->sorted, count, sizeof(*parts->sorted), by_path);
    for (size_t i = 0; i < count; i++) {
        const struct sora_model_file *from = parts->sorted[i];
        Farm__ModelFile *file = parts->pointers[i] = &parts->files[i];
        farm__model_file__init(file);
        file->path = (char *)(uintptr_t)from->path;
        file->digest.data = (uint8_t *)(uintptr_t)from->digest;
        file->digest.len = SORA_DIGEST_SIZE;
        file->size = from->size;
    }
    return SORA_OK;
}

/* Packs at the end of `bytes`; what a peer would refuse is not kept. */
static int append(const Farm__ModelManifest *manifest, struct sora_bytes *bytes,
                  struct sora_fault *fault)
{
    size_t size = farm__model_manifest__get_packed_size(manifest);
    if (size > SORA_MODEL_MANIFEST_BYTES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "the model's manifest has %zu bytes; at most %zu", size,
                              SORA_MODEL_MANIFEST_BYTES_MAX);
    int error = sora_bytes_reserve(bytes, size);
    if (error)
        return sora_fault_set(fault, error, "no room for a manifest of %zu bytes", size);
    farm__model_manifest__pack(manifest, bytes->data + bytes->size);
    struct sora_message *message = NULL;
    struct sora_model_facts facts;
    error = sora_model_manifest_unpack(bytes->data + bytes->size, size, &message, &facts, fault);
    sora_message_destroy(&message);
    if (!error)
        sora_bytes_commit(bytes, size);
    return error;
}

int sora_model_manifest_pack(const char *name, const struct sora_model_facts *facts,
                             const struct sora_model_file *files, size_t count,
                             struct sora_bytes *bytes, struct sora_fault *fault)
{
    if (count > SORA_MODEL_FILES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "the model has %zu files; at most %d", count,
                              SORA_MODEL_FILES_MAX);
    /* Before the numbers lose their sign. */
    int error = sora_model_facts_check(facts, fault);
    struct parts parts = {0};
    if (!error)
        error = parts_init(&parts, files, count, fault);
    if (!error) {
        Farm__ModelFacts wire;
        Farm__ModelManifest manifest;
        facts_to_wire(facts, &wire);
        farm__model_manifest__init(&manifest);
        manifest.name = (char *)(uintptr_t)name;
        manifest.facts = &wire;
        manifest.n_files = count;
        manifest.files = parts.pointers;
        error = append(&manifest, bytes, fault);
    }
    parts_fini(&parts);
    return error;
}

int sora_model_manifest_unpack(const void *data, size_t size, struct sora_message **out_message,
                               struct sora_model_facts *out_facts, struct sora_fault *fault)
{
    struct sora_message *message = NULL;
    int error = sora_message_decode_as(&farm__model_manifest__descriptor, data, size, false,
                                       &message, fault);
    if (error)
        return error;
    const Farm__ModelManifest *manifest = (const Farm__ModelManifest *)message->any;
    struct sora_model_facts facts;
    facts_from_wire(manifest, &facts);
    error = check_files(manifest, &facts, fault);
    if (!error)
        error = sora_model_facts_check(&facts, fault);
    if (error) {
        sora_message_destroy(&message);
        return error;
    }
    *out_message = message;
    *out_facts = facts;
    return SORA_OK;
}
